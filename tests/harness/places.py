"""Where the repository is, and where servers of tests may put their files and listen."""

from __future__ import annotations

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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
