"""Users: registration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from gateway.api.fields import Answer, Email, Id, Request, Rule, Time, new_email, new_password
from gateway.api.route import Access, Limit, Route
from gateway.api.steps import digest_new_password


class Register(Request, frozen=True):
    email: Email
    password: Annotated[str, Meta(min_length=8, description="8 to 128 characters, and none that everybody guesses")]
    name: Annotated[str, Meta(min_length=1, max_length=255)] | None = None

    example: ClassVar[Mapping[str, Any]] = {"email": "ada@example.com", "password": "correct horse battery"}
    rules: ClassVar[Mapping[str, Rule]] = {"email": new_email, "password": new_password}


class Registered(Answer, frozen=True):
    id: Id
    email: str
    name: str | None
    created_at: Time


ROUTES = (
    Route(
        "POST", "/api/v1/auth/register", "register_user", Access.ANYBODY,
        "Register with e-mail and password; opens a credits account with the signup bonus",
        Registered, ("email_taken", "weak_password"), status=201,
        body=Register, limit=Limit.REGISTRATION, before=(digest_new_password,),
    ),
)  # fmt: skip
