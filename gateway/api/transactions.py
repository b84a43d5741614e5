"""Transactions: what moved a balance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from msgspec import Meta

from gateway.api.fields import MAX_PAGE, Answer, Id, Request, Rule, Time, page_size
from gateway.api.headers import NEXT_PAGE
from gateway.api.route import Access, Route
from gateway.api.steps import link_next_page

TransactionType = Literal["purchase", "usage", "refund", "bonus", "expiry", "adjustment"]

# api.list_transactions bounds it: a filter that matches little would read the whole history.
READ_BY_A_FILTER = 20_000
_FILTER = (
    f"a filter of the next {READ_BY_A_FILTER:,} transactions: a page may be short, or empty, before the last;"
    " follow Link rel=next"
)


class ListTransactions(Request, frozen=True):
    limit: Annotated[int, Meta(ge=1, description=f"more than {MAX_PAGE} count as {MAX_PAGE}")] = 50
    offset: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description=f"skips so many; with a filter, of those found in the first {READ_BY_A_FILTER:,} transactions",
        ),
    ] = 0
    before: Annotated[UUID, Meta(description="id of the last transaction seen")] | None = None
    type: Annotated[TransactionType, Meta(description=_FILTER)] | None = None
    # Of any form: what was spent before apps had plain names is found as well.
    app_id: Annotated[str, Meta(min_length=1, max_length=100, description=_FILTER)] | None = None
    idempotency_key: (
        Annotated[str, Meta(min_length=1, max_length=255, description="that of a spend: the one in each app, if any")]
        | None
    ) = None

    rules: ClassVar[Mapping[str, Rule]] = {"limit": page_size}


class Transaction(Answer, frozen=True):
    id: Id
    user_id: Id
    type: TransactionType
    status: Literal["pending", "completed", "failed", "cancelled"]
    amount: Annotated[int, Meta(description="negative for usage")]
    balance_before: int
    balance_after: int
    app_id: str | None
    description: str
    metadata: dict[str, Any] | None
    idempotency_key: str | None
    created_at: Time
    completed_at: Time | None

    example: ClassVar[Mapping[str, Any]] = {
        "id": "01890a5d-ac96-774b-bcce-b302099a8059",
        "userId": "01890a5d-ac96-774b-bcce-b302099a8057",
        "type": "usage",
        "status": "completed",
        "amount": -1,
        "balanceBefore": 150,
        "balanceAfter": 149,
        "appId": "chat",
        "description": "A question",
        "metadata": None,
        "idempotencyKey": "8e03978e-40d5-43e8-bc93-6894a57f9324",
        "createdAt": "2026-11-26T11:35:07.123Z",
        "completedAt": "2026-11-26T11:35:07.123Z",
    }


ROUTES = (
    Route(
        "GET", "/api/v1/credits/transactions", "list_transactions", Access.BEARER,
        "Transactions, newest first; Link rel=next leads on, also from a page that is not full",
        list[Transaction],
        query=ListTransactions, headers=(NEXT_PAGE,), after=(link_next_page,),
    ),
)  # fmt: skip
