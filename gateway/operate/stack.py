"""The environment of the stack (docker-compose.yml): .env.example with every secret drawn at random."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from gateway import private_files
from gateway.problems import OperatorError

_PACKAGED = Path(__file__).parents[1] / "_env.example"
EXAMPLE = _PACKAGED if _PACKAGED.exists() else Path(__file__).parents[2] / ".env.example"

# docker-compose.yml says which service gets which.
STACK_SECRETS = (
    "POSTGRES_PASSWORD", "DATABASE_PASSWORD", "WORKER_PASSWORD", "MONITOR_PASSWORD", "REDIS_PASSWORD",
    "PASSWORD_PEPPER", "GRAFANA_PASSWORD", "BACKUP_PASSPHRASE",
)  # fmt: skip


def write_environment(path: Path, directory: Path | None) -> None:
    """Write the stack's .env, with its secrets in it or in files of a directory.

    Raises OperatorError when the file or any of the secrets exists: every password depends on the pepper, and
    every backup on its passphrase. Nothing is written then.
    """
    _refuse_output_into(path)
    if path.exists():
        raise OperatorError(f"{path} exists already", hint="move it away; its secrets are in use")
    drawn = {name: secrets.token_urlsafe(32) for name in STACK_SECRETS}
    text = EXAMPLE.read_text()
    if directory:
        _write_files(directory, {name.lower(): value for name, value in drawn.items()})
    else:
        for name, value in drawn.items():
            text = text.replace(f"\n{name}=\n", f"\n{name}={value}\n")
    _create(path, text, private_files.PRIVATE)


def _write_files(directory: Path, files: dict[str, str]) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _close_to_others(directory)
    for name in files:
        if (directory / name).exists():
            raise OperatorError(f"{directory / name} exists already", hint="move it away; the secret is in use")
    for name, value in files.items():
        # The containers read it under other accounts; the directory keeps everybody else out.
        _create(directory / name, value, 0o444)


def _close_to_others(directory: Path) -> None:
    """Only its owner may enter it. One that others may use, because it has files already, is not touched."""
    mode = directory.stat().st_mode & 0o777
    if not mode & 0o077:
        return
    if any(directory.iterdir()):
        raise OperatorError(
            f"other accounts can enter {directory} (mode {mode:o})", hint=f"chmod 700 {directory}, or name another one"
        )
    directory.chmod(0o700)


def _create(path: Path, content: str, mode: int) -> None:
    try:
        private_files.create(path, content, mode)
    except FileExistsError:  # since we looked
        raise OperatorError(f"{path} exists already", hint="its secrets are in use") from None


def _refuse_output_into(path: Path) -> None:
    """With `mana keys generate --env > .env`, the shell has emptied .env before we start."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(1), path.stat()):
            raise OperatorError(
                f"standard output is {path} itself, which the shell has emptied; no secret was drawn",
                hint=f"restore {path} from its copy; if there never was one, delete it and run: make .env",
            )
