"""Spending."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from gateway.api.fields import Answer, AppId, Request
from gateway.api.headers import IDEMPOTENCY_REPLAYED
from gateway.api.route import Access, Route
from gateway.api.steps import count_spent
from gateway.api.transactions import Transaction


class UseCredits(Request, frozen=True):
    amount: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    app_id: AppId
    description: Annotated[str, Meta(min_length=1, max_length=500)]
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    metadata: Annotated[dict[str, Any], Meta(description="at most 4096 bytes and 32 levels")] | None = None
    expected_version: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None

    example: ClassVar[Mapping[str, Any]] = {"amount": 1, "appId": "chat", "description": "A question"}


class RemainingBalance(Answer, frozen=True):
    balance: int
    free_credits_remaining: int
    total_spent: int
    version: int


class CreditsUsed(Answer, frozen=True):
    success: bool
    transaction: Transaction
    new_balance: RemainingBalance

    example: ClassVar[Mapping[str, Any]] = {
        "success": True,
        "transaction": Transaction.example,
        "newBalance": {"balance": 0, "freeCreditsRemaining": 149, "totalSpent": 1, "version": 2},
    }


ROUTES = (
    Route(
        "POST", "/api/v1/credits/use", "use_credits", Access.BEARER,
        "Spend credits, free ones first; safe to retry with an idempotency key",
        CreditsUsed, ("insufficient_credits", "not_found", "version_conflict", "idempotency_key_reused"),
        body=UseCredits, headers=(IDEMPOTENCY_REPLAYED,), after=(count_spent,),
        serves_many=True,
    ),
)  # fmt: skip
