"""What the double knows: objects by id, in the order they were made, and a clock that tests move."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import stripe

Thing = dict[str, Any]

API_VERSION: str = stripe.api_version
SESSION_OPEN_FOR = 86_400  # seconds
SEPA_TAKES = 5 * 86_400  # seconds
FEE = (29, 30)  # per mille of an amount, and minor units on top


@dataclass(eq=False)
class ApiError(Exception):
    """An error as Stripe answers it."""

    status: int
    code: str
    message: str
    param: str | None = None
    kind: str = "invalid_request_error"

    def body(self) -> Thing:
        error = {"type": self.kind, "code": self.code, "message": self.message, "param": self.param}
        return {"error": {name: value for name, value in error.items() if value is not None}}


@dataclass(eq=False)
class State:
    """All objects. ``on_event`` gets each event as it is made."""

    livemode: bool = False
    shift: int = 0  # seconds that the clock is ahead
    objects: dict[str, Thing] = field(default_factory=dict)
    on_event: Callable[[Thing], None] = lambda _: None

    def now(self) -> int:
        return int(time.time()) + self.shift

    def make(self, prefix: str, kind: str, **values: Any) -> Thing:
        """A new object with an id of this prefix."""
        thing = {
            "id": f"{prefix}_{secrets.token_hex(12)}",
            "object": kind,
            "created": self.now(),
            "livemode": self.livemode,
            **values,
        }
        self.objects[thing["id"]] = thing
        return thing

    def get(self, thing_id: object, kind: str) -> Thing:
        """Raises ApiError resource_missing."""
        found = self.objects.get(str(thing_id))
        if not found or found["object"] != kind:
            raise ApiError(404, "resource_missing", f"No such {kind}: '{thing_id}'", param="id")
        return found

    def all(self, kind: str, **where: Any) -> Iterator[Thing]:
        """Newest first."""
        for thing in reversed(list(self.objects.values())):
            if thing["object"] == kind and all(thing.get(name) == value for name, value in where.items()):
                yield thing

    def emit(self, kind: str, thing: Mapping[str, Any]) -> Thing:
        """An event about this object as it is now."""
        event = self.make(
            "evt", "event", type=kind, api_version=API_VERSION, pending_webhooks=0, request=None,
            data={"object": shown(thing)}, delivered=False,
        )  # fmt: skip
        self.on_event(event)
        return event


def shown(thing: Mapping[str, Any]) -> Thing:
    """The object as it is answered: without what only the double knows."""
    return {name: value for name, value in thing.items() if not name.startswith("_") and name != "delivered"}
