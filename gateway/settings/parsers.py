"""How the text of one variable becomes a value. Each parser raises ValueError with what is wrong.

The message follows the variable's name and never quotes a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from ipaddress import AddressValueError, IPv6Address
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)?", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}", re.ASCII)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(?:\d{1,5}|\*))?", re.ASCII)
_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]+(?:/[A-Za-z0-9._~/-]*)?", re.ASCII)
_STRIPE_KEY = re.compile(r"[sr]k_(?:test|live)_\w{8,250}", re.ASCII)
_STRIPE_SECRET = re.compile(r"whsec_[\w+/=]{16,250}", re.ASCII)
_DEFAULT_PORT = re.compile(r"^(http(?=:.*:80$)|https(?=:.*:443$))(:.*):\d+$")  # browsers leave it out
DOUBLE = "double"  # the key of Stripe's stand-in
_UNITS = {"ms": 1, "s": 1000, None: 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}  # milliseconds


def text(value: str) -> str:
    """Any text."""
    return value


def name(value: str) -> str:
    """A text of one line that is a claim of each token, so it is short."""
    if len(value) > 255 or not value.isprintable():
        raise ValueError("must be one line of at most 255 characters")
    return value


def host(value: str) -> str:
    """An IP address or the name of a host. An IPv6 address may be in brackets, as URLs have it."""
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        if ":" in bare:
            IPv6Address(bare)
    except AddressValueError:
        bare = ""
    if ":" not in bare and not _HOST.fullmatch(bare):
        raise ValueError("must be an address or the name of a host")
    return bare


def optional_host(value: str) -> str:
    """A host, or nothing."""
    return host(value) if value else ""


def whole(low: int, high: int) -> Callable[[str], int]:
    """The parser of whole numbers from ``low`` to ``high``."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"\d{1,12}", value, re.ASCII) or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


def duration(days: int) -> Callable[[str], timedelta]:
    """The parser of durations from a second to so many days: ``15m``, ``7d``, ``900s``, or a number of seconds."""

    def parse(value: str) -> timedelta:
        match = _DURATION.fullmatch(value)
        if not match:
            raise ValueError("must be a duration such as 15m, 7d or 900s")
        milliseconds = int(match[1]) * _UNITS[match[2]]
        if not _UNITS["s"] <= milliseconds <= days * _UNITS["d"]:
            raise ValueError(f"must be from 1s to {days}d")
        return timedelta(milliseconds=milliseconds)

    return parse


def database_url(value: str) -> str:
    """A connection string in either form that libpq takes: a URL, or ``host=.. dbname=..``."""
    conninfo(value)
    return value


def conninfo(value: str) -> dict[str, Any]:
    """The parameters of a connection string."""
    try:
        return conninfo_to_dict(value)
    except psycopg.ProgrammingError:  # its text quotes the value
        raise ValueError(
            "must be a URL such as postgresql://mana_gateway:..@host:5432/mana, or host=.. dbname=.. as libpq takes it"
        ) from None


def secret(value: str) -> str:
    """A secret that cannot be guessed."""
    if len(value) < 32 or len(set(value)) < 10:
        raise ValueError("is too weak: it needs at least 32 characters, drawn at random")
    return value


def optional_secret(value: str) -> str:
    """A secret, or nothing."""
    return secret(value) if value else ""


def origins(value: str) -> tuple[str, ...]:
    """Origins as browsers send them (RFC 6454), separated by commas.

    ``*`` stands for all, ``:*`` at the end of one for all its ports. An app in a web view has a scheme of
    its own, such as ``capacitor://localhost``.
    """
    found = tuple(origin.strip().removesuffix("/").lower() for origin in value.split(",") if origin.strip())
    for origin in found:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"contains an invalid origin: {origin}")
    return tuple(_DEFAULT_PORT.sub(r"\1\2", origin) for origin in found)


def optional_url(value: str) -> str:
    """The address of a web server without a slash at its end, or nothing."""
    if value and not _URL.fullmatch(value):
        raise ValueError("must be a URL such as https://auth.example.com")
    return value.removesuffix("/")


def stripe_key(value: str) -> str:
    """A secret or restricted key of Stripe, ``double`` for the stand-in of `mana run`, or nothing."""
    if value and value != DOUBLE and not _STRIPE_KEY.fullmatch(value):
        raise ValueError("must be a key such as sk_test_.., rk_live_.., or double")
    return value


def stripe_webhook_secrets(value: str) -> tuple[str, ...]:
    """Secrets of webhook endpoints, separated by commas: two while one takes the place of the other."""
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    if not all(_STRIPE_SECRET.fullmatch(part) for part in found):
        raise ValueError("must be secrets such as whsec_.., separated by commas")
    return found


def yes_or_no(value: str) -> bool:
    """``yes`` or ``no``, and what else means so in environment files."""
    meanings = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}
    if value.lower() not in meanings:
        raise ValueError("must be yes or no")
    return meanings[value.lower()]


def log_level(value: str) -> str:
    """The name of a log level."""
    if value not in {"debug", "info", "warning", "error"}:
        raise ValueError("must be debug, info, warning or error")
    return value


def pem(value: str) -> str:
    """A key in PEM form (RFC 7468), or nothing. Environment files write its line ends as ``\\n``."""
    lines = value.replace("\\n", "\n")
    if lines and "-----BEGIN" not in lines:
        raise ValueError("must be a key in PEM form")
    return lines
