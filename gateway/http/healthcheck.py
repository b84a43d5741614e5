"""``python -m gateway.http.healthcheck [URL]``: exit code 0 when the URL answers with 200 within 3 seconds.

For containers, which have no curl. Without a URL it asks the gateway here, for /health/ready.
"""

from __future__ import annotations

import http.client
import os
import sys
from urllib.parse import urlsplit

from gateway.http.own_url import own_url

TIMEOUT = 3.0  # seconds


def healthy(url: str) -> bool:
    """Whether it answers with 200."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    host, port = (os.environ.get(name, "").strip(" []") for name in ("HOST", "PORT"))
    own = f"{own_url(host or '127.0.0.1', int(port or 3001))}/health/ready"
    sys.exit(0 if healthy(sys.argv[1] if len(sys.argv) > 1 else own) else 1)
