"""Purchases of credits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from gateway.api.fields import Answer, Id, Time
from gateway.api.route import Access, Route


class Purchase(Answer, frozen=True):
    id: Id
    package_id: Id | None
    credits: int
    price_euro_cents: int
    stripe_payment_intent_id: str | None
    status: Literal["pending", "completed", "failed", "refunded"]
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


ROUTES = (
    Route(
        "GET", "/api/v1/credits/purchases", "list_purchases", Access.BEARER,
        "Purchases, newest first",
        list[Purchase],
    ),
)  # fmt: skip
