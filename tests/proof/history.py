"""The history of a load: one JSON line when an operation is invoked, one when it is done.

    {"n": 7, "op": "use", "client": 3, "user": 12, "at": .., ..}     invoked, with what was asked
    {"n": 7, "outcome": "ok", "at": .., "status": 200, ..}          done: ok, refused or unknown

``at`` is in seconds since 1970 by the injected clock, at the earliest for what was invoked and at the
latest for what is done, so that what happened lies between. The first line says what was run; the last
ones are the ledger as it was found in the end. A history is all that ``judge`` needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec

OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"


class History:
    """Writes the lines to a file."""

    def __init__(self, path: Path, **about: object) -> None:
        self.path = path
        self.operations = 0
        self._file = path.open("wb")
        self._encoder = msgspec.json.Encoder()
        self.write(about)

    def write(self, line: dict[str, Any]) -> None:
        self._file.write(self._encoder.encode(line) + b"\n")

    def invoked(self, **details: Any) -> int:
        """Note that an operation begins; returns its number."""
        self.operations += 1
        self.write({"n": self.operations, **details})
        return self.operations

    def done(self, number: int, outcome: str, **answer: Any) -> None:
        self.write({"n": number, "outcome": outcome, **answer})

    def flush(self) -> None:
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a history."""
    decoder = msgspec.json.Decoder(dict[str, Any])
    with path.open("rb") as file:
        for line in file:
            yield decoder.decode(line)
