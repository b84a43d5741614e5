"""The stack without Docker: proxy, pooler, Redis and Prometheus as processes, with the files of deploy/.

What is different is where things are: addresses, ports and directories. `make stack-test` starts the
containers themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import ssl
import subprocess
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psycopg
import pytest
import redis as redis_client
import trustme
import yaml

from gateway.http.paths import forms
from gateway.problems import Problem
from harness.clients import PASSWORD, Reply, Service, assert_problem
from harness.databases import Cluster, start_server
from harness.gateways import Gateway
from harness.metrics import sample
from harness.places import ROOT, free_port, public_directory
from harness.programs import mana
from harness.proxies import DOMAIN, FILES, Traefik, stack_service
from harness.servers import PgBouncer, Redis, ServerProcess
from harness.waiting import together, until
from proof import crowd
from proof.bounds import MEGABYTE

DEPLOY = ROOT / "deploy"
BALANCE = "/api/v1/credits/balance"
SECRETS = {
    "DATABASE_PASSWORD": "of the role mana_gateway, in this test",
    "MONITOR_PASSWORD": "of the role mana_monitor, in this test",
    "REDIS_PASSWORD": "of the gateways at Redis, in this test",
}


class _Started(ServerProcess):
    """A service by its start script, next to the files that its container has beside it."""

    def __init__(self, service: str, program: str, **environment: str) -> None:
        super().__init__()
        for path in (DEPLOY / "secret.sh", *(DEPLOY / "services" / service).iterdir()):
            shutil.copy(path, self.directory)
        if service == "pgbouncer" and PgBouncer.version() < (1, 21):
            settings = self.directory / "pgbouncer.ini"
            settings.write_text(settings.read_text().replace("max_prepared_statements = 200\n", ""))
        (self.directory / "run").mkdir(mode=0o777)
        (self.directory / "run").chmod(0o777)
        self._environment = {
            "PATH": f"{os.environ['PATH']}:{Path(program).parent}",
            "PORT": str(self.port),
            "RUNTIME_DIRECTORY": str(self.directory / "run"),
            **SECRETS,
            **environment,
        }

    def command(self) -> list[str]:
        given = [f"{name}={value}" for name, value in self._environment.items()]
        return ["env", "--ignore-environment", *given, "sh", str(self.directory / "start.sh")]


class _Prometheus(ServerProcess):
    """Prometheus with its rules, asking the gateways and the proxy of this test. The other parts are not here."""

    def __init__(self, gateways: list[str], proxy: Traefik) -> None:
        super().__init__()
        shutil.copy(DEPLOY / "services/prometheus/alerts.yml", self.directory)
        configuration = (DEPLOY / "services/prometheus/prometheus.yml").read_text()
        for target, url in {
            "gateway-1:3001": gateways[0], "gateway-2:3001": gateways[1],
            "proxy:9100": f"http://127.0.0.1:{proxy.metrics}", "127.0.0.1:9090": f"http://127.0.0.1:{self.port}",
        }.items():  # fmt: skip
            assert f'"{target}"' in configuration
            configuration = configuration.replace(f'"{target}"', f'"{urlsplit(url).netloc}"')
        (self.directory / "prometheus.yml").write_text(configuration)

    def command(self) -> list[str]:
        program = shutil.which("prometheus")
        assert program, "prometheus is not installed: tests/tools.sh"
        return [
            program, f"--config.file={self.directory}/prometheus.yml", f"--storage.tsdb.path={self.directory}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]  # fmt: skip


@dataclass
class Stack:
    cluster: Cluster
    pooler: _Started
    redis: _Started
    gateways: list[Gateway]
    proxy: Traefik
    data_dir: Path

    def query(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.cluster.url("mana")) as connection:
            return connection.execute(statement.encode()).fetchall()

    def client(self, source: str = "127.0.0.1") -> contextlib.AbstractAsyncContextManager[Service]:
        """A client of the proxy with this address."""
        return self.proxy.client(source)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data_dir = tmp_path_factory.mktemp("keys")
    with contextlib.ExitStack() as running:
        cluster = running.enter_context(start_server())
        _prepare(cluster, data_dir)
        _hash_quickly(cluster)

        server = urlsplit(cluster.admin_url)
        pooler = running.enter_context(
            _Started(
                "pgbouncer",
                PgBouncer.program(),
                LISTEN="127.0.0.1",
                POSTGRES_HOST=server.hostname or "",
                POSTGRES_PORT=str(server.port),
            )
        )
        redis = running.enter_context(_Started("redis", Redis().command()[0]))
        environment = {
            "DATABASE_PASSWORD": SECRETS["DATABASE_PASSWORD"],
            "DATA_DIR": str(data_dir),
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis.port),
            "REDIS_PASSWORD": SECRETS["REDIS_PASSWORD"],
            "TRUSTED_PROXIES": "1",
            "DRAIN_SECONDS": "2",
            "RATE_LIMIT_MAX": "100000",
            "RATE_LIMIT_AUTH_MAX": "20",
        }
        url = f"postgresql://mana_gateway@127.0.0.1:{pooler.port}/mana"
        gateways = [
            running.enter_context(Gateway(url, {**environment, "PORT": str(free_port())})) for _ in ("one", "two")
        ]
        proxy = running.enter_context(Traefik([gateway.url for gateway in gateways]))
        yield Stack(cluster, pooler, redis, gateways, proxy, data_dir)
        with psycopg.connect(cluster.url("mana")) as connection:
            assert connection.execute("select * from credits.verify_ledger()").fetchall() == []


def _hash_quickly(cluster: Cluster) -> None:
    with psycopg.connect(cluster.url("mana"), autocommit=True) as connection:
        connection.execute("create or replace function _auth.password_cost() returns int language sql as 'select 4'")


def _prepare(cluster: Cluster, data_dir: Path, **environment: str) -> None:
    given = {"DATABASE_ADMIN_URL": cluster.url("mana"), "DATA_DIR": str(data_dir), **SECRETS, **environment}
    done = mana("prepare", environment=given)
    assert done.returncode == 0, done.stderr


async def test_an_account_through_the_whole_stack(stack: Stack) -> None:
    async with stack.client() as service:
        session = await service.new_session()
        assert (await session.use(10)).status == 200
        assert (await session.balance())["freeCreditsRemaining"] == 140
        assert (await service.get("/.well-known/jwks.json")).status == 200
        assert (await service.get("/openapi.json")).status == 200
        assert (await service.get("/docs")).status == 200


async def test_all_gateways_are_used_and_take_tokens_of_each_other(stack: Stack) -> None:
    async with stack.client() as service:
        session = await service.new_session()
        assert [(await session.get(BALANCE)).status for _ in range(10)] == [200] * 10
    for gateway in stack.gateways:
        async with Service(gateway.url) as own:
            text = (await own.get("/metrics")).text
            assert sample(text, "mana_http_requests_total", route="/api/v1/credits/balance", status="200") > 0


@pytest.mark.parametrize("path", ["/metrics", "/health", "/health/ready", "/health/serving", "/", "/api/v2/x"])
async def test_only_the_api_is_reachable_from_outside(stack: Stack, path: str) -> None:
    async with stack.client() as service:
        reply = await service.get(path)
    assert_problem(reply, 404, "not_found")
    assert_as_gateways_say(reply)


@pytest.mark.parametrize(
    "path", ["/.well-known/jwks.json", "/api/v1/auth/jwks", "/api/auth/jwks", "/openapi.json", "/docs"]
)
async def test_what_is_public_is_reachable_with_and_without_a_slash(stack: Stack, path: str) -> None:
    async with stack.client() as service:
        for form in forms(path):
            assert (await service.get(form)).status in {200, 308}, form


@pytest.mark.parametrize(
    "path", ["/api/v1/%2e%2e/%2e%2e/metrics", "/api/v1/..%2f..%2fmetrics", "/api/v1//../../metrics"]
)
async def test_no_spelling_of_a_path_leads_around_that(stack: Stack, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", stack.proxy.port, ssl=stack.proxy.trusted, server_hostname=DOMAIN
    )
    writer.write(request.encode())
    answer = await reader.read()
    writer.close()
    assert answer.split()[1] in {b"400", b"404"}, answer


async def test_http_leads_to_https_and_browsers_are_told_to_stay_there(stack: Stack) -> None:
    async with Service(f"http://127.0.0.1:{stack.proxy.http}") as plain:
        answer = await plain.get("/api/v1/credits/balance", headers={"Host": DOMAIN})
        assert answer.status in {301, 308}
        assert answer.headers["Location"] == f"https://{DOMAIN}/api/v1/credits/balance"
    async with stack.client() as service:
        answer = await service.get("/api/v1/credits/balance")
        assert "max-age=31536000" in answer.headers["Strict-Transport-Security"]


@pytest.mark.parametrize("forged", [
    {"X-Forwarded-For": "203.0.113.7"}, {"X-Real-Ip": "203.0.113.7"}, {"Forwarded": "for=203.0.113.7"},
    {"X_Forwarded_For": "203.0.113.7"}, {"X.Forwarded.For": "203.0.113.7"},
])  # fmt: skip
async def test_the_clients_address_is_the_one_it_comes_from(stack: Stack, forged: Mapping[str, str]) -> None:
    async with stack.client("127.0.0.2") as service:
        registered = await service.request(
            "POST", "/api/v1/auth/register", headers=forged,
            body={"email": f"{len(str(forged))}{next(iter(forged)).lower()}@example.com", "password": PASSWORD},
        )  # fmt: skip
    assert registered.status == 201, registered.text
    found = stack.query(f"select ip_address::text from auth.security_events where user_id = '{registered.body['id']}'")
    assert found == [("127.0.0.2/32",)]


def assert_as_gateways_say(reply: Reply) -> None:
    """A problem that the proxy made has the words of the gateways' own, and any page may read it."""
    problem = Problem(reply.body["code"], reply.body["detail"])
    said = {"title": problem.title, "error": problem.error, "message": problem.detail}
    assert said.items() <= reply.body.items()
    assert reply.body["type"] == f"urn:mana:problem:{problem.code}"
    assert reply.body["instance"] == f"urn:request:{reply.headers['X-Request-Id']}"
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "Server" not in reply.headers, "a gateway answered"


