"""Run a command with a new PostgreSQL server that has everything of ``sql/``, and drop it after.

    python -m harness COMMAND [ARGUMENT]...

The command finds the server as libpq does (PGHOST and so on) and in DATABASE_URL. The exit code is
the command's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from urllib.parse import urlsplit

from gateway.operate import migrate
from gateway.operate.local_postgres import LocalPostgres
from gateway.problems import OperatorError
from harness.places import public_directory


def main(command: list[str]) -> int:
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    # So that make, or a time limit, ends the server as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    server = LocalPostgres(public_directory(), durable=False)
    try:
        server.start(_report)
        migrate.apply(server.url, _report)
        return subprocess.run(command, check=False, env={**os.environ, **_environment(server.url)}).returncode
    except OperatorError as error:
        _report(f"{error}\n{error.hint or ''}".strip())
        return 1
    except FileNotFoundError:
        _report(f"{command[0]}: there is no such command")
        return 127
    finally:
        server.remove()


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _environment(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {
        "DATABASE_URL": url,
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port),
        "PGUSER": parts.username or "",
        "PGPASSWORD": parts.password or "",
        "PGDATABASE": parts.path.lstrip("/"),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
