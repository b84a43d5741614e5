"""Settings from the environment, typed and checked once at start.

Each can also be given as a file: where NAME is empty, NAME_FILE names a file that holds it (a Docker
secret, say). A line end at the end of it does not count.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from gateway import private_files
from gateway.problems import OperatorError

_PACKAGED = Path(__file__).parent / "_env.example"
EXAMPLE = _PACKAGED if _PACKAGED.exists() else Path(__file__).parent.parent / ".env.example"

_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)?", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1, None: 1, "m": 60, "h": 3600, "d": 86400}


def _text(value: str) -> str:
    return value


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"\d{1,12}", value, re.ASCII) or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


def duration(value: str) -> timedelta:
    """``15m``, ``7d``, ``900s``, or seconds alone. Raises ValueError."""
    match = _DURATION.fullmatch(value)
    if not match or not int(match[1]):
        raise ValueError("must be a duration such as 15m, 7d or 900s")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _database(value: str) -> str:
    if not re.match(r"postgres(ql)?://", value):
        raise ValueError("must be a URL such as postgresql://mana_gateway:..@host:5432/mana")
    try:
        conninfo_to_dict(value)
    except psycopg.ProgrammingError:
        raise ValueError("is not a valid URL") from None
    return value


def _secret(value: str) -> str:
    if len(value) < 32 or len(set(value)) < 10:
        raise ValueError("is too weak: it needs at least 32 characters, drawn at random")
    return value


def _optional_secret(value: str) -> str:
    return _secret(value) if value else ""


def _origins(value: str) -> tuple[str, ...]:
    origins = tuple(origin.strip().rstrip("/") for origin in value.split(",") if origin.strip())
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
            raise ValueError(f"has an origin that is none: {origin}")
    return origins


def _level(value: str) -> str:
    if value not in {"debug", "info", "warning", "error"}:
        raise ValueError("must be debug, info, warning or error")
    return value


def _pem(value: str) -> str:
    # Environment files hold a PEM on one line, with its line ends written as \n.
    text = value.replace("\\n", "\n")
    if text and "-----BEGIN" not in text:
        raise ValueError("must be a key in PEM form")
    return text


def _setting(name: str, parse: Callable[[str], Any], default: str | None, about: str, secret: bool = False) -> Any:
    """A field read from the variable ``name``; ``default`` None means that it must be set."""
    return field(metadata={"name": name, "parse": parse, "default": default, "about": about, "secret": secret})


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the gateway runs with. Durations are timedeltas, sizes and limits whole numbers."""

    port: int = _setting("PORT", _whole(0, 65535), "3001", "TCP port of the gateway; 0 takes a free one")
    host: str = _setting("HOST", _text, "127.0.0.1", "address to listen on; 0.0.0.0 for all")
    workers: int = _setting("WORKERS", _whole(1, 64), "1", "worker processes")
    database_url: str = _setting("DATABASE_URL", _database, None, "PostgreSQL, as role mana_gateway", secret=True)
    database_connections: int = _setting(
        "DATABASE_CONNECTIONS", _whole(1, 200), "8", "connections of each worker for quick calls"
    )
    password_connections: int = _setting(
        "PASSWORD_CONNECTIONS",
        _whole(1, 64),
        "2",
        "connections of each worker for calls that hash a password",
    )
    database_password: str = _setting(
        "DATABASE_PASSWORD", _optional_secret, "", "password for DATABASE_URL, where it holds none", secret=True
    )
    data_dir: Path = _setting("DATA_DIR", Path, ".dev", "where signing keys are kept")
    password_pepper: str = _setting(
        "PASSWORD_PEPPER",
        _secret,
        None,
        "key of the password digest; lost means: no password works",
        secret=True,
    )
    jwt_private_key: str = _setting(
        "JWT_PRIVATE_KEY", _pem, "", "PEM of the signing key; empty: the keys in DATA_DIR", secret=True
    )
    jwt_public_key: str = _setting(
        "JWT_PUBLIC_KEY", _pem, "", "PEMs of further public keys whose tokens are still good"
    )
    jwt_issuer: str = _setting("JWT_ISSUER", _text, "manacore", "iss of access tokens")
    jwt_audience: str = _setting("JWT_AUDIENCE", _text, "manacore", "aud of access tokens")
    access_token_ttl: timedelta = _setting("JWT_ACCESS_TOKEN_EXPIRY", duration, "15m", "lifetime of an access token")
    refresh_token_ttl: timedelta = _setting("JWT_REFRESH_TOKEN_EXPIRY", duration, "7d", "lifetime of a refresh token")
    redis_host: str = _setting("REDIS_HOST", _text, "", "Redis for rate limits; empty: in memory, per worker")
    redis_port: int = _setting("REDIS_PORT", _whole(1, 65535), "6379", "")
    redis_password: str = _setting("REDIS_PASSWORD", _text, "", "", secret=True)
    cors_origins: tuple[str, ...] = _setting(
        "CORS_ORIGINS", _origins, "", "origins of browser apps, separated by commas"
    )
    rate_limit_window: int = _setting("RATE_LIMIT_TTL", _whole(1, 86400), "60", "window of the limits, seconds")
    rate_limit_max: int = _setting(
        "RATE_LIMIT_MAX", _whole(0, 10**9), "100", "requests of one address in a window; 0: no limits at all"
    )
    rate_limit_auth_max: int = _setting(
        "RATE_LIMIT_AUTH_MAX",
        _whole(1, 10**9),
        "10",
        "logins and registrations each; refreshes: three times that",
    )
    trusted_proxies: int = _setting(
        "TRUSTED_PROXIES", _whole(0, 10), "0", "proxies in front that append to X-Forwarded-For"
    )
    drain_seconds: int = _setting(
        "DRAIN_SECONDS", _whole(0, 60), "0", "seconds that a stopping gateway still takes requests"
    )
    log_level: str = _setting("LOG_LEVEL", _level, "info", "debug, info, warning or error")


