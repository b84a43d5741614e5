"""The settings of the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from gateway.problems import OperatorError
from gateway.settings import parsers
from gateway.settings.variables import read_all, setting, with_password

access_token_ttl = parsers.duration(days=30)  # services that verify tokens themselves accept one until it expires


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that the gateway is configured with. Durations are timedeltas, sizes and limits whole numbers."""

    port: int = setting("PORT", parsers.whole(0, 65535), "3001", "TCP port of the gateway; 0 takes a free one")
    host: str = setting("HOST", parsers.host, "127.0.0.1", "address to listen on; 0.0.0.0 for all")
    workers: int = setting("WORKERS", parsers.whole(1, 64), "1", "worker processes")
    database_url: str = setting(
        "DATABASE_URL", parsers.database_url, None, "PostgreSQL, as role mana_gateway", secret=True
    )
    database_connections: int = setting(
        "DATABASE_CONNECTIONS", parsers.whole(1, 200), "8", "connections of each worker for quick calls"
    )
    password_connections: int = setting(
        "PASSWORD_CONNECTIONS", parsers.whole(1, 64), "2", "connections of each worker for calls that hash a password"
    )
    database_password: str = setting(
        "DATABASE_PASSWORD", parsers.optional_secret, "", "password for a DATABASE_URL without one", secret=True
    )
    data_dir: Path = setting("DATA_DIR", Path, ".dev", "directory of the signing keys")
    password_pepper: str = setting(
        "PASSWORD_PEPPER", parsers.secret, None, "key of the password digest; without it no password works", secret=True
    )
    jwt_private_key: str = setting(
        "JWT_PRIVATE_KEY", parsers.pem, "", "PEM of the signing key; empty: the keys in DATA_DIR", secret=True
    )
    jwt_public_key: str = setting(
        "JWT_PUBLIC_KEY", parsers.pem, "", "PEMs of further public keys whose tokens are still accepted"
    )
    jwt_issuer: str = setting("JWT_ISSUER", parsers.name, "manacore", "iss of access tokens")
    jwt_audience: str = setting("JWT_AUDIENCE", parsers.name, "manacore", "aud and client_id of access tokens")
    access_token_ttl: timedelta = setting(
        "JWT_ACCESS_TOKEN_EXPIRY", access_token_ttl, "15m", "lifetime of an access token, 30d at most"
    )
    refresh_token_ttl: timedelta = setting(
        "JWT_REFRESH_TOKEN_EXPIRY", parsers.duration(days=400), "7d", "lifetime of a refresh token, 400d at most"
    )
    redis_host: str = setting(
        "REDIS_HOST", parsers.optional_host, "", "Redis for the rate limits; empty: each worker counts in memory"
    )
    redis_port: int = setting("REDIS_PORT", parsers.whole(1, 65535), "6379", "")
    redis_password: str = setting("REDIS_PASSWORD", parsers.text, "", "", secret=True)
    cors_origins: tuple[str, ...] = setting(
        "CORS_ORIGINS", parsers.origins, "", "origins of browser apps, separated by commas; * for all, :* for all ports"
    )
    development_addresses: bool = setting(
        "DEVELOPMENT_ADDRESSES",
        parsers.yes_or_no,
        "no",
        "yes: e-mail addresses under .test, .local and localhost may register",
    )
    rate_limit_window: int = setting(
        "RATE_LIMIT_TTL", parsers.whole(1, 86400), "60", "window of the rate limits, in seconds"
    )
    rate_limit_max: int = setting(
        "RATE_LIMIT_MAX",
        parsers.whole(0, 10**9),
        "100",
        "requests of one address in a window; 0 switches all limits off",
    )
    rate_limit_auth_max: int = setting(
        "RATE_LIMIT_AUTH_MAX",
        parsers.whole(1, 10**9),
        "10",
        "logins, registrations, and attempts at one account; three times as many refreshes",
    )
    trusted_proxies: int = setting(
        "TRUSTED_PROXIES", parsers.whole(0, 10), "0", "proxies in front that append to X-Forwarded-For"
    )
    drain_seconds: int = setting(
        "DRAIN_SECONDS", parsers.whole(0, 60), "0", "seconds for which requests are still served after shutdown begins"
    )
    public_url: str = setting(
        "PUBLIC_URL", parsers.optional_url, "", "address at which people reach the service; needed to sell credits"
    )
    stripe_secret_key: str = setting(
        "STRIPE_SECRET_KEY", parsers.stripe_key, "", "key of the Stripe account; empty: nothing is sold", secret=True
    )
    stripe_webhook_secrets: tuple[str, ...] = setting(
        "STRIPE_WEBHOOK_SECRET",
        parsers.stripe_webhook_secrets,
        "",
        "secret of the webhook endpoint; several, separated by commas, while one replaces the other",
        secret=True,
    )
    stripe_api_base: str = setting("STRIPE_API_BASE", parsers.optional_url, "", "another address of Stripe, for tests")
    log_level: str = setting("LOG_LEVEL", parsers.log_level, "info", "debug, info, warning or error")


def load(environment: Mapping[str, str]) -> Settings:
    """Read the settings. Raises OperatorError with one line for each that is missing or wrong."""
    settings = read_all(Settings, environment, hint="see .env.example, or let `mana run` set up a private service")
    if settings.stripe_secret_key and not settings.public_url:
        raise OperatorError(
            "PUBLIC_URL is not set, and STRIPE_SECRET_KEY is", hint="people come back there from paying"
        )
    return replace(settings, database_url=with_password(settings.database_url, settings.database_password))