async def test_beyond_the_proxys_own_limits_clients_keep_their_tokens(stack: Stack) -> None:
    async with stack.client("127.0.0.7") as service:
        replies = await together(*(service.get("/.well-known/jwks.json") for _ in range(300)))
    refused = [reply for reply in replies if reply.status != 200]
    assert refused
    for reply in refused:
        assert_problem(reply, 429, "too_many_requests")
        assert_as_gateways_say(reply)


async def test_limits_count_over_both_gateways(stack: Stack) -> None:
    async with stack.client("127.0.0.3") as service:
        answers = [await service.login("nobody@example.com") for _ in range(21)]
    assert [answer.status for answer in answers] == [401] * 20 + [429]
    assert_problem(answers[-1], 429, "too_many_requests")
    assert int(answers[-1].headers["Retry-After"]) > 0


def test_each_limit_of_the_proxy_counts_an_ipv6_network_as_one_client() -> None:
    dynamic = (DEPLOY / "services/traefik/dynamic.yml").read_text()
    limits = [line for line in dynamic.splitlines() if re.search(r"rateLimit:|inFlightReq:", line)]
    assert len(limits) == 2
    assert all("sourceCriterion: {ipStrategy: {ipv6Subnet: 64}}" in line for line in limits)


async def first_line(stack: Stack, sent: bytes, *, tls: bool) -> bytes:
    """The beginning of the proxy's answer."""
    security = {"ssl": stack.proxy.trusted, "server_hostname": DOMAIN} if tls else {}
    port = stack.proxy.port if tls else stack.proxy.http
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **security)
    writer.write(sent)
    async with asyncio.timeout(5):
        line = await reader.readline()
    writer.close()
    return line


