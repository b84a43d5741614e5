"""The settings of `mana backup`, `mana restore` and `mana maintain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from gateway.settings import parsers
from gateway.settings.serving import Settings
from gateway.settings.variables import read_all, setting, variables


@dataclass(frozen=True, kw_only=True, slots=True)
class Maintenance:
    """Everything that backups and scheduled checks are configured with."""

    passphrase: str = setting(
        "BACKUP_PASSPHRASE", parsers.optional_secret, "", "encrypts backups; empty: they are not encrypted", secret=True
    )
    keep: int = setting("BACKUP_KEEP", parsers.whole(1, 1000), "7", "number of good backups to keep")
    backup_every: timedelta = setting(
        "BACKUP_EVERY", parsers.duration(days=366), "1d", "time from one backup to the next"
    )
    ledger_every: timedelta = setting(
        "LEDGER_EVERY",
        parsers.duration(days=366),
        "15m",
        "time from one check of what is new in the ledger to the next",
    )
    ledger_full_every: timedelta = setting(
        "LEDGER_FULL_EVERY", parsers.duration(days=366), "1d", "time from one check of the whole ledger to the next"
    )
    port: int = setting(
        "MAINTENANCE_PORT", parsers.whole(0, 65535), "9187", "TCP port of the metrics of `mana maintain`"
    )
    host: str = setting("HOST", parsers.host, "127.0.0.1", "address to listen on; 0.0.0.0 for all")
    data_dir: Path = setting(
        "DATA_DIR", Path, ".dev", "where a backup is restored to be checked, and marks of the ledger are kept"
    )
    log_level: str = setting("LOG_LEVEL", parsers.log_level, "info", "debug, info, warning or error")


# Those that the gateway does not read as well.
MAINTENANCE_VARIABLES = tuple(
    variable
    for variable in variables(Maintenance)
    if variable.name not in {shared.name for shared in variables(Settings)}
)


def load_maintenance(environment: Mapping[str, str]) -> Maintenance:
    """Read the settings of maintenance. Raises OperatorError with one line for each that is wrong."""
    return read_all(Maintenance, environment)
