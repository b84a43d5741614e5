"""Packages of credits that are for sale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

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
    metadata: dict[str, Any] | None

    example: ClassVar[Mapping[str, Any]] = {
        "id": "01890a5d-ac96-774b-bcce-b302099a8060",
        "name": "Starter",
        "description": None,
        "credits": 100,
        "priceEuroCents": 500,
        "sortOrder": 1,
        "active": True,
        "stripePriceId": None,
        "metadata": {"badge": "popular"},
    }


ROUTES = (
    Route(
        "GET", "/api/v1/credits/packages", "list_packages", Access.BEARER,
        "What is for sale",
        list[CreditPackage],
    ),
)  # fmt: skip