@pytest.mark.parametrize("tls", [True, False])
async def test_a_head_has_eight_kilobytes_at_most(stack: Stack, tls: bool) -> None:
    head = f"GET {BALANCE} HTTP/1.1\r\nHost: {DOMAIN}\r\nX: ".encode()
    allowed = await first_line(stack, head + b"x" * (8150 - len(head)) + b"\r\n\r\n", tls=tls)
    assert allowed.split()[1] == (b"401" if tls else b"301"), allowed
    assert (await first_line(stack, head + b"x" * 8200, tls=tls)).split()[1] == b"431", "refused before it is complete"


async def test_the_proxy_speaks_no_http_2_that_could_multiply_what_a_connection_takes(stack: Stack) -> None:
    offer = ssl.create_default_context(cadata=stack.proxy.authority)
    offer.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", stack.proxy.port, ssl=offer, server_hostname=DOMAIN)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    writer.close()


@pytest.mark.parametrize("kind", ["many short fields", "plain, HTTP/2"])
async def test_a_crowd_costs_the_proxy_little_and_others_are_answered(stack: Stack, kind: str) -> None:
    """The short form of `make soak ARGS=crowd`."""
    opened = await crowd.gather(stack.proxy, crowd.KINDS[kind], 60)
    report = crowd.Report(kind, len(opened))
    await crowd.others(stack.proxy, 0.3, report)
    for writer in opened:
        writer.transport.abort()
    assert len(opened) == 60
    assert set(report.statuses) == {"401"}


