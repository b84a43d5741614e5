"""News of the payment provider: checked, and reduced to what the database needs. Payloads are not kept."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import stripe

from gateway.outside.payments import DEPLOYMENT, PURCHASE, USER, Snapshot
from gateway.problems import FieldError, Problem, invalid_request

TOLERANCE = 300  # seconds between the provider's clock and ours
MAX_TEXT = 255  # characters of an id or a type


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event: the parameters of api.receive_event."""

    event_id: str
    endpoint: str
    type: str
    api_version: str | None
    created_at: str
    digest: str
    object_ids: str
    deployment: str | None
    user_id: str | None
    purchase_id: str | None
    snapshot: str


def verified(body: bytes, signature: str, secrets: Sequence[str], endpoint: str) -> Event:
    """The event in a webhook's body. Raises Problem invalid_signature or invalid_request."""
    if not any(_signed(body, signature, secret) for secret in secrets):
        raise Problem("invalid_signature", "The signature does not belong to this body, or is too old.")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid_request(FieldError("body", "is not valid JSON in UTF-8")) from error
    return reduced(found, body, endpoint)


def _signed(body: bytes, signature: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(body, signature, secret, TOLERANCE)
        at = next(part[2:] for part in signature.split(",") if part.startswith("t="))
    except (stripe.SignatureVerificationError, ValueError, TypeError, StopIteration):
        return False  # the library raises the others for a body that is no UTF-8 and a header that is no ASCII
    return int(at) <= time.time() + TOLERANCE


def reduced(found: object, body: bytes, endpoint: str) -> Event:
    """What the database needs of an event. Raises Problem invalid_request for what is none."""
    event = _mapping(found)
    seen = _mapping(_mapping(event.get("data")).get("object"))
    event_id, kind = _text(event.get("id")), _text(event.get("type"))
    created = event.get("created")
    if (
        not event_id
        or not kind
        or not isinstance(created, int)
        or isinstance(created, bool)
        or not 0 <= created < 2**33
    ):
        raise invalid_request(FieldError("body", "is no event of the payment provider"))
    marks = _mapping(seen.get("metadata"))
    ids = [_id(seen.get(name)) for name in ("id", "payment_intent", "charge")]
    return Event(
        event_id=event_id,
        endpoint=endpoint,
        type=kind,
        api_version=_text(event.get("api_version")),
        created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created)),
        digest="\\x" + hashlib.sha256(body).hexdigest(),
        object_ids="{" + ",".join(f'"{given}"' for given in ids if given) + "}",
        deployment=_uuid(marks.get(DEPLOYMENT)),
        user_id=_uuid(marks.get(USER)),
        purchase_id=_uuid(marks.get(PURCHASE)),
        snapshot=msgspec.json.encode(_snapshot(kind, seen, event.get("livemode"))).decode(),
    )


def _snapshot(kind: str, seen: Mapping[str, Any], livemode: object) -> Snapshot:
    """What the event's object says. Only a checkout session proves a payment; all else is looked at again."""
    mode = livemode if isinstance(livemode, bool) else None
    currency = _text(seen.get("currency"))
    if not kind.startswith("checkout.session."):
        return Snapshot(livemode=mode, currency=currency, amount_total=_whole(seen.get("amount")))
    return Snapshot(
        session_id=_id(seen.get("id")),
        session_status=_text(seen.get("status")),
        payment_status=_text(seen.get("payment_status")),
        intent_id=_id(seen.get("payment_intent")),
        amount_subtotal=_whole(seen.get("amount_subtotal")),
        amount_total=_whole(seen.get("amount_total")),
        currency=currency,
        livemode=mode,
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    """A short text that PostgreSQL can store, None for anything else."""
    if isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable() and value.isascii():
        return value
    return None


def _id(value: object) -> str | None:
    """The id of an object, which may be the object itself. An array literal holds it as it is."""
    found = _text(_mapping(value).get("id") if isinstance(value, dict) else value)
    return found if found and not set(found) & set('"\\{}') else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else None


def _uuid(value: object) -> str | None:
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None
