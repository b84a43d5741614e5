"""The payment provider, Stripe: asks for money, and reads what has become of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import msgspec
import stripe
import structlog

from gateway.problems import ManaError, Problem, payments_unavailable

API_VERSION = "2026-10-28.endive"  # what the library of our floor speaks; webhooks of another one are an alert
ANSWERS_WITHIN = 10.0  # seconds
RETRIES = 2  # by the library, with the same idempotency key
PER_PAGE = 100  # objects, the most that the provider gives at once

# The keys of our metadata on the provider's objects.
DEPLOYMENT, USER, PURCHASE = "mana_deployment", "mana_user", "mana_purchase"

_DISPUTED = {"needs_response", "under_review", "lost"}
_GONE = {"succeeded", "pending", "requires_action"}  # refunds that have taken money back, unless they fail later

_FAILURES = (stripe.StripeError, TimeoutError, aiohttp.ClientError)

_log = structlog.get_logger()
T = TypeVar("T")


class Order(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A purchase, as api.checkout has it: what the provider is asked for."""

    purchase: Purchase
    user_id: str
    deployment: str
    livemode: bool
    title: str
    stripe_price_id: str | None
    customer_id: str | None
    session_id: str | None
    success_url: str | None
    cancel_url: str | None
    ticket: int | None


