"""Waiting for what happens elsewhere, and doing many things at once."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


async def together(*calls: Any) -> list[Any]:
    """Run all at once and return their results in order."""
    return list(await asyncio.gather(*calls))


async def until(true: Callable[[], Any], seconds: float = 30) -> None:
    """Wait for something that happens in another process; ``true`` may have to be awaited."""
    deadline = time.monotonic() + seconds
    while not (await found if inspect.isawaitable(found := true()) else found):
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.05)
