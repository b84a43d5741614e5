"""Files that only their owner reads: keys, the pepper, passwords of the database's roles.

A secret is created and never replaced: everything that it ever protected depends on it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from gateway.problems import OperatorError

PRIVATE = 0o600


def create(path: Path, content: str, mode: int = PRIVATE) -> None:
    """Write a new file as a whole. Raises FileExistsError if there is one: what it holds stays."""
    with _written(path, content, mode) as temporary:
        os.link(temporary, path)  # unlike a rename, this never replaces a file


def replace(path: Path, content: str) -> None:
    """Replace a file that is no secret's only copy. A crash leaves the old content or the new one."""
    with _written(path, content, PRIVATE) as temporary:
        temporary.replace(path)


def secret(path: Path) -> str:
    """A random secret of 256 bits that is kept in the file, made on first use. Raises OperatorError if it is lost."""
    with contextlib.suppress(FileExistsError):
        if not path.exists():
            create(path, secrets.token_urlsafe(32))
    content = path.read_text()
    if not content:
        raise OperatorError(f"{path} is empty: its secret is lost", hint="restore it from a copy")
    return content


@contextlib.contextmanager
def _written(path: Path, content: str, mode: int) -> Iterator[Path]:
    """A file beside ``path`` with this content on the disk. Nothing of it stays."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.new")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