def test_the_proxy_has_memory_for_4000_connections_and_files_for_more() -> None:
    proxy = stack_service()
    assert (proxy["mem_limit"], proxy["environment"]["GOMEMLIMIT"]) == ("1g", "900MiB")
    assert 100 * MEGABYTE + 4000 * crowd.CONNECTION < 1024 * MEGABYTE
    assert proxy["ulimits"]["nofile"] > 4 * 4000


@pytest.mark.parametrize("name", ["web", "websecure", "grafana", "prometheus", "metrics"])
def test_each_door_of_the_proxy_ends_what_does_not_finish(name: str) -> None:
    door = yaml.safe_load((FILES / "traefik.yml").read_text())["entryPoints"][name]
    assert door["transport"]["respondingTimeouts"] == {
        "readTimeout": "15s",
        "writeTimeout": "60s",
        "idleTimeout": "60s",
    }


async def test_a_deployment_of_the_gateways_fails_no_request(stack: Stack) -> None:
    """One after the other is stopped and started, as docker compose does it, under load."""
    statuses: list[int] = []
    done = asyncio.Event()

    async def work(source: str) -> None:
        async with stack.client(source) as service:
            session = await service.new_session()
            while not done.is_set():
                statuses.append((await session.get(BALANCE)).status)
                statuses.append((await session.use(1)).status)
                await asyncio.sleep(0.05)  # the proxy's own limit is 50 a second

    clients = [asyncio.create_task(work(f"127.0.1.{n}")) for n in range(1, 5)]
    for gateway in stack.gateways:
        await until(lambda: statuses)
        assert await asyncio.to_thread(gateway.stop) == 0
        await asyncio.to_thread(gateway.start)
        await until(lambda gateway=gateway: _takes_part(gateway))
    done.set()
    await asyncio.gather(*clients)
    assert set(statuses) <= {200, 402}, sorted(statuses)


async def _takes_part(gateway: Gateway) -> bool:
    """Whether the proxy sends requests to this gateway since its start."""
    async with Service(gateway.url) as own:
        return sample((await own.get("/metrics")).text, "mana_http_requests_total", route=BALANCE) > 0


async def test_a_gateway_that_is_killed_is_not_missed(stack: Stack) -> None:
    dead = stack.gateways[0]
    async with stack.client("127.0.0.5") as service:
        session = await service.new_session()
        await asyncio.to_thread(dead.stop, signal.SIGKILL)
        try:
            assert [(await session.get(BALANCE)).status for _ in range(20)] == [200] * 20
            assert [(await session.use(1)).status for _ in range(20)] == [200] * 20
        finally:
            await asyncio.to_thread(dead.start)

        async def is_back() -> bool:
            await session.balance()
            return await _takes_part(dead)

        await until(is_back)


async def test_a_spend_that_may_have_been_made_is_not_sent_again() -> None:
    """The proxy turns to the other gateway only when the first one has not seen the request."""
    seen: list[bytes] = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if b"/health/serving" in line:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        elif line.startswith(b"GET"):
            await reader.read()
        else:
            seen.append(line)
        writer.close()

    servers = [await asyncio.start_server(cut, "127.0.0.1", 0) for _ in range(2)]
    urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
    proxy = Traefik(urls, patience="1s")
    await asyncio.to_thread(proxy.__enter__)
    try:
        async with proxy.client() as service:
            replies = [await service.post("/api/v1/credits/use", {"amount": 1})]
            assert len(seen) == 1
            replies.append(await service.get(BALANCE))  # nothing answers in time
            for server in servers:
                server.close()

            async def none_is_left() -> bool:
                return (await service.post("/api/v1/credits/use", {"amount": 1})).status == 503

            await until(none_is_left)
            replies.append(await service.get(BALANCE))
    finally:
        proxy.__exit__()
    assert [reply.status for reply in replies] == [502, 504, 503]
    for reply in replies:
        assert_problem(reply, reply.status, "service_unavailable")
        assert_as_gateways_say(reply)


