"""Sessions: from login to logout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from gateway.api.fields import Answer, Id, Name, Request, Role, Rule, Token, given_email, given_password
from gateway.api.route import Access, Limit, Route
from gateway.api.steps import digest_password, set_refresh_ttl, sign_access_token


class Login(Request, frozen=True):
    email: Annotated[str, Meta(min_length=1, max_length=254)]
    password: Annotated[str, Meta(min_length=1)]
    device_id: Name | None = None
    device_name: Name | None = None
    remember_me: Annotated[bool, Meta(description="accepted, not used yet")] | None = None

    example: ClassVar[Mapping[str, Any]] = {"email": "ada@example.com", "password": "correct horse battery"}
    rules: ClassVar[Mapping[str, Rule]] = {"email": given_email, "password": given_password}
    unused: ClassVar[frozenset[str]] = frozenset({"remember_me"})


class Refresh(Request, frozen=True):
    refresh_token: Token

    example: ClassVar[Mapping[str, Any]] = {"refreshToken": "01890a5d-ac96-774b-bcce-b302099a8057.c2VjcmV0"}


class Logout(Request, frozen=True):
    refresh_token: Annotated[str, Meta(max_length=8192)] | None = None


class Validate(Request, frozen=True):
    token: Annotated[str, Meta(max_length=8192)]

    example: ClassVar[Mapping[str, Any]] = {"token": "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl"}


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

    example: ClassVar[Mapping[str, Any]] = {
        "user": {
            "id": "01890a5d-ac96-774b-bcce-b302099a8057", "email": "ada@example.com", "name": "Ada", "role": "user",
        },
        "accessToken": "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl",
        "refreshToken": "01890a5d-ac96-774b-bcce-b302099a8057.c2VjcmV0",
        "expiresIn": 900,
        "tokenType": "Bearer",
    }  # fmt: skip


class LoggedOut(Answer, frozen=True):
    message: str

    example: ClassVar[Mapping[str, Any]] = {"message": "Logged out successfully"}


class Validation(Answer, frozen=True):
    valid: bool
    payload: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET

    example: ClassVar[Mapping[str, Any]] = {"valid": False, "error": "Token expired. Refresh it."}


ROUTES = (
    Route(
        "POST", "/api/v1/auth/login", "log_in", Access.ANYBODY,
        "Open a session on a device",
        LoggedIn, ("invalid_credentials", "account_disabled"),
        body=Login, limit=Limit.PASSWORD,
        before=(digest_password, set_refresh_ttl), after=(sign_access_token,),
    ),
    Route(
        "POST", "/api/v1/auth/refresh", "refresh_session", Access.REFRESH_TOKEN,
        "Exchange a refresh token, which works once, for new tokens",
        LoggedIn,
        body=Refresh, limit=Limit.REFRESH,
        before=(set_refresh_ttl,), after=(sign_access_token,),
    ),
    Route(
        "POST", "/api/v1/auth/logout", "log_out", Access.BEARER_OR_REFRESH_TOKEN,
        "End the session of the access token, or of the refresh token in the body",
        LoggedOut,
        body=Logout,
    ),
    Route(
        "POST", "/api/v1/auth/validate", "validate", Access.TOKEN_IN_BODY,
        "Say whether an access token works, and what it claims",
        Validation,
        body=Validate,
    ),
)  # fmt: skip