@dataclass(frozen=True, kw_only=True, slots=True)
class Maintenance:
    """What `mana backup`, `mana restore` and `mana maintain` run with."""

    passphrase: str = _setting(
        "BACKUP_PASSPHRASE", _optional_secret, "", "backups are encrypted with it; empty: they are not", secret=True
    )
    keep: int = _setting("BACKUP_KEEP", _whole(1, 1000), "7", "backups that stay; older ones go when a new one is good")
    backup_every: timedelta = _setting("BACKUP_EVERY", duration, "1d", "time from one backup to the next")
    ledger_every: timedelta = _setting("LEDGER_EVERY", duration, "15m", "time from one check of the ledger to the next")
    port: int = _setting("MAINTENANCE_PORT", _whole(0, 65535), "9187", "TCP port of the metrics of `mana maintain`")
    host: str = _setting("HOST", _text, "127.0.0.1", "address to listen on; 0.0.0.0 for all")
    data_dir: Path = _setting("DATA_DIR", Path, ".dev", "where a backup is restored to be checked")
    log_level: str = _setting("LOG_LEVEL", _level, "info", "debug, info, warning or error")


@dataclass(frozen=True, slots=True)
class Variable:
    """How one setting is named, described and defaulted."""

    name: str
    default: str | None
    about: str
    secret: bool
    field: str


# What only `mana migrate`, `mana prepare` and `mana run` read.
MIGRATION_VARIABLES = (
    Variable("DATABASE_ADMIN_URL", "", "PostgreSQL, as an administrator, for migrations", True, ""),
    Variable("DATABASE_ADMIN_PASSWORD", "", "password for DATABASE_ADMIN_URL, where it holds none", True, ""),
    Variable("MONITOR_PASSWORD", "", "password of role mana_monitor, which mana prepare makes", True, ""),
    Variable("CREDITS_SIGNUP_BONUS", "", "credits on registration, written at migration (150)", False, ""),
    Variable("CREDITS_DAILY_FREE", "", "credits every 24 hours, written at migration (5)", False, ""),
)


def variables(kind: type[Settings | Maintenance] = Settings) -> list[Variable]:
    """All settings of the gateway, or of maintenance, in the order of the class."""
    return [
        Variable(f.metadata["name"], f.metadata["default"], f.metadata["about"], f.metadata["secret"], f.name)
        for f in fields(kind)
    ]


