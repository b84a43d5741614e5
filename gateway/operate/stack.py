"""The environment of the stack (docker-compose.yml): .env.example with every secret drawn at random."""

from __future__ import annotations

import secrets
from pathlib import Path

from gateway import private_files
from gateway.problems import OperatorError

_PACKAGED = Path(__file__).parents[1] / "_env.example"
EXAMPLE = _PACKAGED if _PACKAGED.exists() else Path(__file__).parents[2] / ".env.example"

# docker-compose.yml says which service gets which.
STACK_SECRETS = (
    "POSTGRES_PASSWORD", "DATABASE_PASSWORD", "MONITOR_PASSWORD", "REDIS_PASSWORD", "PASSWORD_PEPPER",
    "GRAFANA_PASSWORD", "BACKUP_PASSPHRASE",
)  # fmt: skip


def write_environment(path: Path, directory: Path | None) -> None:
    """Write the stack's .env, with its secrets in it or in files of a directory.

    Raises OperatorError when the file exists: overwriting it would lose its secrets, and every password
    depends on the pepper.
    """
    if path.exists():
        raise OperatorError(f"{path} exists already", hint="move it away; its secrets are in use")
    text = EXAMPLE.read_text()
    for name in STACK_SECRETS:
        value = secrets.token_urlsafe(32)
        if directory:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_files.write(directory / name.lower(), value)
            # The containers read it under other accounts; the directory keeps everybody else out.
            (directory / name.lower()).chmod(0o444)
        else:
            text = text.replace(f"\n{name}=\n", f"\n{name}={value}\n")
    private_files.write(path, text)
