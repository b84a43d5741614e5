"""The command line: help for people, one clear line for each error, and what each command does."""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from uuid import UUID, uuid4

import click
import psycopg
import pytest

from gateway.api.table import ROUTES
from gateway.operate.cli import main
from gateway.operate.ledger_marks import COUNTED
from gateway.operate.migrate import SCHEMAS
from gateway.operate.stack import STACK_SECRETS
from gateway.settings.maintenance import MAINTENANCE_VARIABLES
from gateway.settings.migration import MIGRATION_VARIABLES
from gateway.settings.serving import Settings
from gateway.settings.variables import variables
from gateway.settings.working import WORK_VARIABLES
from harness import programs
from harness.clients import PASSWORD, Service, assert_problem
from harness.databases import Cluster, Database
from harness.doors import backend_login
from harness.gateways import PEPPER, Gateway
from harness.places import ROOT, free_port
from harness.programs import mana
from harness.waiting import until

Done = subprocess.CompletedProcess[str]
VARIABLES = (*variables(Settings), *MIGRATION_VARIABLES, *MAINTENANCE_VARIABLES, *WORK_VARIABLES)
EXAMPLE = ROOT / ".env.example"


def assert_failed(done: Done, error: str, hint: str | None = None, code: int = 1) -> None:
    """One clear line, a hint where there is one, and nothing on standard output."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    lines = done.stderr.splitlines()
    assert re.search(error, lines[0]), done.stderr
    assert lines[0].startswith("error: ")
    assert lines[1:] == ([f"hint:  {hint}"] if hint else []), done.stderr


def as_admin(database: Database, *arguments: str, **environment: str) -> Done:
    return mana(*arguments, environment={"DATABASE_ADMIN_URL": database.admin_url, **environment})


# ---------------------------------------------------------------- help


def commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    nested = command.commands.items() if isinstance(command, click.Group) else ()
    return [path, *(below for name, child in nested for below in commands(child, (*path, name)))]


COMMANDS = commands(main)


def test_the_commands_of_the_readme_are_there() -> None:
    for line in (
        "run", "serve", "migrate status", "migrate apply", "migrate rollback", "keys generate", "keys rotate",
        "keys revoke", "psql",
        "user create", "user make-admin", "user disable", "backend bind", "backend list", "ledger verify",
        "credits adjust", "credits reverse", "package add", "package price", "package retire", "purchase refund",
        "settings", "routes",
        "backup", "backup list", "restore", "maintain",
    ):  # fmt: skip
        assert tuple(line.split()) in COMMANDS


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_has_a_help(command: tuple[str, ...]) -> None:
    done = mana(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: mana {' '.join(command)}".rstrip())
    assert len(done.stdout.splitlines()) > 4, "it says nothing"


@pytest.mark.parametrize(
    "command", [("nonsense",), ("user", "nonsense"), ("serve", "--workers", "0"), ("user", "create")]
)
def test_a_wrong_command_is_a_usage_error(command: tuple[str, ...]) -> None:
    done = mana(*command)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: mana" in done.stderr
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------- errors

NEED_A_DATABASE = [
    ("migrate", "status"),
    ("migrate", "apply"),
    ("migrate", "rollback", "--yes"),
    ("user", "make-admin", "a@example.com"),
    ("user", "disable", "a@example.com"),
    ("user", "enable", "a@example.com"),
    ("ledger", "verify"),
    ("backend", "bind", "shop", "chat"),
    ("backend", "list"),
    ("credits", "adjust", "a@example.com", "-1", "--reason", "other"),
    ("credits", "reverse", "a@example.com", str(UUID(int=1)), "--reason", "other"),
    ("package", "list"),
    ("package", "add", "Team", "1", "1"),
    ("package", "price", "Team", "1"),
    ("package", "retire", "Team"),
    ("package", "restore", "Team"),
    ("purchase", "refund", "a@example.com", str(UUID(int=1))),
]


@pytest.mark.parametrize("command", [*NEED_A_DATABASE, ("dsn",), ("psql",)], ids=" ".join)
def test_without_a_database_a_command_says_how_to_get_one(command: tuple[str, ...], tmp_path: Path) -> None:
    done = mana(*command, environment={"DATA_DIR": str(tmp_path)})
    assert_failed(done, f"error: there is no database in {tmp_path}/postgres", "make run creates it")


@pytest.mark.parametrize("command", [("migrate", "status"), ("ledger", "verify")], ids=" ".join)
def test_a_database_that_does_not_answer_is_one_clear_line(command: tuple[str, ...]) -> None:
    url = f"postgresql://postgres:the-password@127.0.0.1:{free_port()}/mana"
    done = mana(*command, environment={"DATABASE_ADMIN_URL": url})
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot connect to the database")
    assert "Traceback" not in done.stderr
    assert "the-password" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    "url", ["garbage", "mysql://localhost/x", "postgresql://127.0.0.1:port/x", "postgresql://[::1/x", "://"]
)
def test_an_invalid_url_is_one_clear_line(url: str) -> None:
    for command in (("migrate", "status"), ("ledger", "verify"), ("psql", "-c", "select 1")):
        done = mana(*command, environment={"DATABASE_ADMIN_URL": url})
        assert done.returncode != 0
        assert done.stdout == ""
        assert "Traceback" not in done.stderr, (command, done.stderr)


def test_a_wrong_password_of_the_database_is_one_clear_line(database: Database) -> None:
    url = re.sub(r"//postgres:[^@]*@", "//postgres:wrong-password@", database.admin_url)
    done = mana("ledger", "verify", environment={"DATABASE_ADMIN_URL": url})
    assert done.returncode == 1
    assert re.match(r"error: cannot connect to the database: .*password authentication failed", done.stderr)
    assert "wrong-password" not in done.stderr


def test_a_database_that_is_not_migrated_is_one_clear_line(cluster: Cluster) -> None:
    with cluster.database(migrated=False) as empty:
        for command in (("ledger", "verify"), ("user", "disable", "a@example.com")):
            done = as_admin(empty, *command)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith("error: the database says: ")
            assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("command", ["make-admin", "disable", "enable"])
def test_an_unknown_user_is_one_clear_line(database: Database, command: str) -> None:
    done = as_admin(database, "user", command, "nobody@example.com")
    assert_failed(done, r"error: There is no user with this e-mail address\.")


def test_serve_lists_every_setting_that_is_missing_or_wrong() -> None:
    done = mana("serve", environment={"PORT": "a", "RATE_LIMIT_MAX": "-1", "CORS_ORIGINS": "example.com"})
    assert (done.returncode, done.stdout) == (1, "")
    *errors, hint = done.stderr.splitlines()
    assert [line.split()[:2] for line in errors] == [
        ["error:", name] for name in ("PORT", "DATABASE_URL", "PASSWORD_PEPPER", "CORS_ORIGINS", "RATE_LIMIT_MAX")
    ]
    assert hint.startswith("hint:  see .env.example")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PASSWORD_PEPPER", "short"),
        ("PASSWORD_PEPPER", "a" * 64),
        ("PORT", "65536"),
        ("PORT", "0x50"),
        ("WORKERS", "0"),
        ("JWT_ACCESS_TOKEN_EXPIRY", "0m"),
        ("JWT_ACCESS_TOKEN_EXPIRY", "15 minutes"),
        ("JWT_ACCESS_TOKEN_EXPIRY", "500ms"),
        ("JWT_ACCESS_TOKEN_EXPIRY", "31d"),
        ("JWT_REFRESH_TOKEN_EXPIRY", "-7d"),
        ("JWT_REFRESH_TOKEN_EXPIRY", "73000d"),
        ("JWT_REFRESH_TOKEN_EXPIRY", "9" * 30 + "d"),
        ("JWT_ISSUER", "x" * 256),
        ("HOST", "http://127.0.0.1"),
        ("HOST", "::1::1"),
        ("REDIS_HOST", "redis:6379"),
        ("RATE_LIMIT_TTL", "0"),
        ("TRUSTED_PROXIES", "true"),
        ("LOG_LEVEL", "chatty"),
        ("CORS_ORIGINS", "https://a.example.com/path"),
        ("JWT_PRIVATE_KEY", "garbage"),
    ],
)
def test_a_bad_setting_stops_the_start_and_its_value_is_not_shown(variable: str, value: str) -> None:
    good = {"DATABASE_URL": "postgresql://127.0.0.1/mana", "PASSWORD_PEPPER": PEPPER}
    done = mana("serve", environment={**good, variable: value})
    assert_failed(
        done, rf"error: {variable} (must|is|contains)", "see .env.example, or let `mana run` set up a private service"
    )
    assert len(value) < 3 or value in {"short"} or variable == "CORS_ORIGINS" or f" {value}" not in done.stderr


@pytest.mark.parametrize(("name", "value"), [("CREDITS_SIGNUP_BONUS", "-1"), ("CREDITS_DAILY_FREE", "five")])
def test_a_bad_amount_stops_a_migration_before_it_begins(cluster: Cluster, name: str, value: str) -> None:
    with cluster.database(migrated=False) as empty:
        done = as_admin(empty, "migrate", "apply", **{name: value})
        assert_failed(done, f"error: {name} must be a whole number")
        assert empty.query("select from pg_namespace where nspname = 'auth'") == []


# ---------------------------------------------------------------- migrate


def migrations(database: Database) -> dict[str, str]:
    done = as_admin(database, "migrate", "status")
    assert (done.returncode, done.stderr) == (0, "")
    return {name: state for state, name in (line.split() for line in done.stdout.splitlines())}


def test_migrations_go_forth_and_back(cluster: Cluster) -> None:
    with cluster.database(migrated=False) as empty:
        assert set(migrations(empty).values()) == {"missing"}

        applied = as_admin(empty, "migrate", "apply", CREDITS_SIGNUP_BONUS="7", CREDITS_DAILY_FREE="3")
        assert (applied.returncode, applied.stdout) == (0, "")
        assert "- functions and policies" in applied.stderr.splitlines()
        assert set(migrations(empty).values()) == {"applied"}
        assert empty.query("select count(*) from credits.packages") == [(0,)]

        again = as_admin(empty, "migrate", "apply", "--seed")
        assert again.returncode == 0
        assert not any(line.startswith("- migration") for line in again.stderr.splitlines())
        ((packages,),) = empty.query("select count(*) from credits.packages")
        assert packages > 0
        assert as_admin(empty, "migrate", "apply", "--seed").returncode == 0
        assert empty.query("select count(*) from credits.packages") == [(packages,)]

        assert as_admin(empty, "migrate", "rollback", "--yes").returncode == 0
        states = list(migrations(empty).values())
        assert states == ["applied"] * (len(states) - 1) + ["missing"]
        assert as_admin(empty, "migrate", "rollback", "--yes", "--all").returncode == 0
        assert set(migrations(empty).values()) == {"missing"}
        assert empty.query("select nspname from pg_namespace where nspname = any(%s)", list(SCHEMAS)) == []


async def test_packages_are_put_on_sale_once_by_two_at_once(cluster: Cluster) -> None:
    with cluster.database() as empty, empty.connect() as first:
        with first.transaction():
            first.execute("select credits.seed_packages()")
            second = asyncio.create_task(asyncio.to_thread(empty.query, "select credits.seed_packages()"))
            await until(lambda: empty.query("select 1 from pg_locks where not granted and locktype = 'transactionid'"))
        assert await second == [(0,)]
        assert empty.query("select count(*) from credits.packages") == [(4,)]


def test_a_rollback_leaves_the_other_databases_of_the_server_alone(cluster: Cluster) -> None:
    with cluster.database() as other, cluster.database() as database:
        assert as_admin(database, "migrate", "rollback", "--yes", "--all").returncode == 0
        psycopg.connect(other.gateway_url).close()


def test_amounts_of_the_grants_are_written_at_migration(cluster: Cluster) -> None:
    with cluster.database() as database:
        assert as_admin(database, "migrate", "apply", CREDITS_SIGNUP_BONUS="7", PASSWORD_PEPPER=PEPPER).returncode == 0
        created = as_admin(
            database, "user", "create", "bonus@example.com", PASSWORD_PEPPER=PEPPER, MANA_USER_PASSWORD=PASSWORD
        )
        assert created.returncode == 0, created.stderr
        assert database.query("select free_credits_remaining from credits.balances") == [(7,)]


def test_a_rollback_asks_first(cluster: Cluster) -> None:
    with cluster.database() as database:
        done = as_admin(database, "migrate", "rollback")
        assert done.returncode == 1
        assert "Aborted" in done.stderr
        assert set(migrations(database).values()) == {"applied"}


# ---------------------------------------------------------------- users


@pytest.fixture(scope="module")
async def client(gateway: Gateway) -> AsyncIterator[Service]:
    async with Service(gateway.url) as service:
        yield service


def create(database: Database, email: str, password: str = PASSWORD, *options: str) -> Done:
    environment = {"PASSWORD_PEPPER": PEPPER, "MANA_USER_PASSWORD": password}
    return as_admin(database, "user", "create", email, *options, **environment)


async def test_a_created_user_can_log_in_and_has_credits(database: Database, client: Service) -> None:
    done = create(database, "Created@Example.com", PASSWORD, "--name", "Ada")
    assert (done.returncode, done.stderr) == (0, "")
    session = await client.session("created@example.com")
    assert session.user_id == done.stdout.strip()
    assert (await session.balance())["freeCreditsRemaining"] == 150
    database.assert_ledger_is_sound()


@pytest.mark.parametrize(
    ("email", "password", "error"),
    [
        ("no address", PASSWORD, "must be an e-mail address"),
        ("short@example.com", "1234567", "password: expected str of length >= 8"),
        ("long@example.com", "x" * 129, "password: must have 8 to 128 characters"),
        ("weak@example.com", "password", "password: is too easy to guess: This is a top-10 common password."),
        ("ada.lovelace@example.com", "ada.lovelace", "password: is too easy to guess: It is made of your e-mail"),
    ],
)
def test_a_user_that_may_not_register_cannot_be_created(
    database: Database, email: str, password: str, error: str
) -> None:
    assert_failed(create(database, email, password), error)
    assert database.query("select from auth.users where email = %s", email) == []


@pytest.mark.parametrize("name", ["", " \t"])
def test_a_name_that_is_empty_or_blank_is_none_as_it_is_at_a_registration(database: Database, name: str) -> None:
    email = f"blank{len(name)}@example.com"
    assert create(database, email, PASSWORD, "--name", name).returncode == 0
    assert database.query("select name from auth.users where email = %s", email) == [(None,)]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("x" * 256, "name: expected str of length <= 255"),
        ("\u200b", "name: must have a visible character"),
        (os.fsdecode(b"Ada \xff"), "name: has a character that is not allowed"),
    ],
)
def test_a_name_that_may_not_register_is_refused(database: Database, name: str, error: str) -> None:
    assert_failed(create(database, "name@example.com", PASSWORD, "--name", name), error)


def test_an_argument_that_is_no_text_is_one_clear_line(database: Database) -> None:
    for command in (("user", "disable"), ("backend", "bind")):
        assert_failed(as_admin(database, *command, os.fsdecode(b"\xff")), "an argument is not text in UTF-8")


def test_a_user_is_created_once(database: Database) -> None:
    assert create(database, "twice@example.com").returncode == 0
    assert_failed(create(database, "TWICE@example.com"), r"error: This e-mail address is already registered\.")


def test_a_user_is_not_created_with_another_pepper_than_the_gateways(database: Database, tmp_path: Path) -> None:
    environment = {"MANA_USER_PASSWORD": PASSWORD, "DATA_DIR": str(tmp_path)}
    done = as_admin(database, "user", "create", "pepper@example.com", **environment)
    assert_failed(done, "error: PASSWORD_PEPPER is not set", "set it to the value that the gateway has")


async def test_a_new_admin_is_one_from_the_next_refresh_on(database: Database, client: Service) -> None:
    session = await client.new_session()
    assert as_admin(database, "user", "make-admin", session.email).returncode == 0
    assert_problem(await session.get("/api/v1/credits/balance"), 401, "role_changed")
    refreshed = await client.refresh(session.refresh_token)
    assert refreshed.body["user"]["role"] == "admin"
    reply = await client.get("/api/v1/credits/balance", token=refreshed.body["accessToken"])
    assert reply.status == 200


async def test_a_disabled_user_is_out_at_once_and_back_when_enabled(database: Database, client: Service) -> None:
    session = await client.new_session()
    other = await client.new_session()
    assert as_admin(database, "user", "disable", session.email.upper()).returncode == 0
    assert (await session.get("/api/v1/credits/balance")).status == 401
    assert_problem(await client.refresh(session.refresh_token), 401, "invalid_refresh_token")
    assert_problem(await client.login(session.email), 401, "account_disabled")
    assert (await other.get("/api/v1/credits/balance")).status == 200

    assert as_admin(database, "user", "enable", session.email).returncode == 0
    assert (await session.get("/api/v1/credits/balance")).status == 401, "the old sessions have ended"
    again = await client.session(session.email)
    assert (await again.balance())["freeCreditsRemaining"] == 150


# ---------------------------------------------------------------- backends


@pytest.fixture(scope="module")
def backend(database: Database) -> Iterator[str]:
    with backend_login(database, apps=()) as url:
        yield urlsplit(url).username or ""


def test_a_backend_is_bound_to_its_apps_and_listed_with_them(database: Database, backend: str) -> None:
    for apps, shown in (
        (["chat", "draw.app", "chat"], "chat, draw.app"),
        (["chat"], "chat"),
        (["chat"], "chat"),
        (["*"], "*"),
        ([], "no app"),
    ):
        done = as_admin(database, "backend", "bind", backend, *apps)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", f"- {backend} works for {shown}\n")
        listed = as_admin(database, "backend", "list")
        assert (listed.returncode, listed.stderr) == (0, "")
        assert f"{backend}  {' '.join(dict.fromkeys(apps)) or '-'}" in listed.stdout.splitlines()


@pytest.mark.parametrize("role", ["nobody", "postgres", "mana_gateway", "mana_backend", ""])
def test_another_role_than_a_backends_login_is_not_bound(database: Database, role: str) -> None:
    done = as_admin(database, "backend", "bind", role, "chat")
    assert_failed(done, "error: role: must be a login role and a member of mana_backend.")


@pytest.mark.parametrize("app", ["my chat", "", "-", "chät", "chat/2", "**", "x" * 101])
def test_a_backend_is_not_bound_to_what_is_no_app(database: Database, backend: str, app: str) -> None:
    done = as_admin(database, "backend", "bind", backend, "chat", app)
    assert_failed(done, "error: app_ids: each must be")
    assert f"{backend}  -" in as_admin(database, "backend", "list").stdout.splitlines()


# ---------------------------------------------------------------- credits


def adjust(database: Database, email: str, amount: str, *options: str) -> Done:
    return as_admin(database, "credits", "adjust", email, amount, "--reason", "goodwill", *options)


async def test_packages_are_managed(database: Database, client: Service) -> None:
    user = await client.new_session()

    async def on_sale() -> dict[str, tuple[int, int, Any]]:
        found = (await user.get("/api/v1/credits/packages")).body
        return {p["name"]: (p["credits"], p["priceEuroCents"], p["metadata"]) for p in found}

    before = await on_sale()
    added = as_admin(database, "package", "add", "Team", "2000", "1500", "--metadata", '{"seats": 5}')
    assert (added.returncode, added.stderr) == (0, "")
    assert await on_sale() == {**before, "Team": (2000, 1500, {"seats": 5})}
    assert as_admin(database, "package", "price", "Team", "1400").stderr == "- Team costs 1400 cents\n"
    assert as_admin(database, "package", "retire", "Team").returncode == 0
    assert await on_sale() == before
    assert re.search("^Team +2000 +1400  retired +-$", as_admin(database, "package", "list").stdout, re.MULTILINE)
    assert as_admin(database, "package", "restore", "Team").returncode == 0
    assert (await on_sale())["Team"] == (2000, 1400, {"seats": 5})
    assert_failed(as_admin(database, "package", "price", "Nothing", "1"), "error: There is no such package.")
    assert_failed(as_admin(database, "package", "add", "Team", "1", "1"), "error: name: there is a package")


async def test_an_administrator_adjusts_a_balance(database: Database, client: Service) -> None:
    user = await client.new_session()
    given = adjust(database, user.email, "100", "--actor", "grace", "--note", "For the trouble", "--key", "k-1")
    assert (given.returncode, given.stderr) == (
        0,
        f"- +100 for {user.email}, who had 150 free and 100 paid credits then\n",
    )
    again = adjust(database, user.email, "100", "--actor", "alan", "--note", "For the trouble", "--key", "k-1")
    assert (again.stdout, again.returncode) == (given.stdout, 0)
    assert again.stderr.startswith("- was done before: +100 for ")
    taken = adjust(database, user.email, "-30", "--free")
    assert taken.stderr.startswith("- -30 for ")
    assert [(await user.balance())[part] for part in ("freeCreditsRemaining", "balance")] == [120, 100]
    assert database.query("select actor, note from credits.causes where transaction_id = %s", given.stdout.strip()) == [
        ("grace", "For the trouble")
    ]
    [(actor,)] = database.query("select actor from credits.causes where transaction_id = %s", taken.stdout.strip())
    assert actor == getpass.getuser()
    database.assert_ledger_is_sound()


@pytest.mark.parametrize(
    ("amount", "options", "error"),
    [
        ("-101", (), "Insufficient credits: 101 required, 0 available."),
        ("10001", (), "A second administrator has to approve more than 10000 credits."),
        ("10001", ("--actor", "grace", "--approved-by", "grace"), "approved_by: must be another administrator."),
        ("0", (), "amount: must be a whole number"),
        ("1", ("--reason", "whim"), "reason: must be one of goodwill, correction, "),
    ],
)
async def test_an_adjustment_that_may_not_be_changes_nothing(
    database: Database, client: Service, amount: str, options: tuple[str, ...], error: str
) -> None:
    user = await client.new_session()
    assert_failed(adjust(database, user.email, amount, *options), error)
    assert (await user.balance())["version"] == 1


async def test_much_is_adjusted_when_a_second_one_approves(database: Database, client: Service) -> None:
    user = await client.new_session()
    assert adjust(database, user.email, "10001", "--actor", "grace", "--approved-by", "alan").returncode == 0
    assert (await user.balance())["balance"] == 10001


async def test_an_administrator_reverses_a_spend_of_a_disabled_user(database: Database, client: Service) -> None:
    user = await client.new_session()
    spent = (await user.use(20)).body["transaction"]["id"]
    as_admin(database, "user", "disable", user.email)
    for options, done in ((("--amount", "5"), "+5"), ((), "+15")):
        given = as_admin(database, "credits", "reverse", user.email, spent, "--reason", "failed", *options)
        assert given.stderr.startswith(f"- {done} for {user.email}"), given.stderr
    given = as_admin(database, "credits", "reverse", user.email, spent, "--reason", "failed")
    assert_failed(given, "error: Of this spend 0 credits are left to give back.")
    given = as_admin(database, "credits", "reverse", user.email, str(uuid4()), "--reason", "failed")
    assert_failed(given, "error: There is nothing here.")
    database.assert_ledger_is_sound()


def test_credits_of_an_unknown_user_are_one_clear_line(database: Database) -> None:
    assert_failed(adjust(database, "nobody@example.com", "1"), r"error: There is no user with this e-mail address\.")


# ---------------------------------------------------------------- ledger


async def test_a_sound_ledger_is_exit_code_0(database: Database, client: Service) -> None:
    await (await client.new_session()).use()
    done = as_admin(database, "ledger", "verify")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "- the ledger is sound\n")


async def test_a_broken_balance_is_exit_code_3_and_a_line_that_names_the_user(
    database: Database, client: Service
) -> None:
    session = await client.new_session()
    change = "update credits.balances set free_credits_remaining = free_credits_remaining + %s where user_id = %s"
    database.query(change, 1, session.user_id)
    try:
        done = as_admin(database, "ledger", "verify")
        assert done.returncode == 3
        lines = done.stdout.splitlines()
        assert lines
        assert all(session.user_id in line for line in lines)
        assert "sound" not in done.stderr
    finally:
        database.query(change, -1, session.user_id)


async def test_what_is_gone_from_every_table_is_below_the_marks(
    database: Database, client: Service, tmp_path: Path
) -> None:
    session = await client.new_session()
    await session.use()
    verify = partial(as_admin, database, "ledger", "verify", DATA_DIR=str(tmp_path))
    accept = partial(as_admin, database, "ledger", "verify", "--accept", DATA_DIR=str(tmp_path))
    assert verify().returncode == 0, "without marks there is nothing to compare with"
    assert accept().returncode == 0
    (marks,) = (tmp_path / "ledger").iterdir()
    assert marks.stat().st_mode & 0o777 == 0o600
    database.query(
        "set session_replication_role = replica;"
        + "".join(
            f"delete from {table} where user_id = '{session.user_id}';"
            for table in (
                "credits.ledger_entries", "credits.transactions", "credits.balances", "auth.sessions",
                "auth.refresh_tokens", "auth.passwords", "auth.security_events",
            )
        )
        + f"delete from auth.users where id = '{session.user_id}'"
    )  # fmt: skip
    database.assert_ledger_is_sound()
    done = verify()
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    assert [re.sub(r"[0-9a-f-]{36}|\d+", "N", line) for line in lines] == [
        *(f"below_the_marks  {name} fell to N, there were N" for name in COUNTED),
        "below_the_marks  movement N of user N is gone",
    ]
    assert session.user_id in lines[-1]
    assert verify().returncode == 3, "the marks stay"
    other = await client.new_session()
    await other.use(2)
    assert verify().stdout.splitlines() == [lines[-1]], "new movements do not cover what is gone"
    assert accept().returncode == 0
    assert verify().returncode == 0


def test_marks_that_cannot_be_read_are_one_clear_line(database: Database, tmp_path: Path) -> None:
    environment = {"DATA_DIR": str(tmp_path)}
    assert as_admin(database, "ledger", "verify", "--accept", **environment).returncode == 0
    (marks,) = (tmp_path / "ledger").iterdir()
    marks.write_text('{"users": 1}')
    done = as_admin(database, "ledger", "verify", **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {marks} does not contain the marks of a ledger\nhint: ")


# ---------------------------------------------------------------- routes, settings, psql, dsn


def test_routes_are_a_table_with_one_line_each() -> None:
    done = mana("routes")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split(maxsplit=5) for line in done.stdout.splitlines()]
    assert [tuple(row[:5]) for row in rows] == [
        (route.method, route.path, f"api.{route.function}", route.access.value, route.limit.value) for route in ROUTES
    ]


def test_routes_show_their_steps_besides_the_call() -> None:
    lines = {line.split()[2]: line for line in mana("routes").stdout.splitlines()}
    assert lines["api.log_in"].endswith("password      digest_password, set_refresh_ttl, sign_access_token")
    assert lines["api.use_credits"].endswith("count_spent")
    assert lines["api.list_packages"].endswith("general")


def test_settings_show_what_is_set_and_hide_secrets() -> None:
    environment = {
        "PASSWORD_PEPPER": "secret-pepper-of-this-test-0123456789",
        "DATABASE_URL": "postgresql://mana_gateway:secret-password@127.0.0.1/mana",
        "DATABASE_ADMIN_URL": "postgresql://postgres:secret-admin@127.0.0.1/mana",
        "REDIS_PASSWORD": "secret-redis",
        "JWT_PRIVATE_KEY": "-----BEGIN secret-key",
        "PORT": "4711",
    }
    done = mana("settings", environment=environment)
    assert done.returncode == 0
    assert "secret" not in re.sub("(?i)secret of|a secret", "", done.stdout)
    shown = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if line}
    assert shown["PORT"] == "4711"
    assert {shown[name] for name in environment if name != "PORT"} == {"(set)"}


def test_settings_say_which_file_holds_one(tmp_path: Path) -> None:
    done = mana("settings", environment={"PASSWORD_PEPPER_FILE": str(tmp_path)})
    assert f"({tmp_path})" in done.stdout


def test_settings_list_every_variable_and_what_is_wrong() -> None:
    done = mana("settings", environment={"PORT": "a"})
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines() if line]
    assert names == [variable.name for variable in VARIABLES]
    assert "`mana serve` would not start:" in done.stderr
    for line in ("PORT must be", "DATABASE_URL is not set", "PASSWORD_PEPPER is not set"):
        assert line in done.stderr


def test_the_example_lists_exactly_the_variables_that_are_read() -> None:
    listed = re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", EXAMPLE.read_text(), re.MULTILINE)
    known = {variable.name for variable in VARIABLES}
    files = [ROOT / "docker-compose.yml", *(ROOT / "deploy" / "overlays").glob("*.yml")]
    stack = [name for file in files for name in re.findall(r"(?<!\$)\$\{([A-Z][A-Z0-9_]+)", file.read_text())]
    of_images = {name for name in stack if name.endswith(("_IMAGE", "_BASE")) or name == "PGBOUNCER_VERSION"}
    assert sorted(listed) == sorted(known | set(stack) - of_images)
    assert set(STACK_SECRETS) <= set(stack)


def test_the_example_is_itself_a_file_of_good_settings_but_for_what_must_be_set() -> None:
    lines = re.findall(r"^([A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    done = mana("serve", environment=dict(lines))
    assert done.returncode == 1
    errors = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("error:")]
    assert errors == [variable.name for variable in variables(Settings) if variable.default is None]


def test_a_setting_can_be_in_a_file(database: Database, tmp_path: Path) -> None:
    def in_file(name: str, content: str) -> dict[str, str]:
        (tmp_path / name).write_text(content)
        return {f"{name}_FILE": str(tmp_path / name)}

    url = urlsplit(database.gateway_url)
    host = url.netloc.rpartition("@")[2]
    environment = {
        "DATABASE_URL": urlunsplit(url._replace(netloc=f"mana_gateway@{host}")),
        **in_file("DATABASE_PASSWORD", unquote(url.password or "") + "\n"),
        **in_file("PASSWORD_PEPPER", PEPPER),
    }
    done = mana("serve", environment=environment)
    assert_failed(done, "DATABASE_PASSWORD is too weak", "see .env.example, or let `mana run` set up a private service")
    done = mana("serve", environment={**environment, "PASSWORD_PEPPER": PEPPER})
    assert "PASSWORD_PEPPER is set, and so is PASSWORD_PEPPER_FILE" in done.stderr
    done = mana("serve", environment={**environment, "PASSWORD_PEPPER_FILE": str(tmp_path / "none")})
    assert "PASSWORD_PEPPER cannot be read from the file of PASSWORD_PEPPER_FILE: No such file" in done.stderr


def test_the_administrators_url_and_password_can_be_in_files(database: Database, tmp_path: Path) -> None:
    url = urlsplit(database.admin_url)
    (tmp_path / "url").write_text(urlunsplit(url._replace(netloc=f"postgres@{url.netloc.rpartition('@')[2]}")))
    (tmp_path / "password").write_text(f"{unquote(url.password or '')}\n")
    environment = {
        "DATABASE_ADMIN_URL_FILE": str(tmp_path / "url"), "DATABASE_ADMIN_PASSWORD_FILE": str(tmp_path / "password"),
    }  # fmt: skip
    done = mana("ledger", "verify", environment=environment)
    assert done.returncode == 0, done.stderr


def test_an_environment_for_the_stack_has_every_secret_drawn(tmp_path: Path) -> None:
    assert mana("keys", "generate", "--env", cwd=tmp_path).returncode == 0
    written = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", (tmp_path / ".env").read_text(), re.MULTILINE))
    secrets = [written[name] for name in STACK_SECRETS]
    assert len(set(secrets)) == len(STACK_SECRETS)
    assert all(re.fullmatch(r"[\w-]{43}", secret) for secret in secrets)
    assert {name for name, value in written.items() if value} == set(STACK_SECRETS)
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600

    before = (tmp_path / ".env").read_text()
    done = mana("keys", "generate", "--env", cwd=tmp_path)
    assert_failed(done, r"\.env exists already", "move it away; its secrets are in use")
    assert (tmp_path / ".env").read_text() == before


def test_its_secrets_can_be_files(tmp_path: Path) -> None:
    done = mana("keys", "generate", "--env", "--secrets", "secrets", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not re.findall(r"^([A-Z0-9_]+)=.+$", (tmp_path / ".env").read_text(), re.MULTILINE)
    files = {path.name.upper(): path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert sorted(files) == sorted(STACK_SECRETS)
    assert len(set(files.values())) == len(files)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", [name.lower() for name in STACK_SECRETS])
def test_no_secret_in_a_file_is_ever_replaced(tmp_path: Path, name: str) -> None:
    """With .env moved away, say: the pepper and the passphrase of the backups are in use all the same."""
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / name).write_text("in use")
    done = mana("keys", "generate", "--env", "--secrets", "secrets", cwd=tmp_path)
    assert_failed(done, rf"secrets/{name} exists already", "move it away; the secret is in use")
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == [name]
    assert (tmp_path / "secrets" / name).read_text() == "in use"
    assert not (tmp_path / ".env").exists()


def test_an_empty_directory_of_secrets_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets").chmod(0o755)
    assert mana("keys", "generate", "--env", "--secrets", "secrets", cwd=tmp_path).returncode == 0
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711, 0o707])
def test_a_directory_that_others_use_gets_no_secrets(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "secrets"
    directory.mkdir()
    (directory / "of others").write_text("")
    directory.chmod(mode)
    done = mana("keys", "generate", "--env", "--secrets", "secrets", cwd=tmp_path)
    assert_failed(
        done, rf"other accounts can enter secrets \(mode {mode:o}\)", "chmod 700 secrets, or name another one"
    )
    assert [path.name for path in directory.iterdir()] == ["of others"]
    assert directory.stat().st_mode & 0o777 == mode
    assert not (tmp_path / ".env").exists()


@pytest.mark.parametrize("before", [None, "PASSWORD_PEPPER=in use\n"], ids=["there was none", "there was one"])
def test_an_env_that_the_shell_has_emptied_is_named_and_not_filled(tmp_path: Path, before: str | None) -> None:
    """`mana keys generate --env > .env`: the shell opens the file before the command starts."""
    if before is not None:
        (tmp_path / ".env").write_text(before)
    with (tmp_path / ".env").open("w") as output, (tmp_path / "errors").open("w") as errors:
        process = programs.start(["keys", "generate", "--env"], {"PATH": os.environ["PATH"]}, output, errors, tmp_path)
        assert process.wait(30) == 1
    error, hint = (tmp_path / "errors").read_text().splitlines()
    assert error == "error: standard output is .env itself, which the shell has emptied; no secret was drawn"
    assert hint.startswith("hint:  restore .env from its copy")
    assert (tmp_path / ".env").read_text() == ""


def test_two_at_once_draw_one_set_of_secrets(tmp_path: Path) -> None:
    for _ in range(5):
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: mana("keys", "generate", "--env", cwd=tmp_path), range(4)))
        assert sorted(each.returncode for each in done) == [0, 1, 1, 1]
        assert [path.name for path in tmp_path.iterdir()] == [".env"]
        (tmp_path / ".env").unlink()


def test_psql_runs_as_administrator_and_keeps_the_password_out_of_the_command_line(database: Database) -> None:
    statement = "select current_user, current_database(), to_regclass('credits.balances')"
    done = as_admin(database, "psql", "--tuples-only", "--no-align", "-c", statement)
    assert (done.returncode, done.stdout) == (0, f"postgres|{database.name}|credits.balances\n"), done.stderr
    shown = as_admin(database, "psql", "-c", r"\! tr '\0' ' ' < /proc/$PPID/cmdline")
    password = database.admin_url.split(":")[2].partition("@")[0]
    assert "psql" in shown.stdout
    assert password not in shown.stdout


def test_psql_passes_on_the_exit_code(database: Database) -> None:
    assert as_admin(database, "psql", "-v", "ON_ERROR_STOP=1", "-c", "select 1/0").returncode != 0


def test_dsn_prints_the_administrators_url_and_nothing_else(database: Database) -> None:
    done = as_admin(database, "dsn")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{database.admin_url}\n", "")
    done = mana("dsn", environment={"DATABASE_URL": "postgresql://a/b"})
    assert done.stdout == "postgresql://a/b\n"
