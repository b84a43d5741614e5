"""`mana keys`: the keys that sign access tokens, and the secrets of the stack."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import click

from gateway.operate.cli.environment import data_dir
from gateway.operate.cli.terminal import step
from gateway.operate.stack import write_environment
from gateway.problems import OperatorError
from gateway.settings.serving import access_token_ttl
from gateway.settings.variables import read
from gateway.tokens.keys import MINIMUM_BITS, PUBLISHED_FOR, KeyDirectory


@click.group()
def keys() -> None:
    """Make, rotate and revoke the keys that sign access tokens (in DATA_DIR/keys)."""


_bits = click.option("--bits", default=MINIMUM_BITS, show_default=True, help="Size; a larger key signs more slowly.")


def _key_directory() -> KeyDirectory:
    return KeyDirectory(data_dir() / "keys")


@keys.command()
@_bits
@click.option("--env", "environment", is_flag=True, help="Write .env for the stack instead, with all of its secrets.")
@click.option("--secrets", type=click.Path(file_okay=False, path_type=Path), metavar="DIRECTORY",
              help="With --env: keep the secrets in files there, for deploy/overlays/secrets.yml.")  # fmt: skip
def generate(bits: int, environment: bool, secrets: Path | None) -> None:
    """Make the first key. It signs at once.

    With --env: write .env for docker compose, each secret drawn at random. An existing .env or secret is never
    overwritten, and nothing is written then.
    """
    if secrets and not environment:
        raise click.UsageError("--secrets needs --env")
    if not environment:
        click.echo(_key_directory().generate(bits))
        return
    write_environment(Path(".env"), secrets)
    step("wrote .env; set DOMAIN in it")


@keys.command()
@_bits
@click.option(
    "--lead", default=2 * PUBLISHED_FOR, show_default=True, type=click.IntRange(5, 30 * 86400),
    help="Seconds for which the new key is published before it signs.",
)  # fmt: skip
@click.option(
    "--token-ttl", type=access_token_ttl, metavar="DURATION",
    help="Lifetime of access tokens, for which the old key verifies after its last signature; "
         "JWT_ACCESS_TOKEN_EXPIRY (15m) is the default.",
)  # fmt: skip
def rotate(bits: int, lead: int, token_ttl: timedelta | None) -> None:
    """Publish a new key, which signs once every cache has it, and retire the older keys.

    Running gateways notice the new key themselves, and no request fails.
    """
    ttl = int((token_ttl or _token_ttl()).total_seconds())
    entry = _key_directory().rotate(bits, lead, ttl)
    click.echo(entry.kid)
    step(f"published now, signs in {lead} seconds; the keys before it verify {ttl + 60} seconds longer")


def _token_ttl() -> timedelta:
    name = "JWT_ACCESS_TOKEN_EXPIRY"
    try:
        return access_token_ttl(read(os.environ, name) or "15m")
    except ValueError as error:
        raise OperatorError(f"{name} {error}") from error


# A kid is base64url, so that one in 64 begins as an option does.
@keys.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("kid")
@_bits
def revoke(kid: str, bits: int) -> None:
    """Remove a key at once, because somebody else has it. No token that it signed is accepted any longer.

    Running gateways notice within two seconds. Users of the refused tokens refresh and go on. If no other key can
    sign, a new one is made; services that verify tokens themselves learn it when their cache of the published keys
    ends, after 5 minutes at most.
    """
    made = _key_directory().revoke(kid, bits)
    if made:
        click.echo(made)
    step(f"revoked{'; the new key signs in its place' if made else ''}")


@keys.command("list")
def list_keys() -> None:
    """List all keys: published, signing, retiring."""
    for line in _key_directory().describe():
        click.echo(line)
