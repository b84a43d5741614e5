"""The types of fields, the rules that a type cannot state, and the bases of requests and answers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from email_validator import EmailNotValidError, validate_email
from msgspec import Meta

from gateway.tokens import passwords

Email = Annotated[str, Meta(min_length=3, max_length=254, examples=["ada@example.com"])]
Name = Annotated[str, Meta(max_length=255, description="an empty or blank one counts as left out")]
AppId = Annotated[str, Meta(min_length=1, max_length=100, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["chat"])]
Token = Annotated[str, Meta(min_length=1, max_length=8192)]
Role = Literal["user", "admin", "service"]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Id = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Url = Annotated[str, Meta(max_length=2048, extra_json_schema={"format": "uri"})]

MAX_PASSWORD = 128  # characters
NO_ADDRESS = "must be an e-mail address"
MAX_PAGE = 100  # items
# Domains that no public address has (RFC 2606, RFC 6761, RFC 6762): for development.
DEVELOPMENT_DOMAINS = re.compile(r"@(?:localhost|.+\.(?:test|local|localhost))\Z", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,63}", re.ASCII)
_NO_ADDRESS_SCHEMES = frozenset({"javascript", "data", "file", "blob", "vbscript"})
_STAND_IN = ".example.com"

# Returns the value in its normal form. Raises ValueError with what follows the name of the field.
Rule = Callable[[Any], Any]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A body or a query. Field names are the parameters of the SQL function.

    ``example`` is a valid body, for the document and for tests; it is empty if no field is required.
    ``unused`` are fields that clients send and that change nothing yet. An optional text without a least
    length may be empty or blank, which counts as left out.
    """

    example: ClassVar[Mapping[str, Any]] = {}
    rules: ClassVar[Mapping[str, Rule]] = {}
    unused: ClassVar[frozenset[str]] = frozenset()


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """A body that the database or the gateway answers with. ``example`` is one of them, for the document."""

    example: ClassVar[Mapping[str, Any]] = {}


def new_email(value: str) -> str:
    """The address in its normal form. Raises ValueError if it is not valid.

    An address of DEVELOPMENT_DOMAINS is valid here. Whether it may register is a setting.
    """
    for_development = DEVELOPMENT_DOMAINS.search(value)
    public = value + _STAND_IN if for_development else value  # the library refuses these domains
    try:
        normal = validate_email(public, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise ValueError(NO_ADDRESS) from error
    return _small(normal.removesuffix(_STAND_IN) if for_development else normal)


def _small(text: str) -> str:
    """The text in small letters, one for each letter, whatever is around it and in every locale."""
    letters = ("i" if letter == "İ" else letter.lower() for letter in text)  # the only one whose small form is two
    return unicodedata.normalize("NFC", "".join(letters))


def given_email(value: str) -> str:
    """The address in its normal form, or unchanged: a mistyped one gets the answer to a wrong password."""
    try:
        return new_email(value)
    except ValueError:
        return value


def new_password(value: str) -> str:
    """The password unchanged. Raises ValueError if it is too short or too long."""
    if not 8 <= _password_length(value) <= MAX_PASSWORD:
        raise ValueError(f"must have 8 to {MAX_PASSWORD} characters")
    return value


def given_password(value: str) -> str:
    """The password unchanged. Raises ValueError if it is too long."""
    if _password_length(value) > MAX_PASSWORD:
        raise ValueError(f"must have at most {MAX_PASSWORD} characters")
    return value


def web_address(value: str | None) -> str | None:
    """The address unchanged. Raises ValueError if a browser or a phone cannot go there, or must not.

    An app may have a scheme of its own. What runs in the page that it is opened from is no address.
    """
    if value is None:
        return None
    scheme, colon, rest = value.partition("://")
    if not colon or not rest or not _SCHEME.fullmatch(scheme) or scheme.lower() in _NO_ADDRESS_SCHEMES:
        raise ValueError("must be an absolute URL")
    if not value.isascii() or not value.isprintable() or set(value) & set(' "<>\\^`|'):
        raise ValueError("must have the characters of a URL alone")
    return value


def page_size(value: int) -> int:
    """The number of items of a page: what was asked for, up to MAX_PAGE."""
    return min(value, MAX_PAGE)


def _password_length(value: str) -> int:
    """Characters in normal form. Normalizing takes the square of the length, and four characters never
    become less than one: a text of more than four times the maximum is too long as it is.
    """
    return len(value if len(value) > 4 * MAX_PASSWORD else passwords.normalize(value))
