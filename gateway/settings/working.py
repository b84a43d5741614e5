"""The settings of `mana work`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.settings import parsers
from gateway.settings.serving import Settings
from gateway.settings.variables import read_all, setting, variables, with_password


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """Everything that the worker is configured with."""

    database_url: str = setting(
        "WORKER_DATABASE_URL", parsers.database_url, None, "PostgreSQL, as role mana_worker", secret=True
    )
    database_password: str = setting(
        "WORKER_PASSWORD",
        parsers.optional_secret,
        "",
        "password of role mana_worker, for a URL without one",
        secret=True,
    )
    stripe_secret_key: str = setting(
        "STRIPE_SECRET_KEY", parsers.stripe_key, "", "key of the Stripe account; empty: nothing is sold", secret=True
    )
    stripe_api_base: str = setting("STRIPE_API_BASE", parsers.optional_url, "", "another address of Stripe, for tests")
    port: int = setting("WORKER_PORT", parsers.whole(0, 65535), "9188", "TCP port of the metrics of `mana work`")
    host: str = setting("HOST", parsers.host, "127.0.0.1", "address to listen on; 0.0.0.0 for all")
    log_level: str = setting("LOG_LEVEL", parsers.log_level, "info", "debug, info, warning or error")


# Those that the gateway does not read as well.
WORK_VARIABLES = tuple(
    variable for variable in variables(Work) if variable.name not in {shared.name for shared in variables(Settings)}
)


def load_work(environment: Mapping[str, str]) -> Work:
    """Read the settings of the worker. Raises OperatorError with one line for each that is missing or wrong."""
    settings = read_all(Work, environment, hint="see .env.example; `mana run` starts a worker by itself")
    return replace(settings, database_url=with_password(settings.database_url, settings.database_password))