async def test_with_the_pooler_away_the_answer_is_one_that_says_so(stack: Stack) -> None:
    async with stack.client("127.0.0.6") as service:
        session = await service.new_session()
        stack.pooler.stop(signal.SIGKILL)
        try:
            answer = await session.get(BALANCE)
            assert_problem(answer, 503, "service_unavailable")
            assert "Retry-After" in answer.headers
        finally:
            stack.pooler.start()

        async def answers() -> bool:
            return (await session.get(BALANCE)).status == 200

        await until(answers)


async def test_prometheus_sees_the_parts_and_misses_one(stack: Stack) -> None:
    with _Prometheus([gateway.url for gateway in stack.gateways], stack.proxy) as prometheus:
        async with Service(f"http://127.0.0.1:{prometheus.port}") as own:

            async def result(query: str) -> list[dict[str, Any]]:
                answer = await own.get(f"/api/v1/query?{urlencode({'query': query})}")
                assert answer.status == 200, answer.text
                found: list[dict[str, Any]] = answer.body["data"]["result"]
                return found

            async def up() -> list[str]:
                return sorted(each["metric"]["job"] for each in await result("mana:up == 1"))

            async def alert() -> list[dict[str, Any]]:
                return await result('ALERTS{alertname="PartDown", job="maintenance"}')

            async def ready() -> bool:
                return (await own.get("/-/ready")).status == 200

            await until(ready)
            await until(lambda: _is(up(), ["gateway", "gateway", "prometheus", "proxy"]))
            await until(alert)
            for query in ('sum(mana_http_requests_total{status="200"}) > 0', "traefik_service_requests_total > 0"):
                assert await result(query), query


async def _is(found: Awaitable[list[str]], expected: list[str]) -> bool:
    return await found == expected


async def test_the_gateways_password_opens_redis_for_the_limiter_alone(stack: Stack) -> None:
    own = redis_client.Redis(port=stack.redis.port, password=SECRETS["REDIS_PASSWORD"])
    assert own.set("mana:a test", 1)
    for refused in (
        lambda: own.get("another's key"),
        own.flushall,
        lambda: own.keys("*"),
        lambda: own.config_get("*"),
        lambda: own.execute_command("DEBUG", "SLEEP", "0"),
        lambda: own.execute_command("ACL", "LIST"),
        lambda: own.eval("return redis.call('flushall')", 0),
        own.shutdown,
        lambda: own.replicaof("203.0.113.7", 6379),
    ):
        with pytest.raises(redis_client.exceptions.ResponseError, match=r"permission|not allowed"):
            refused()
    monitor = redis_client.Redis(port=stack.redis.port, username="monitor", password=SECRETS["MONITOR_PASSWORD"])
    assert monitor.info()["redis_version"]
    with pytest.raises(redis_client.exceptions.NoPermissionError):
        monitor.get("mana:a test")
    with pytest.raises(redis_client.exceptions.AuthenticationError):
        redis_client.Redis(port=stack.redis.port).ping()


async def test_redis_forgets_the_password_it_was_given(stack: Stack) -> None:
    assert stack.redis.process
    environment = Path(f"/proc/{stack.redis.process.pid}/environ").read_bytes().decode()
    assert not [name for name, secret in SECRETS.items() if name in environment and name != "DATABASE_PASSWORD"]
    assert not [
        path for path in (stack.redis.directory / "run").iterdir() if SECRETS["REDIS_PASSWORD"] in path.read_text()
    ]


async def test_the_pooler_knows_the_gateway_and_the_monitor_alone(stack: Stack) -> None:
    def connect(user: str, password: str, database: str = "mana") -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host="127.0.0.1", port=stack.pooler.port, user=user, password=password, dbname=database, autocommit=True
        )

    with connect("mana_gateway", SECRETS["DATABASE_PASSWORD"]) as connection:
        assert connection.execute("select current_user").fetchone() == ("mana_gateway",)
    for user, password, database in (
        ("mana_gateway", "a wrong one", "mana"),
        ("postgres", urlsplit(stack.cluster.admin_url).password or "", "mana"),
        ("mana_gateway", SECRETS["DATABASE_PASSWORD"], "postgres"),
    ):
        with pytest.raises(psycopg.OperationalError):
            connect(user, password, database)


