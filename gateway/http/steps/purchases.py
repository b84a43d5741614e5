"""Purchases: the payment provider is asked after the database, and what it answers is written down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import msgspec

from gateway.database.calls import Reply
from gateway.http.services import Services
from gateway.outside.payments import Order, Payments, RefundRefusedError
from gateway.problems import Problem, payments_not_configured
from gateway.settings.serving import Settings

SESSION_ID = "{CHECKOUT_SESSION_ID}"  # the provider puts the id there, and we do the same for apps

# Makes the second call of the route with these parameters. Returns None if that was lost.
WriteDown: TypeAlias = Callable[[Mapping[str, object]], Awaitable[Reply | None]]


class _Shown(msgspec.Struct):
    """The part of api.checkout that its buyer sees, as it was sent."""

    purchase: msgspec.Raw


class _Refund(msgspec.Struct, rename="camel"):
    refund_id: str
    reason: str
    checkout: msgspec.Raw


def require_payments(values: dict[str, Any], settings: Settings) -> None:
    """Passes the mode of the provider's key. Raises Problem payments_not_configured without one."""
    if not settings.stripe_secret_key:
        raise payments_not_configured()
    values["livemode"] = "_live_" in settings.stripe_secret_key


async def open_checkout(reply: Reply, _: msgspec.Struct | None, services: Services, write_down: WriteDown) -> Reply:
    """Opens the page to pay on. Once there is nothing to pay, its address is null."""
    order = msgspec.json.decode(reply.body, type=Order)
    url = None
    if order.purchase.status == "pending":
        page = await _payments(services).open_checkout(order, _way_back(order, services.settings))
        await write_down(
            {
                "user_id": order.user_id,
                "purchase_id": order.purchase.id,
                "customer_id": page.customer_id,
                "session_id": page.session_id,
            }
        )
        url = page.url
    bought = order.purchase
    return replace(
        reply,
        body=msgspec.json.encode(
            {
                "purchaseId": bought.id,
                "checkoutUrl": url,
                "clientSecret": None,
                "amount": bought.amount,
                "currency": bought.currency,
                "credits": bought.credits,
                "status": bought.status,
            }
        ),
    )


def _way_back(order: Order, settings: Settings) -> str:
    path = f"/api/v1/credits/purchase/{order.purchase.id}/return"
    return f"{settings.public_url}{path}?userId={order.user_id}&sessionId={SESSION_ID}"


async def look_at_purchase(reply: Reply, _: msgspec.Struct | None, services: Services, write_down: WriteDown) -> Reply:
    """The purchase as it is at the provider now, if it may still change; else, and if that is away, as it was."""
    order = msgspec.json.decode(reply.body, type=Order)
    settled = await _settled(reply, order, order.session_id, services, write_down)
    return replace(reply, body=bytes(msgspec.json.decode(settled.body, type=_Shown).purchase))


async def return_to_app(reply: Reply, model: msgspec.Struct | None, services: Services, write_down: WriteDown) -> Reply:
    """Looks at the purchase, so that it is booked if all news was lost, and sends the person on to the app."""
    order = msgspec.json.decode(reply.body, type=Order)
    session_id = order.session_id or getattr(model, "session_id", None)
    settled = await _settled(reply, order, session_id, services, write_down)
    if not order.success_url:
        return replace(reply, body=bytes(msgspec.json.decode(settled.body, type=_Shown).purchase))
    return Reply(303, b"", {"Location": order.success_url.replace(SESSION_ID, session_id or "")})


async def refund_purchase(reply: Reply, _: msgspec.Struct | None, services: Services, write_down: WriteDown) -> Reply:
    """Asks for the refund that was written down. If the provider is away, the worker asks again."""
    asked = msgspec.json.decode(reply.body, type=_Refund)
    reply = replace(reply, body=bytes(asked.checkout))
    order = msgspec.json.decode(asked.checkout, type=Order)
    intent = order.purchase.stripe_payment_intent_id
    if intent and services.payments:
        try:
            await services.payments.refund(asked.refund_id, intent, None, asked.reason)
        except RefundRefusedError as error:
            raise Problem("refund_not_possible", "The payment provider refuses this refund.") from error
    settled = await _settled(reply, order, order.session_id, services, write_down)
    return replace(reply, body=bytes(msgspec.json.decode(settled.body, type=_Shown).purchase))


async def open_portal(reply: Reply, model: msgspec.Struct | None, services: Services, _: WriteDown) -> Reply:
    """A page of the provider's with the invoices of this customer, and their ways to pay."""
    customer = msgspec.json.decode(reply.body)["customerId"]
    back = getattr(model, "return_url", None) or services.settings.public_url
    return replace(reply, body=msgspec.json.encode({"url": await _payments(services).open_portal(customer, back)}))


async def _settled(
    reply: Reply, order: Order, session_id: str | None, services: Services, write_down: WriteDown
) -> Reply:
    """The reply of the second call, or the first one's if nobody is to look, can look or could write it down."""
    payments = services.payments
    if order.ticket is None or not session_id or payments is None or payments.livemode != order.livemode:
        return reply
    try:
        seen = await payments.look(session_id, order.purchase.id)
    except Problem:  # logged where it was raised
        return reply
    found = await write_down(
        {
            "user_id": order.user_id,
            "purchase_id": order.purchase.id,
            "ticket": order.ticket,
            "snapshot": msgspec.json.encode(seen).decode(),
        }
    )
    return found or reply


def _payments(services: Services) -> Payments:
    if services.payments is None:  # require_payments has refused it
        raise payments_not_configured()
    return services.payments
