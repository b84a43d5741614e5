"""Deploys under load: while clients of the release before and of the new one call everything, nothing fails.

The release before is what it shipped: its wheel in ``tests/releases``, with its own gateway and its own SQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.api.route import Access
from gateway.api.table import ROUTES
from gateway.operate import migrate
from harness.clients import PASSWORD, Service, Session
from harness.databases import Cluster, Database
from harness.doors import backend_login
from harness.gateways import Gateway
from harness.places import ROOT

ROUTE = {
    route.function: route
    for route in ROUTES
    if not route.outside and not route.in_path and route.access is not Access.SIGNED
}  # what needs no payment provider
CLIENTS = 3
[FORMER] = (ROOT / "tests" / "releases").glob("*.whl")
MANY = 1_000_000  # credits

# Users with a session, who have had the signup bonus.
ROWS = """
create temp view many as
select lpad(to_hex(n), 32, '0')::uuid as id, n || '@example.com' as email, sha256(n::text::bytea) as bytes,
       -- of this moment, as base.uuid_v7 makes it
       (lpad(to_hex(now_us / 1000), 12, '0') || '7' || lpad(to_hex(now_us % 1000 * 4096 / 1000), 3, '0')
        || '8' || lpad(to_hex(n), 15, '0'))::uuid as transaction_id
  from generate_series(1, 20000) as n
 cross join cast(extract(epoch from now()) * 1000000 as bigint) as now_us;

insert into auth.users (id, email, created_at, updated_at) select id, email, now(), now() from many;
insert into auth.sessions (user_id, id, refresh_secret, created_at, last_activity_at, expires_at)
select id, id, bytes, now(), now(), now() + interval '7 days' from many;
insert into auth.refresh_tokens (user_id, hash, session_id, issued_at, expires_at)
select id, bytes, id, now(), now() + interval '7 days' from many;

insert into credits.balances (user_id, free_credits_remaining, total_earned, version,
                              last_daily_reset_at, created_at, updated_at)
select id, 150, 150, 1, now(), now(), now() from many;
insert into credits.transactions (user_id, id, type, amount, balance_before, balance_after, free_after,
                                  total_spent_after, version, grant_window, description, created_at, completed_at)
select id, transaction_id, 'bonus', 150, 0, 150, 150, 0, 1, 0, 'Signup bonus', now(), now() from many;
insert into credits.ledger_entries (user_id, transaction_id, entry_no, debit_account, credit_account, amount)
select id, transaction_id, 1, 'signup_grants', 'free', 150 from many;
"""


def quietly(_: str) -> None:
    pass


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of sql/ with bcrypt that takes no time: the load is to wait for locks, not for that."""
    copy = Path(shutil.copytree(migrate.SQL, tmp_path / "sql"))
    cost = copy / "functions" / "_auth" / "passwords" / "password_cost.sql"
    cost.write_text(cost.read_text().replace("select 12", "select 4"))
    return copy


