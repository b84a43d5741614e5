"""The password never reaches the database."""

from __future__ import annotations

from typing import Any

from gateway.settings.serving import Settings
from gateway.tokens import passwords


def digest_password(values: dict[str, Any], settings: Settings) -> None:
    """Replaces the password with its digest."""
    values["password_digest"] = passwords.digest(settings.password_pepper, values.pop("password"))
