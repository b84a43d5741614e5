"""Purchases of credits."""

from __future__ import annotations

from typing import Literal

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


ROUTES = (
    Route(
        "GET", "/api/v1/credits/purchases", "list_purchases", Access.BEARER,
        "Purchases, newest first",
        list[Purchase],
    ),
)  # fmt: skip