# What `mana backup`, `mana restore` and `mana maintain` read beside those of the gateway.
MAINTENANCE_VARIABLES = tuple(
    variable for variable in variables(Maintenance) if variable.name not in {known.name for known in variables()}
)


def load(environment: Mapping[str, str]) -> Settings:
    """Read all settings. Raises OperatorError with one line for each that is missing or wrong.

    An empty variable counts as not set. Values never appear in the error: they may be secrets.
    """
    values, wrong = _values(Settings, environment)
    if wrong:
        raise OperatorError("\n".join(wrong), hint="see .env.example, or let `mana run` set up a private service")
    values["database_url"] = with_password(values["database_url"], values["database_password"])
    return Settings(**values)


def load_maintenance(environment: Mapping[str, str]) -> Maintenance:
    """The same for backups and checks."""
    values, wrong = _values(Maintenance, environment)
    if wrong:
        raise OperatorError("\n".join(wrong))
    return Maintenance(**values)


def _values(kind: type[Settings | Maintenance], environment: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for f in fields(kind):
        name, default = f.metadata["name"], f.metadata["default"]
        try:
            text = read(environment, name) or default
            if text is None:
                wrong.append(f"{name} is not set ({f.metadata['about']})")
            else:
                values[f.name] = f.metadata["parse"](text)
        except ValueError as error:
            wrong.append(f"{name} {error}")
    return values, wrong


def read(environment: Mapping[str, str], name: str) -> str:
    """The variable, or what is in the file that NAME_FILE names; empty when neither is set.

    Raises ValueError when both are set, and when the file cannot be read.
    """
    given, path = environment.get(name, ""), environment.get(f"{name}_FILE", "")
    if given and path:
        raise ValueError(f"is set, and so is {name}_FILE: one of them is too many")
    if not path:
        return given
    try:
        return Path(path).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ValueError(f"cannot be read from the file of {name}_FILE: {reason}") from None


def secret(environment: Mapping[str, str], name: str) -> str:
    """A secret of NAME or NAME_FILE, empty when neither is set. Raises OperatorError when it is weak."""
    try:
        return _optional_secret(read(environment, name))
    except ValueError as error:
        raise OperatorError(f"{name} {error}") from error


def with_password(url: str, password: str) -> str:
    """The URL of a database with this password, unless it has one, or there is none."""
    parts = urlsplit(url)
    if not password or parts.password:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.rstrip(':')}:{quote(password, safe='')}@{host}"))


# What the stack draws at random: docker-compose.yml says who gets which.
STACK_SECRETS = (
    "POSTGRES_PASSWORD", "DATABASE_PASSWORD", "MONITOR_PASSWORD", "REDIS_PASSWORD", "PASSWORD_PEPPER",
    "GRAFANA_PASSWORD", "BACKUP_PASSPHRASE",
)  # fmt: skip


def write_environment(path: Path, directory: Path | None) -> None:
    """Write .env.example with all secrets of the stack drawn, or drawn into files of a directory.

    Raises OperatorError when there is one: its secrets would be lost, and with the pepper every password.
    """
    if path.exists():
        raise OperatorError(f"{path} is there already", hint="move it away; its secrets are in use")
    text = EXAMPLE.read_text()
    for name in STACK_SECRETS:
        value = secrets.token_urlsafe(32)
        if directory:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_files.write(directory / name.lower(), value)
            # Their readers are other accounts, of the containers; the directory keeps everybody else out.
            (directory / name.lower()).chmod(0o444)
        else:
            text = text.replace(f"\n{name}=\n", f"\n{name}={value}\n")
    private_files.write(path, text)


def grant_amount(environment: Mapping[str, str], name: str) -> int | None:
    """CREDITS_SIGNUP_BONUS or CREDITS_DAILY_FREE, None when it is not set. Raises OperatorError."""
    try:
        text = read(environment, name)
        return _whole(0, 10**9)(text) if text else None
    except ValueError as error:
        raise OperatorError(f"{name} {error}") from error
