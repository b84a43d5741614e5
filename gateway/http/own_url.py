"""Where a server on this machine finds itself."""

from __future__ import annotations

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def own_url(host: str, port: int) -> str:
    """The URL at which a server that listens on ``host`` is reached from its own machine (RFC 3986, section 3.2.2)."""
    host = _ANYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
