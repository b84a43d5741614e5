"""Headers of responses that a client may read. The document declares them, and CORS exposes them to browsers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Header:
    """A header, and the type of its value."""

    name: str
    about: str
    type: Literal["string", "integer"] = "string"


REQUEST_ID = Header("X-Request-Id", "The id of the request in our logs: the one that was sent, or a new one")
RATE_LIMIT = (
    Header("RateLimit-Limit", "Requests of the nearest limit in its window; absent if limits are off", "integer"),
    Header("RateLimit-Remaining", "Requests that are left of it", "integer"),
    Header("RateLimit-Reset", "Seconds until there are more", "integer"),
    Header("RateLimit-Policy", "The limit and its window in seconds, such as 100;w=60"),
)
RETRY_AFTER = Header("Retry-After", "Seconds after which to try again", "integer")
CHALLENGE = Header("WWW-Authenticate", "Bearer, with an error if there was a token (RFC 6750, section 3)")
IDEMPOTENCY_REPLAYED = Header(
    "Idempotency-Replayed", "true if this is the answer to an earlier request with the same key; absent otherwise"
)
NEXT_PAGE = Header("Link", 'The next page, as <..>; rel="next" (RFC 8288); absent on the last page')
CACHE_CONTROL = Header("Cache-Control", "How many seconds the keys may be kept, as public, max-age=300 say")

EVERYWHERE = (REQUEST_ID, *RATE_LIMIT)
WITH_STATUS = {401: (CHALLENGE,), 429: (RETRY_AFTER,), 503: (RETRY_AFTER,)}
ALL = (*EVERYWHERE, RETRY_AFTER, CHALLENGE, IDEMPOTENCY_REPLAYED, NEXT_PAGE, CACHE_CONTROL)
