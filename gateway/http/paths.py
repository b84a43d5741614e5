"""Under which paths a route is found."""

from __future__ import annotations


def forms(path: str) -> tuple[str, str]:
    """A path without and with a slash at its end: both are one route, since a redirect would lose a POST's body."""
    return path, f"{path}/"