@dataclass(frozen=True)
class Release:
    """A release as it was shipped, unpacked; ``environment`` lets `python -m gateway` be its own."""

    environment: dict[str, str]

    def deploy(self, database: Database) -> None:
        deployed = subprocess.run(
            [sys.executable, "-m", "gateway", "migrate", "apply"],
            env={**self.environment, "PATH": os.environ["PATH"], "DATABASE_ADMIN_URL": database.admin_url},
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert deployed.returncode == 0, deployed.stderr
        database.query(
            "create or replace function auth.password_cost() returns int language sql immutable as 'select 4'"
        )

    def give_credits(self, database: Database, user_id: str) -> None:
        """As harnesses did when it was new."""
        with database.connect() as connection, connection.transaction():
            claims = json.dumps({"sub": user_id})
            connection.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
            connection.execute("set local role mana_ledger")
            connection.execute("select credits.post_movement('adjustment', 'adjustments', 0, %s, 'a gift')", (MANY,))


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Release:
    directory = tmp_path_factory.mktemp("former")
    with zipfile.ZipFile(FORMER) as wheel:
        wheel.extractall(directory)
    return Release({"PYTHONPATH": str(directory), "PYTHONSAFEPATH": "1"})


class Load:
    """Clients that call until they are stopped, and what they saw."""

    def __init__(self, database: Database) -> None:
        self.failed: list[str] = []
        self.longest: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self.rounds: Counter[int] = Counter()
        self.held_up: list[float] = []  # seconds
        self._database = database
        self._stopped = threading.Event()
        self._clients: list[asyncio.Future[None]] = []
        self._threads = ThreadPoolExecutor(16)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        watcher = self._in_thread(self._watch_locks)
        try:
            yield
        finally:
            self._stopped.set()
            await asyncio.gather(watcher, *self._clients)
            self._threads.shutdown()

    def _in_thread(self, work: Callable[[], None]) -> asyncio.Future[None]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def more_rounds(self, count: int = 1) -> None:
        """Wait until each client has come to the end of its calls so many times more."""
        goal = {client: self.rounds[client] + count for client in range(len(self._clients))}
        while any(self.rounds[client] < rounds for client, rounds in goal.items()):
            assert not any(client.done() for client in self._clients), self.failed
            await asyncio.sleep(0.01)

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.calls[name] += 1
        self.longest[name] = max(self.longest[name], time.monotonic() - begin)

    def _watch_locks(self) -> None:
        """Note how long clients have been waiting for the deploy, by the name of its connections.

        What clients wait for each other is their own doing.
        """
        with self._database.connect() as connection:
            while not self._stopped.wait(0.02):
                rows = connection.execute(
                    """select coalesce(extract(epoch from clock_timestamp() - min(w.waitstart)), 0)::float8
                         from pg_locks as w
                        where not w.granted
                          and pg_blocking_pids(w.pid) && array(
                                  select d.pid from pg_stat_activity as d
                                   where d.application_name = %s and d.datname = current_database()
                              )""",
                    (migrate.AT_WORK,),
                ).fetchall()
                self.held_up.append(rows[0][0])

    def add_app(self, service: Service) -> None:
        """A client of the gateway that calls every route."""
        self._clients.append(asyncio.create_task(self._app(len(self._clients), service)))

    async def _app(self, number: int, service: Service) -> None:
        async def call(function: str, body: object = None) -> Any:
            route = ROUTE[function]
            token = (
                None if function in {"register_user", "log_in", "refresh_session", "validate"} else user.access_token
            )
            with self._timed(function):
                reply = await service.request(route.method, route.path, token=token, body=body)
            if reply.status != route.status:
                self.failed.append(f"{function}: {reply.text}")
            return reply.body

        user = Session(service, "", "", "", "")
        while not self._stopped.is_set():
            login = {"email": f"{secrets.token_hex(8)}@example.com", "password": PASSWORD}
            await call("register_user", login)
            tokens = await call("log_in", login)
            user.access_token = tokens.get("accessToken", "")
            for _ in range(3):
                await call("use_credits", {"amount": 1, "appId": "tests", "description": "a test"})
                for function in ("get_balance", "list_transactions", "list_purchases", "list_packages"):
                    await call(function)
            await call("validate", {"token": user.access_token})
            tokens = await call("refresh_session", {"refreshToken": tokens.get("refreshToken", "")})
            user.access_token = tokens.get("accessToken", "")
            await call("log_out", {})
            self.rounds[number] += 1

    def add_sql(self, url: str, name: str, work: Callable[[psycopg.Connection[Any]], None]) -> None:
        """A client that does this over and over, each time in a transaction."""
        number = len(self._clients)

        def loop() -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                while not self._stopped.is_set():
                    with self._timed(name):
                        try:
                            with connection.transaction():
                                work(connection)
                        except psycopg.Error as error:
                            self.failed.append(f"{name}: {error.sqlstate} {error}")
                    self.rounds[number] += 1

        self._clients.append(self._in_thread(loop))

    def assert_nobody_noticed(self) -> None:
        report = {name: f"{self.calls[name]}, {seconds:.3f} s" for name, seconds in sorted(self.longest.items())}
        print("calls and the longest of each:", report, f"held up by the deploy: {max(self.held_up):.3f} s")
        assert self.failed == []
        assert max(self.held_up) < 1


def spend_of(user_id: str, held_for: float = 0) -> Callable[[psycopg.Connection[Any]], None]:
    """A backend that spends, does something else, and comes back to the user's tables before it commits."""

    def work(connection: psycopg.Connection[Any]) -> None:
        connection.execute("select auth.act_as(%s)", (user_id,))
        connection.execute("select credits.use_credits(1, 'tests', 'a test')")
        if held_for:
            connection.execute("select pg_sleep(%s)", (held_for,))
            connection.execute("select auth.act_as(%s)", (user_id,))
        connection.execute("select credits.list_transactions(), credits.get_balance()")

    return work


@contextlib.asynccontextmanager
async def apps(load: Load, gateway: Gateway) -> AsyncIterator[None]:
    async with Service(gateway.url) as service:
        for _ in range(CLIENTS):
            load.add_app(service)
        async with load.running():
            await load.more_rounds()
            yield


def fill(database: Database) -> None:
    """Put in as many rows as take a statement some time that reads or writes all of a table."""
    with database.connect() as connection, connection.transaction():
        connection.execute("set local session_replication_role = replica")  # the foreign keys are true without a look
        connection.execute(ROWS)


def new_user(database: Database, give: Callable[[str], None]) -> str:
    """A user with enough credits for a while, made by an administrator."""
    [(user_id,)] = database.query(
        "select id from auth.register_user(%s, 'digest', null)", f"{secrets.token_hex(8)}@example.com"
    )
    give(str(user_id))
    return str(user_id)


async def assert_serves(database: Database) -> None:
    """A gateway of the new release, beside the one of the release before."""
    gateway = Gateway(database.gateway_url)
    await asyncio.to_thread(gateway.__enter__)  # the loop is the load's
    try:
        load = Load(database)
        async with apps(load, gateway):
            pass
        load.assert_nobody_noticed()
        assert set(load.calls) == set(ROUTE)
    finally:
        await asyncio.to_thread(gateway.__exit__)


@pytest.mark.soak  # the second deploy of an upgrade does nearly as much
async def test_a_deploy_fails_no_request(cluster: Cluster, directory: Path) -> None:
    """All functions are written again; then with a policy that is another; then with all as they were."""
    policy = directory / "policies" / "auth" / "sessions.sql"
    text = policy.read_text()
    with cluster.database() as database, backend_login(database) as url, Gateway(database.gateway_url) as gateway:
        rich = partial(new_user, database, partial(database.give_credits, paid=MANY))
        load = Load(database)
        load.add_sql(url, "a backend", spend_of(rich()))
        load.add_sql(url, "a slow backend", spend_of(rich(), held_for=0.2))
        async with apps(load, gateway):
            for written in (text, text.replace("the auth functions see", "the functions of auth see"), text):
                policy.write_text(written)
                await asyncio.to_thread(migrate.apply, database.admin_url, quietly, directory)
                await load.more_rounds()
            await assert_serves(database)
        assert set(load.calls) == {*ROUTE, "a backend", "a slow backend"}
        load.assert_nobody_noticed()
        database.assert_ledger_is_sound()


async def test_an_upgrade_fails_no_request(cluster: Cluster, directory: Path, former: Release) -> None:
    """The first deploy has gateways of both releases beside each other, the second one only the new."""
    with cluster.database(migrated=False) as database, contextlib.ExitStack() as stack:
        former.deploy(database)
        fill(database)
        user_ids = [new_user(database, partial(former.give_credits, database)) for _ in range(2)]
        url = stack.enter_context(backend_login(database, apps=()))
        load = Load(database)
        for user_id, held_for in zip(user_ids, (0, 0.2), strict=True):
            load.add_sql(url, f"a backend that waits {held_for} s", spend_of(user_id, held_for))
        with Gateway(database.gateway_url, former.environment) as gateway:
            async with apps(load, gateway):
                await asyncio.to_thread(migrate.apply, database.admin_url, quietly, directory)
                await load.more_rounds()
                await assert_serves(database)
                await load.more_rounds()
        load.assert_nobody_noticed()
        assert set(load.calls) > set(ROUTE)

        load = Load(database)
        load.add_sql(url, "a backend", spend_of(user_ids[0]))
        with Gateway(database.gateway_url) as gateway:
            async with apps(load, gateway):
                await asyncio.to_thread(migrate.apply, database.admin_url, quietly, directory)
                await load.more_rounds()
        load.assert_nobody_noticed()
        assert set(load.calls) == {*ROUTE, "a backend"}
        database.assert_ledger_is_sound()


def test_an_upgrade_ends_where_a_fresh_install_does(cluster: Cluster, former: Release) -> None:
    with cluster.database(migrated=False) as upgraded, cluster.database(migrated=False) as fresh:
        former.deploy(upgraded)
        for database in (upgraded, upgraded, fresh):
            migrate.apply(database.admin_url, quietly)
        dumps = [
            cluster.dump(database.name, "--schema-only").replace(database.name, "mana")
            for database in (upgraded, fresh)
        ]
        old, new = (re.sub(r"^\\(un)?restrict .*\n", "", dump, flags=re.MULTILINE) for dump in dumps)
        assert old == new
