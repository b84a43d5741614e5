"""What goes over the wire: request bodies and queries as they are checked, answers as documented."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.problems import MAX_ERRORS

Email = Annotated[str, Meta(min_length=3, max_length=254, examples=["ada@example.com"])]
DeviceText = Annotated[str, Meta(min_length=1, max_length=255)]
AppId = Annotated[str, Meta(min_length=1, max_length=100)]
Token = Annotated[str, Meta(min_length=1, max_length=8192)]
TransactionType = Literal["purchase", "usage", "refund", "bonus", "expiry", "adjustment"]
Role = Literal["user", "admin", "service"]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Id = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A body or a query. Field names are the parameters of the SQL function."""


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """A body that the database or the gateway answers with."""


class Register(Request, frozen=True):
    email: Email
    password: Annotated[str, Meta(min_length=8, description="8 to 128 characters")]
    name: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class Login(Request, frozen=True):
    email: Annotated[str, Meta(min_length=1, max_length=254)]
    password: Annotated[str, Meta(min_length=1)]
    device_id: DeviceText | None = None
    device_name: DeviceText | None = None


class Refresh(Request, frozen=True):
    refresh_token: Token


class Logout(Request, frozen=True):
    refresh_token: Token | None = None


class Validate(Request, frozen=True):
    token: Annotated[str, Meta(max_length=8192)]


class UseCredits(Request, frozen=True):
    amount: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    app_id: AppId
    description: Annotated[str, Meta(min_length=1, max_length=500)]
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    metadata: dict[str, Any] | None = None
    expected_version: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


class ListTransactions(Request, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    offset: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    before: Annotated[UUID, Meta(description="id of the last transaction seen")] | None = None
    type: TransactionType | None = None
    app_id: AppId | None = None


class Registered(Answer, frozen=True):
    id: Id
    email: str
    name: str | None
    created_at: Time


class User(Answer, frozen=True):
    id: Id
    email: str
    name: str | None
    role: Role


class LoggedIn(Answer, frozen=True):
    user: User
    access_token: str
    refresh_token: str
    expires_in: Annotated[int, Meta(description="seconds")]
    token_type: Literal["Bearer"]


class LoggedOut(Answer, frozen=True):
    message: str


class Validation(Answer, frozen=True):
    valid: bool
    payload: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET


class Balance(Answer, frozen=True):
    balance: Annotated[int, Meta(description="the paid part")]
    free_credits_remaining: int
    total_earned: int
    total_spent: int
    daily_free_credits: int
    next_daily_credits_at: Time
    version: int


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


class NewBalance(Answer, frozen=True):
    balance: int
    free_credits_remaining: int
    total_spent: int
    version: int


class CreditsUsed(Answer, frozen=True):
    success: bool
    transaction: Transaction
    new_balance: NewBalance


class Purchase(Answer, frozen=True):
    id: Id
    package_id: Id | None
    credits: int
    price_euro_cents: int
    stripe_payment_intent_id: str | None
    status: Literal["pending", "completed", "failed", "refunded"]
    created_at: Time
    completed_at: Time | None


class Package(Answer, frozen=True):
    id: Id
    name: str
    description: str | None
    credits: int
    price_euro_cents: int
    sort_order: int


class FieldProblem(Answer, frozen=True):
    field: str
    message: str


class ProblemDocument(Answer, frozen=True):
    """An error (RFC 9457); statusCode, message, timestamp and path are for older clients."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    status_code: int
    message: str
    timestamp: Time
    path: str
    errors: Annotated[list[FieldProblem], Meta(max_length=MAX_ERRORS)] | msgspec.UnsetType = msgspec.UNSET
