"""Addresses of development are a setting, and the password never reaches the database."""

from __future__ import annotations

from typing import Any

from gateway.api.fields import DEVELOPMENT_DOMAINS, NO_ADDRESS
from gateway.problems import FieldError, Problem, invalid_request
from gateway.settings.serving import Settings
from gateway.tokens import passwords
from gateway.tokens.weak_passwords import weakness


def check_address(values: dict[str, Any], settings: Settings) -> None:
    """Refuses an address of a development domain unless the settings allow it. Raises Problem."""
    if DEVELOPMENT_DOMAINS.search(values["email"]) and not settings.development_addresses:
        raise invalid_request(FieldError("email", NO_ADDRESS))


def digest_password(values: dict[str, Any], settings: Settings) -> None:
    """Replaces the password with its digest."""
    values["password_digest"] = passwords.digest(settings.password_pepper, values.pop("password"))


def digest_new_password(values: dict[str, Any], settings: Settings) -> None:
    """Replaces a password that is being chosen with its digest. Raises Problem weak_password with the reason."""
    reason = weakness(values["password"], (values.get("email"), values.get("name")))
    if reason:
        detail = f"This password is too easy to guess. {reason}"
        raise Problem("weak_password", detail, (FieldError("password", f"is too easy to guess. {reason}"),))
    digest_password(values, settings)