class Purchase(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The parts of a purchase that the provider is told of. ``amount`` is in minor units of ``currency``."""

    id: str
    status: str
    credits: int
    currency: str
    amount: int
    stripe_payment_intent_id: str | None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider says of a purchase now: payments.snapshot. Amounts are in minor units of the currency."""

    session_id: str | None = None
    session_status: str | None = None
    payment_status: str | None = None
    intent_id: str | None = None
    intent_status: str | None = None
    charge_id: str | None = None
    amount_subtotal: int | None = None
    amount_total: int | None = None
    currency: str | None = None
    livemode: bool | None = None
    refunded: int | None = None
    disputed: int | None = None
    dispute: str | None = None
    receipt_url: str | None = None


@dataclass(frozen=True, slots=True)
class Checkout:
    """A page to pay on. ``url`` is None once there is nothing to pay there."""

    session_id: str
    customer_id: str
    url: str | None


class Payments:
    """Talks to Stripe with one key. Raises Problem payments_unavailable when it does not answer as it should."""

    def __init__(self, key: str, session: aiohttp.ClientSession, api: str = "") -> None:
        self.livemode = "_live_" in key
        self._client = stripe.StripeClient(
            key,
            http_client=stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=ANSWERS_WITHIN), session=session),
            base_addresses={"api": api} if api else None,
            max_network_retries=RETRIES,
            stripe_version=API_VERSION,
        ).v1

    async def open_checkout(self, order: Order, success_url: str) -> Checkout:
        """The page to pay this purchase on. The same purchase has one page, however often this is asked."""
        customer = order.customer_id or await self._customer(order)
        if order.session_id:
            found = await _asked(self._client.checkout.sessions.retrieve_async(order.session_id))
            return Checkout(found.id, customer, found.url)
        mark = {DEPLOYMENT: order.deployment, USER: order.user_id, PURCHASE: order.purchase.id}
        price: Any = (
            {"price": order.stripe_price_id}
            if order.stripe_price_id
            else {
                "price_data": {
                    "currency": order.purchase.currency,
                    "unit_amount": order.purchase.amount,
                    "product_data": {"name": order.title},
                }
            }
        )
        asked: Any = {
            "mode": "payment",
            "customer": customer,
            "client_reference_id": order.purchase.id,
            "line_items": [{"quantity": 1, **price}],
            "metadata": mark,
            "payment_intent_data": {"metadata": mark},
            "allow_promotion_codes": True,
            "success_url": success_url,
            **({"cancel_url": order.cancel_url} if order.cancel_url else {}),
        }
        opened = await _asked(
            self._client.checkout.sessions.create_async(asked, {"idempotency_key": f"purchase:{order.purchase.id}"})
        )
        return Checkout(opened.id, customer, opened.url)

    async def _customer(self, order: Order) -> str:
        mode = "live" if self.livemode else "test"
        made = await _asked(
            self._client.customers.create_async(
                {"metadata": {DEPLOYMENT: order.deployment, USER: order.user_id}},
                {"idempotency_key": f"customer:{order.user_id}:{mode}"},
            )
        )
        return made.id

    async def find_session(self, customer_id: str, purchase_id: str) -> str | None:
        """The page of a purchase whose id was lost on the way here, by the mark on it."""
        found = await _asked(self._client.checkout.sessions.list_async({"customer": customer_id, "limit": PER_PAGE}))
        async for session in found.auto_paging_iter():
            if session.metadata and session.metadata.to_dict().get(PURCHASE) == purchase_id:
                return session.id
        return None

    async def look(self, session_id: str, purchase_id: str) -> Snapshot:
        """What has become of this purchase. Raises Problem not_found if the page is not one of it."""
        found = await _asked(
            self._client.checkout.sessions.retrieve_async(session_id, {"expand": ["payment_intent.latest_charge"]})
        )
        if not found.metadata or found.metadata.to_dict().get(PURCHASE) != purchase_id:
            raise Problem("not_found", "There is nothing here.")
        seen = Snapshot(
            session_id=found.id,
            session_status=found.status,
            payment_status=found.payment_status,
            amount_subtotal=found.amount_subtotal,
            amount_total=found.amount_total,
            currency=found.currency,
            livemode=found.livemode,
            refunded=0,
            disputed=0,
        )
        intent = found.payment_intent
        if not isinstance(intent, stripe.PaymentIntent):
            return seen
        charge = intent.latest_charge if isinstance(intent.latest_charge, stripe.Charge) else None
        seen = msgspec.structs.replace(
            seen,
            intent_id=intent.id,
            intent_status=intent.status,
            charge_id=charge.id if charge else None,
            receipt_url=charge.receipt_url if charge else None,
        )
        if not charge or not charge.paid:
            return seen
        given_back = [r.amount async for r in self._refunds(intent.id) if r.status in _GONE]
        disputes = [d async for d in self._disputes(intent.id)]
        return msgspec.structs.replace(
            seen,
            refunded=sum(given_back),
            disputed=sum(d.amount for d in disputes if d.status in _DISPUTED),
            dispute=_dispute({d.status for d in disputes}),
        )

    async def _refunds(self, intent_id: str) -> AsyncIterator[stripe.Refund]:
        found = await _asked(self._client.refunds.list_async({"payment_intent": intent_id, "limit": PER_PAGE}))
        async for refund in found.auto_paging_iter():
            yield refund

    async def _disputes(self, intent_id: str) -> AsyncIterator[stripe.Dispute]:
        found = await _asked(self._client.disputes.list_async({"payment_intent": intent_id, "limit": PER_PAGE}))
        async for dispute in found.auto_paging_iter():
            yield dispute

    async def refund(self, refund_id: str, intent_id: str, amount: int | None, reason: str) -> str:
        """Give money back; ``amount`` None is all that is left. Returns the provider's id of the refund.

        Raises RefundRefusedError when the provider never will.
        """
        asked: Any = {
            "payment_intent": intent_id,
            "reason": reason,
            "metadata": {"mana_refund": refund_id},
            **({"amount": amount} if amount else {}),
        }
        try:
            made = await self._client.refunds.create_async(asked, {"idempotency_key": f"refund:{refund_id}"})
        except stripe.InvalidRequestError as error:
            raise RefundRefusedError(error.code or "invalid_request") from error
        except _FAILURES as error:
            raise _unavailable(error) from error
        return made.id

    async def open_portal(self, customer_id: str, return_url: str) -> str:
        """The URL of a page where a customer sees invoices and changes how to pay."""
        made = await _asked(
            self._client.billing_portal.sessions.create_async({"customer": customer_id, "return_url": return_url})
        )
        return made.url


class RefundRefusedError(ManaError):
    """There will be no refund, however often it is asked for; ``code`` is the provider's word for why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


async def _asked(answer: Awaitable[T]) -> T:
    """The answer. Raises Problem payments_unavailable."""
    try:
        return await answer
    except _FAILURES as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> Problem:
    # Neither message nor parameters: they may name a customer.
    kind, code = type(error).__name__, getattr(error, "code", None)
    _log.warning("payment_provider_failed", kind=kind, code=code, status=getattr(error, "http_status", None))
    return payments_unavailable()


def _dispute(statuses: set[str]) -> str | None:
    """The state of all disputes of a payment, the worst first."""
    if statuses & {"needs_response", "under_review"}:
        return "open"
    if "lost" in statuses:
        return "lost"
    if statuses & {"warning_needs_response", "warning_under_review"}:
        return "inquiry"
    return "won" if "won" in statuses else None


@asynccontextmanager
async def connected(key: str, api: str = "") -> AsyncIterator[Payments | None]:
    """Payments over connections of its own, None without a key."""
    if not key:
        yield None
        return
    async with aiohttp.ClientSession() as session:
        yield Payments(key, session, api)
