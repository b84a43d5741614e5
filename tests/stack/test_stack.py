"""The service in containers, used as clients and the operator use it. The tests run in the order of the file."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import aiohttp
import pytest
from docker.errors import ContainerError

from gateway.operate.stack import STACK_SECRETS
from harness.clients import PASSWORD, Session, assert_problem
from harness.waiting import until
from stack.project import DOMAIN, PROJECT, Stack, another_machine, moment, wait

BALANCE = "/api/v1/credits/balance"


# ---------------------------------------------------------------- how it runs


def test_everything_is_up(stack: Stack) -> None:
    for name in stack.config():
        if name == "prepare":
            assert stack.container(name).attrs["State"]["ExitCode"] == 0
        else:
            assert stack.health(name) == "healthy", name


def test_two_preparations_at_once_make_one_key(stack: Stack) -> None:
    assert stack.run("gateway-1", "mana", "keys", "list").endswith("signs")
    assert len(stack.run("gateway-1", "mana", "keys", "list").splitlines()) == 1


def test_every_process_runs_with_the_least_privileges(stack: Stack) -> None:
    for container in stack.containers():
        if not container.attrs["State"]["Running"]:
            continue
        assert container.attrs["HostConfig"]["ReadonlyRootfs"], container.name
        assert container.attrs["HostConfig"]["Memory"] > 0, container.name
        for _, uid, command in container.top(ps_args="-eo pid,uid,args")["Processes"]:
            assert uid != "0", f"{container.name}: {command}"
        status = Path(f"/proc/{container.attrs['State']['Pid']}/status").read_text()
        for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"):
            assert f"\n{line}\n" in status, f"{container.name}: {line}"


def test_the_gateways_image_has_no_compiler_and_no_secret(stack: Stack) -> None:
    compilers = "for name in cc gcc c++ clang ld as make; do command -v $name || true; done"
    assert stack.run("gateway-1", "sh", "-c", compilers) == ""
    sizes = {image.tags[0]: image.attrs["Size"] / 1e6 for image in stack.docker.images.list() if image.tags}
    print(*(f"{name}: {size:.0f} MB" for name, size in sorted(sizes.items())), sep="\n")
    history = stack.docker.images.get("mana-gateway").history()
    environment = dict(re.findall(r"^(\w+)=(.+)$", (stack.directory / ".env").read_text(), re.MULTILINE))
    assert not [name for name in STACK_SECRETS if environment[name] in str(history)]


def test_a_gateway_is_ready_in_less_than_two_seconds(stack: Stack) -> None:
    stack.compose("up", "--detach", "--no-deps", "--force-recreate", "--wait", "gateway-2")
    container = stack.container("gateway-2")
    started = moment(container.attrs["State"]["StartedAt"])
    (ready,) = [line for line in container.logs(timestamps=True).decode().splitlines() if "serving at" in line]
    seconds = moment(ready.split()[0]) - started
    print(f"a gateway was ready after {seconds:.2f} s")
    assert seconds < 2


# ---------------------------------------------------------------- networks


def test_only_the_proxys_ports_are_published(stack: Stack) -> None:
    published = {
        (container.labels["com.docker.compose.service"], port): [each["HostPort"] for each in bindings]
        for container in stack.containers()
        for port, bindings in container.ports.items()
        if bindings
    }
    assert {service for service, _ in published} == {"proxy"}
    assert {port for _, port in published} == {"8080/tcp", "8443/tcp", "3000/tcp", "9090/tcp"}


CONNECT = "import socket; socket.create_connection(('{}', {}), 2).close(); print('connected')"


@pytest.mark.parametrize(
    ("service", "port"),
    [("postgres", 5432), ("pgbouncer", 6432), ("redis", 6379), ("prometheus", 9090), ("gateway-1", 3001)],
)
def test_nothing_inside_is_reachable_from_outside(stack: Stack, service: str, port: int) -> None:
    for host in (stack.address(service, "inside"), service):
        code = CONNECT.format(host, port)
        assert stack.run("gateway-2", "python", "-c", code) == "connected"
        with pytest.raises(ContainerError, match=r"TimeoutError|unreachable|timed out|name resolution|not known"):
            stack.docker.containers.run(
                "mana-gateway", ["python", "-c", code], remove=True, network=f"{PROJECT}_outside"
            )


def test_nothing_outside_is_reachable_from_inside(stack: Stack) -> None:
    with another_machine() as (address, port):
        code = CONNECT.format(address, port)
        reached = stack.docker.containers.run(
            "mana-gateway", ["python", "-c", code], remove=True, network=f"{PROJECT}_outside"
        )
        assert reached == b"connected\n"
        tried = stack.container("gateway-1").exec_run(["python", "-c", code])
    assert tried.exit_code != 0
    assert b"unreachable" in tried.output or b"timed out" in tried.output, tried.output


# ---------------------------------------------------------------- through the proxy


async def test_an_account_through_the_proxy(stack: Stack) -> None:
    async with stack.client() as service:
        session = await service.new_session()
        spent = await session.use(10)
        assert spent.status == 200, spent.text
        assert (await session.balance())["freeCreditsRemaining"] == 140
        renewed = await service.refresh(session.refresh_token)
        assert renewed.status == 200
        assert (await session.post("/api/v1/auth/logout")).status == 200
        assert (await session.get(BALANCE)).status == 401
        for path in ("/metrics", "/health", "/health/ready", "/health/serving", "/"):
            assert (await service.get(path)).status == 404, path


async def test_http_redirects_to_https(stack: Stack) -> None:
    async with aiohttp.ClientSession() as client, client.get(
        f"http://127.0.0.1:{stack.http}{BALANCE}", headers={"Host": DOMAIN}, allow_redirects=False
    ) as answer:  # fmt: skip
        assert answer.status in {301, 308}
        assert answer.headers["Location"] == f"https://{DOMAIN}{BALANCE}"
    async with stack.client() as service:
        answer = await service.get("/.well-known/jwks.json")
        assert answer.status == 200
        assert "max-age=31536000" in answer.headers["Strict-Transport-Security"]


async def test_a_forged_header_does_not_change_the_clients_address(stack: Stack) -> None:
    async with stack.neighbour() as (service, source):
        registered = await service.request(
            "POST", "/api/v1/auth/register", headers={"X-Forwarded-For": "203.0.113.7", "X-Real-Ip": "203.0.113.7"},
            body={"email": "forger@example.com", "password": PASSWORD},
        )  # fmt: skip
    assert registered.status == 201, registered.text
    found = stack.query(f"select host(ip_address) from auth.security_events where user_id = '{registered.body['id']}'")
    assert found == source


async def test_both_gateways_share_the_limit_of_an_address(stack: Stack) -> None:
    async with stack.neighbour() as (service, _):
        answers = [await service.login("nobody@example.com") for _ in range(11)]
        assert [answer.status for answer in answers] == [401] * 10 + [429]
        assert_problem(answers[-1], 429, "too_many_requests")
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
        forged = await service.request(
            "POST", "/api/v1/auth/login", headers={"X-Forwarded-For": "203.0.113.8"},
            body={"email": "nobody@example.com", "password": PASSWORD},
        )  # fmt: skip
        assert forged.status == 429
    async with stack.neighbour() as (service, _):
        assert (await service.login("nobody@example.com")).status == 401


# ---------------------------------------------------------------- Prometheus


def test_prometheus_reaches_everything(stack: Stack) -> None:
    def all_up() -> bool:
        targets = stack.ask_prometheus("targets")["activeTargets"]
        return {target["health"] for target in targets} == {"up"}

    wait(all_up)
    jobs = {target["labels"]["job"] for target in stack.ask_prometheus("targets")["activeTargets"]}
    assert jobs == {"gateway", "maintenance", "postgres", "pgbouncer", "redis", "proxy", "prometheus"}
    assert stack.sum_of('count(up{job="gateway"})') == 2
    for name in ("pg_up", "pgbouncer_up", "redis_up", "mana_redis_up"):
        assert stack.sum_of(f"min({name})") == 1, name


async def test_prometheus_counts_requests_and_credits(stack: Stack) -> None:
    spent = 'sum(mana_http_requests_total{route="/api/v1/credits/use", status="200"})'
    charged = "sum(mana_credits_spent_total)"
    before = stack.sum_of(spent), stack.sum_of(charged)
    async with stack.client() as service:
        session = await service.new_session()
        for _ in range(5):
            assert (await session.use(3)).status == 200
    await until(lambda: (stack.sum_of(spent), stack.sum_of(charged)) == (before[0] + 5, before[1] + 15))


def test_an_alert_fires_while_a_gateway_is_down_and_then_resolves(stack: Stack) -> None:
    def fires() -> bool:
        return any(
            (name, state, labels.get("instance")) == ("PartDown", "firing", "gateway-2:3001")
            for name, state, labels in stack.alerts()
        )

    assert not fires()
    with stack.without("gateway-2"):
        print(f"it fired after {wait(fires, 120):.0f} s")
    print(f"it resolved after {wait(lambda: not fires(), 120):.0f} s")


# ---------------------------------------------------------------- when a part is down


async def _refused(session: Session) -> bool:
    answer = await session.get(BALANCE)
    if answer.status != 200:
        assert_problem(answer, 503, "service_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    return answer.status == 503


async def _served(session: Session) -> bool:
    return not await _refused(session)


@pytest.mark.parametrize("service", ["postgres", "pgbouncer"])
async def test_without_the_database_every_request_gets_503_and_retry_after(stack: Stack, service: str) -> None:
    async with stack.client() as client:
        session = await client.new_session()
        with stack.without(service):
            for _ in range(6):
                assert await _refused(session)
        await until(lambda: _served(session))
        assert (await session.balance())["freeCreditsRemaining"] == 150


async def test_without_redis_a_gateway_counts_by_itself(stack: Stack) -> None:
    async with stack.client() as other, stack.neighbour() as (client, _):
        session = await other.new_session()
        with stack.without("redis"):
            answers = [await client.login("nobody@example.com") for _ in range(21)]
            counted = [answer.status for answer in answers]
            assert set(counted) == {401, 429}
            assert 10 <= counted.count(401) <= 20, "each of the two gateways has ten"
            assert (await session.get(BALANCE)).status == 200
            await until(lambda: stack.sum_of("min(mana_redis_up)") == 0)

        async def used_again() -> bool:  # a gateway tries Redis when it counts a request
            await session.get(BALANCE)
            return stack.sum_of("min(mana_redis_up)") == 1

        await until(used_again)


@pytest.mark.parametrize("service", ["gateway-1", "gateway-2"])
async def test_one_gateway_is_enough(stack: Stack, service: str) -> None:
    async with stack.client() as client:
        session = await client.new_session()
        with stack.without(service):
            await until(lambda: _ten_in_a_row(session))
            assert (await session.use(1)).status == 200


async def _ten_in_a_row(session: Session) -> bool:
    return [(await session.get(BALANCE)).status for _ in range(10)] == [200] * 10


@pytest.mark.parametrize(
    "service",
    ["maintenance", "prometheus", "postgres-exporter", "pgbouncer-exporter", "redis-exporter"],
)
async def test_requests_work_without_the_parts_that_only_watch(stack: Stack, service: str) -> None:
    async with stack.client() as client:
        session = await client.new_session()
        with stack.without(service):
            assert (await session.use(1)).status == 200


def test_every_crashed_service_restarts(stack: Stack) -> None:
    services = [name for name in stack.config() if name != "prepare"]
    before = {name: stack.container(name).attrs["State"]["StartedAt"] for name in services}
    for name in services:
        stack.crash(name)
    wait(lambda: all(stack.container(name).attrs["State"]["StartedAt"] != before[name] for name in services))
    start = time.monotonic()
    stack.wait_until_healthy(*services)
    print(f"everything was healthy again {time.monotonic() - start:.0f} s after the restart")
    assert stack.query("select count(*) from credits.verify_ledger()") == "0"


# ---------------------------------------------------------------- deploying


async def test_a_deployment_fails_no_request(stack: Stack) -> None:
    statuses: list[int] = []
    done = asyncio.Event()

    async def spend() -> None:
        async with stack.neighbour() as (service, _):
            session = await service.new_session()
            while not done.is_set():
                statuses.append((await session.get(BALANCE)).status)
                statuses.append((await session.use(1)).status)
                await asyncio.sleep(0.05)  # the proxy lets 50 a second pass

    clients = [asyncio.create_task(spend()) for _ in range(4)]
    await until(lambda: len(statuses) > 20)
    deploy = ("up", "--detach", "--no-deps", "--force-recreate", "--wait")
    await asyncio.to_thread(stack.compose, "run", "--rm", "--no-deps", "prepare")
    for name in ("gateway-1", "gateway-2"):
        await asyncio.to_thread(stack.compose, *deploy, name)
        before = len(statuses)
        await until(lambda before=before: len(statuses) > before + 100)
    done.set()
    await asyncio.gather(*clients)
    print(f"{len(statuses)} requests")
    assert set(statuses) <= {200, 402}, sorted(statuses)


@pytest.mark.parametrize("secret", ["DATABASE_PASSWORD", "PASSWORD_PEPPER"])
def test_a_weak_secret_stops_the_start_with_one_line(stack: Stack, secret: str) -> None:
    output = stack.compose("run", "--rm", "--no-deps", f"--env={secret}=weak", "gateway-1", check=False)
    (line,) = [line for line in output.splitlines() if line.startswith("error:")]
    assert line.startswith(f"error: {secret} is too weak")


# ---------------------------------------------------------------- losing the database


async def test_a_lost_database_comes_back_with_every_balance(stack: Stack) -> None:
    async with stack.client() as service:
        session = await service.new_session()
        assert (await session.use(50)).status == 200
        stack.run("maintenance", "mana", "backup")
        assert (await session.use(7)).status == 200
    # Archives the segment now, as archive_timeout does within a minute.
    segment = stack.query("select pg_walfile_name(pg_switch_wal())")
    wait(lambda: stack.query("select last_archived_wal from pg_stat_archiver") >= segment)

    await asyncio.to_thread(stack.compose, "kill")
    await asyncio.to_thread(stack.compose, "down")
    stack.docker.volumes.get(f"{PROJECT}_data").remove()
    start = time.monotonic()
    await asyncio.to_thread(stack.compose, "run", "--rm", "restore")
    await asyncio.to_thread(stack.compose, "up", "--detach", "--wait")
    print(f"everything was back after {time.monotonic() - start:.0f} s")

    async with stack.client() as service:
        again = await service.session(session.email)
        assert (await again.balance())["freeCreditsRemaining"] == 93
        assert (await again.use(93)).status == 200
    assert stack.query("select count(*) from credits.verify_ledger()") == "0"


async def test_secrets_move_into_files_and_connections_to_tls(stack: Stack) -> None:
    async with stack.client() as service:
        session = await service.new_session()
        secrets = await asyncio.to_thread(stack.move_to_files_and_tls)
        assert (await session.use(1)).status == 200
    shown = [str(container.attrs["Config"]["Env"]) for container in stack.containers()]
    assert not [name for name, secret in secrets.items() if any(secret in environment for environment in shown)]
    assert stack.query(
        "select string_agg(distinct usename || ' ' || ssl, ', ' order by usename || ' ' || ssl)"
        " from pg_stat_ssl join pg_stat_activity using (pid) where usename like 'mana%'"
    ) == "mana_gateway true, mana_monitor true"  # fmt: skip
    wait(lambda: stack.sum_of('{__name__=~"pg_up|pgbouncer_up|redis_up"}') == 3)
    unencrypted = "psql 'host=127.0.0.1 port=6432 user=mana_gateway dbname=mana sslmode=disable' 2>&1 || true"
    assert "SSL required" in stack.run("pgbouncer", "sh", "-c", unencrypted)
    assert (await asyncio.to_thread(stack.compose, "run", "--rm", "--no-deps", "prepare")).count("error:") == 0


async def test_every_service_stops_in_time_without_a_kill(stack: Stack) -> None:
    start = time.monotonic()
    await asyncio.to_thread(stack.compose, "stop")
    print(f"everything had stopped after {time.monotonic() - start:.0f} s")
    codes = {container.name: container.attrs["State"]["ExitCode"] for container in stack.containers()}
    assert 137 not in codes.values(), codes
    await asyncio.to_thread(stack.compose, "up", "--detach", "--wait")
    assert stack.query("select count(*) from credits.verify_ledger()") == "0"
