"""Purchases of credits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from msgspec import Meta

from gateway.api.fields import Answer, Id, Request, Rule, Time, Url, web_address
from gateway.api.headers import IDEMPOTENCY_REPLAYED
from gateway.api.route import Access, Limit, Route
from gateway.api.steps import (
    look_at_purchase,
    open_checkout,
    open_portal,
    refund_purchase,
    require_payments,
    return_to_app,
)

PurchaseStatus = Literal["pending", "processing", "failed", "expired", "completed", "refunded"]
Currency = Annotated[str, Meta(pattern="^[a-z]{3}$", description="ISO 4217, in small letters", examples=["eur"])]


class Purchase(Answer, frozen=True):
    id: Id
    package_id: Id | None
    credits: int
    price_euro_cents: int
    stripe_payment_intent_id: str | None
    status: PurchaseStatus
    created_at: Time
    completed_at: Time | None

    example: ClassVar[Mapping[str, Any]] = {
        "id": "01890a5d-ac96-774b-bcce-b302099a8061",
        "packageId": "01890a5d-ac96-774b-bcce-b302099a8060",
        "credits": 100,
        "priceEuroCents": 500,
        "stripePaymentIntentId": None,
        "status": "completed",
        "createdAt": "2026-11-26T11:35:07.123Z",
        "completedAt": "2026-11-26T11:36:07.123Z",
    }


class PurchaseDetails(Answer, frozen=True):
    id: Id
    package_id: Id
    credits: int
    price_euro_cents: int
    currency: Currency
    amount: Annotated[int, Meta(description="in minor units of the currency, before discounts and taxes")]
    amount_paid: Annotated[int, Meta(description="after discounts and taxes")]
    amount_refunded: int
    stripe_payment_intent_id: str | None
    status: PurchaseStatus
    receipt_url: str | None
    created_at: Time
    completed_at: Time | None

    example: ClassVar[Mapping[str, Any]] = {
        **Purchase.example,
        "currency": "eur",
        "amount": 500,
        "amountPaid": 500,
        "amountRefunded": 0,
        "receiptUrl": "https://pay.stripe.com/receipts/payment/CAcaFwoVYWNjdF8x",
    }


class StartPurchase(Request, frozen=True):
    package_id: UUID
    success_url: Annotated[Url, Meta(description="where the person goes on after paying")] | None = None
    cancel_url: Annotated[Url, Meta(description="where the person goes who does not pay")] | None = None
    currency: Currency | None = None
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255)] | None = None

    example: ClassVar[Mapping[str, Any]] = {
        "packageId": "01890a5d-ac96-774b-bcce-b302099a8060",
        "successUrl": "https://app.example.com/credits",
    }
    rules: ClassVar[Mapping[str, Rule]] = {"success_url": web_address, "cancel_url": web_address}


class PurchaseStarted(Answer, frozen=True):
    purchase_id: Id
    checkout_url: Annotated[str, Meta(description="the page to pay on")] | None
    client_secret: str | None
    amount: Annotated[int, Meta(description="in minor units of the currency")]
    currency: Currency
    credits: int
    status: PurchaseStatus

    example: ClassVar[Mapping[str, Any]] = {
        "purchaseId": "01890a5d-ac96-774b-bcce-b302099a8061",
        "checkoutUrl": "https://checkout.stripe.com/c/pay/cs_test_a1b2c3",
        "clientSecret": None,
        "amount": 500,
        "currency": "eur",
        "credits": 100,
        "status": "pending",
    }


class ReturnFromCheckout(Request, frozen=True):
    user_id: UUID | None = None
    session_id: Annotated[str, Meta(min_length=1, max_length=255)] | None = None

    unused: ClassVar[frozenset[str]] = frozenset({"session_id"})


class OpenPortal(Request, frozen=True):
    return_url: Annotated[Url, Meta(description="where the person comes back to")] | None = None

    unused: ClassVar[frozenset[str]] = frozenset({"return_url"})
    rules: ClassVar[Mapping[str, Rule]] = {"return_url": web_address}


class Portal(Answer, frozen=True):
    url: str

    example: ClassVar[Mapping[str, Any]] = {"url": "https://billing.stripe.com/p/session/test_YWNjdF8x"}


class EventReceived(Answer, frozen=True):
    received: bool

    example: ClassVar[Mapping[str, Any]] = {"received": True}


ROUTES = (
    Route(
        "POST", "/api/v1/credits/purchase", "start_purchase", Access.BEARER,
        "Start to buy a package; the person pays on the page at checkoutUrl",
        PurchaseStarted,
        ("not_found", "purchases_blocked", "idempotency_key_reused", "payments_unavailable"),
        body=StartPurchase, headers=(IDEMPOTENCY_REPLAYED,), before=(require_payments,), outside=open_checkout,
    ),
    Route(
        "GET", "/api/v1/credits/purchase/{purchaseId}", "get_purchase", Access.BEARER,
        "A purchase, as the payment provider has it now",
        PurchaseDetails, outside=look_at_purchase,
    ),
    Route(
        "GET", "/api/v1/credits/purchase/{purchaseId}/return", "return_from_checkout", Access.ANYBODY,
        "The way back from paying: leads on to the app's successUrl",
        PurchaseDetails, query=ReturnFromCheckout, outside=return_to_app,
    ),
    Route(
        "POST", "/api/v1/credits/purchases/{purchaseId}/refund", "start_refund", Access.BEARER,
        "Give a purchase back whose credits are all unspent",
        PurchaseDetails, ("purchase_not_paid", "refund_not_possible", "payments_unavailable"),
        outside=refund_purchase,
    ),
    Route(
        "POST", "/api/v1/credits/portal", "get_customer", Access.BEARER,
        "A page with the person's invoices and ways to pay",
        Portal, ("not_found", "payments_unavailable"),
        body=OpenPortal, before=(require_payments,), outside=open_portal,
    ),
    Route(
        "POST", "/api/v1/webhooks/stripe", "receive_event", Access.SIGNED,
        "News of the payment provider",
        EventReceived, ("not_visible_yet",), limit=Limit.WEBHOOK,
    ),
    Route(
        "GET", "/api/v1/credits/purchases", "list_purchases", Access.BEARER,
        "Purchases, newest first",
        list[Purchase],
    ),
)  # fmt: skip
