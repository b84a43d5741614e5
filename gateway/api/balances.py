"""Balances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from gateway.api.fields import Answer, Time
from gateway.api.route import Access, Route


class Balance(Answer, frozen=True):
    balance: Annotated[int, Meta(description="the paid part, never below 0")]
    free_credits_remaining: int
    held: Annotated[int, Meta(description="reserved, and part of the balance")]
    debt: Annotated[int, Meta(description="what reversed purchases are short of; the next purchase pays it")]
    spendable: Annotated[int, Meta(description="what is left to spend: neither held nor owed")]
    total_earned: int
    total_spent: int
    daily_free_credits: int
    next_daily_credits_at: Time
    version: int

    example: ClassVar[Mapping[str, Any]] = {
        "balance": 0,
        "freeCreditsRemaining": 149,
        "held": 0,
        "debt": 0,
        "spendable": 149,
        "totalEarned": 150,
        "totalSpent": 1,
        "dailyFreeCredits": 5,
        "nextDailyCreditsAt": "2026-11-27T11:35:07.123Z",
        "version": 2,
    }


ROUTES = (
    Route(
        "GET", "/api/v1/credits/balance", "get_balance", Access.BEARER,
        "The balance; a daily grant that is due is paid first",
        Balance, ("not_found",),
        serves_many=True,
    ),
)  # fmt: skip