async def test_the_monitor_sees_statistics_and_no_row(stack: Stack) -> None:
    url = urlsplit(stack.cluster.url("mana"))
    with psycopg.connect(
        host=url.hostname, port=url.port, user="mana_monitor", password=SECRETS["MONITOR_PASSWORD"], dbname="mana"
    ) as connection:
        assert connection.execute("select count(*) > 0 from pg_stat_activity").fetchone() == (True,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select from auth.users")


async def test_preparing_twice_at_once_and_again_changes_nothing(stack: Stack) -> None:
    def keys() -> list[str]:
        return sorted(path.name for path in (stack.data_dir / "keys").iterdir())

    before = keys()
    await asyncio.gather(*(asyncio.to_thread(_prepare, stack.cluster, stack.data_dir) for _ in range(2)))
    assert keys() == before
    _hash_quickly(stack.cluster)


def test_with_certificates_both_ways_of_the_pooler_are_encrypted(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = public_directory()
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(directory / "ca.crt"))
    certificate.cert_chain_pems[0].write_to_path(str(directory / "tls.crt"))
    keys = {name: directory / f"{name}.key" for name in ("nobody", "postgres")}
    for name, path in keys.items():
        certificate.private_key_pem.write_to_path(str(path))
        path.chmod(0o600)
        if os.getuid() == 0:
            shutil.chown(path, name)
    keys["nobody"].rename(directory / "tls.key")
    settings = {"ssl": "on", "ssl_cert_file": str(directory / "tls.crt"), "ssl_key_file": str(keys["postgres"])}
    with start_server(settings) as cluster:
        _prepare(cluster, tmp_path_factory.mktemp("keys"))
        server = urlsplit(cluster.admin_url)
        pooler = _Started(
            "pgbouncer", PgBouncer.program(), LISTEN="127.0.0.1", TLS_DIRECTORY=str(directory),
            POSTGRES_HOST=server.hostname or "", POSTGRES_PORT=str(server.port),
        )  # fmt: skip
        login = {
            "host": "127.0.0.1", "port": pooler.port, "user": "mana_gateway", "dbname": "mana",
            "password": SECRETS["DATABASE_PASSWORD"], "sslrootcert": str(directory / "ca.crt"),
        }  # fmt: skip
        with pooler:
            with psycopg.connect(**login, sslmode="verify-full") as connection:
                found = connection.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetchone()
                assert found == (True,)
            with pytest.raises(psycopg.OperationalError, match="SSL required"):
                psycopg.connect(**login, sslmode="disable")
            # Another's certificate, and the pooler does not log in at the server.
            pooler.stop(signal.SIGKILL)
            trustme.CA().cert_pem.write_to_path(str(directory / "ca.crt"))
            pooler.start()
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(**{**login, "sslmode": "require"})
    shutil.rmtree(directory)


@pytest.mark.parametrize("service", ["pgbouncer", "redis", "grafana"])
@pytest.mark.parametrize("value", ["", "short"])
def test_a_missing_or_weak_secret_stops_the_start_with_one_line(tmp_path: Path, service: str, value: str) -> None:
    for path in (DEPLOY / "secret.sh", *(DEPLOY / "services" / service).glob("*.*")):
        shutil.copy(path, tmp_path)
    name = {"pgbouncer": "MONITOR_PASSWORD", "redis": "REDIS_PASSWORD", "grafana": "GRAFANA_PASSWORD"}[service]
    environment = {"PATH": os.environ["PATH"], "RUNTIME_DIRECTORY": str(tmp_path), **SECRETS, name: value}
    done = subprocess.run(
        ["sh", tmp_path / "start.sh"], env=environment, capture_output=True, text=True, check=False, timeout=10
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: {name} is missing or weak: it needs at least 32 characters, drawn at random"
    ]


def test_a_secret_can_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRETS["REDIS_PASSWORD"] + "\n")
    script = f". {DEPLOY / 'secret.sh'}; secret REDIS_PASSWORD"
    done = subprocess.run(
        ["sh", "-c", script], env={"PATH": os.environ["PATH"], "REDIS_PASSWORD_FILE": str(tmp_path / "secret")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, SECRETS["REDIS_PASSWORD"])
