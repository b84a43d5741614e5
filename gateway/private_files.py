"""Files that only their owner reads: keys, the pepper, passwords of the database's roles."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write(path: Path, content: str) -> None:
    """Replace the file as a whole: a crash leaves the old content or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def secret(path: Path) -> str:
    """A random secret of 256 bits that is kept in the file, made on first use."""
    if not path.exists():
        write(path, secrets.token_urlsafe(32))
    return path.read_text()
