"""Requests byte by byte, also such as no client would send."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
from urllib.parse import urlsplit

from harness.clients import Reply


def head(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """The head of a request, as it is written here."""
    lines = [f"{method} {path} HTTP/{version}", "Host: x", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def exchange(url: str, sent: bytes) -> Reply:
    """The answer to these very bytes, also to such as no client would send."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), 30) as connection:
        with contextlib.suppress(ConnectionError):  # who refuses a long body need not read it
            connection.sendall(sent)
        response = http.client.HTTPResponse(connection)
        response.begin()
        text = response.read().decode(errors="replace")
        decoded = json.loads(text) if "json" in response.headers.get("Content-Type", "") and text else None
        return Reply(response.status, response.headers, decoded, text)  # type: ignore[arg-type]


def statuses(url: str, sent: bytes) -> list[int]:
    """The status of each answer to these bytes; the connection is closed then, or else this fails."""
    return [int(status) for status in re.findall(rb"HTTP/\d\.\d (\d{3}) ", answers(url, sent))]


def answers(url: str, sent: bytes) -> bytes:
    """All that comes back for these bytes until the connection is closed."""
    parts = urlsplit(url)
    received = bytearray()
    with socket.create_connection((parts.hostname, parts.port), 60) as connection:

        def send() -> None:
            with contextlib.suppress(ConnectionError):  # who refuses a long request need not read it
                connection.sendall(sent)

        sender = threading.Thread(target=send)
        sender.start()
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(2**16):
                received += data
        sender.join()
    return bytes(received)
