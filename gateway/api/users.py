"""Users: registration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from gateway.api.fields import Answer, Email, Id, Name, Request, Rule, Time, new_email, new_password
from gateway.api.route import Access, Limit, Route
from gateway.api.steps import check_address, digest_new_password


class Register(Request, frozen=True):
    email: Email
    password: Annotated[str, Meta(min_length=8, description="8 to 128 characters, and none that everybody guesses")]
    name: Name | None = None
    source_app_url: Annotated[str, Meta(max_length=2048, description="accepted, not used yet")] | None = None
    referral_code: Annotated[str, Meta(max_length=100, description="accepted, not used yet")] | None = None

    example: ClassVar[Mapping[str, Any]] = {"email": "ada@example.com", "password": "correct horse battery"}
    rules: ClassVar[Mapping[str, Rule]] = {"email": new_email, "password": new_password}
    unused: ClassVar[frozenset[str]] = frozenset({"source_app_url", "referral_code"})


class Registered(Answer, frozen=True):
    id: Id
    email: str
    name: str | None
    created_at: Time

    example: ClassVar[Mapping[str, Any]] = {
        "id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "email": "ada@example.com",
        "name": "Ada",
        "createdAt": "2026-11-26T11:35:07.123Z",
    }


ROUTES = (
    Route(
        "POST", "/api/v1/auth/register", "register_user", Access.ANYBODY,
        "Register with e-mail and password; opens a credits account with the signup bonus",
        Registered, ("email_taken", "weak_password"), status=201,
        body=Register, limit=Limit.REGISTRATION, before=(check_address, digest_new_password),
    ),
)  # fmt: skip
