"""Packages of credits that are for sale."""

from __future__ import annotations

from gateway.api.fields import Answer, Id
from gateway.api.route import Access, Route


class CreditPackage(Answer, frozen=True):
    id: Id
    name: str
    description: str | None
    credits: int
    price_euro_cents: int
    sort_order: int
    active: bool
    stripe_price_id: str | None


ROUTES = (
    Route(
        "GET", "/api/v1/credits/packages", "list_packages", Access.BEARER,
        "What is for sale",
        list[CreditPackage],
    ),
)  # fmt: skip
