"""Where the repository is, and where servers of tests may put their files and listen."""

from __future__ import annotations

import contextlib
import random
import socket
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def public_directory() -> Path:
    """A temporary directory that a server under another account can get into."""
    directory = Path(tempfile.mkdtemp(prefix="mana-test-"))
    directory.chmod(0o711)
    return directory


def free_port() -> int:
    """A port for a server that starts in a moment.

    It is none of those that the system gives to outgoing connections (from 32768 on), which could take it before.
    """
    while True:
        port = random.randrange(15_000, 32_768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
