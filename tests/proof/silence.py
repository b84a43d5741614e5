"""When is a peer given up that vanishes without a word? Packets are dropped in a network of this process's own."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Sequence

from gateway.database.connections import LOST_AFTER
from harness.clients import Service, Session
from harness.databases import Database, start_cluster
from harness.gateways import Gateway

SLACK = 5.0  # seconds
IDLE = 40.0 + SLACK  # seconds after which the server has given a client up
UNACKNOWLEDGED = 10.0 + SLACK  # the same if it does not acknowledge what was sent

_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS, _UP = 0x8914, 1

_LOCK = "select from credits.balances where user_id = %s for update"
_MUCH = b"select repeat('x', 1000000) from generate_series(1, 200)"


def leave_the_network() -> None:
    """Give this process, and those that it starts, a network of their own. Raises OSError if that is not allowed."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "this account may not have a network of its own")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _UP))


def silence(ports: Sequence[int]) -> None:
    """From now on nothing arrives from these ports, or at them."""
    chosen = ", ".join(map(str, ports))
    rules = f"""
        table inet silence {{
            chain input {{
                type filter hook input priority filter;
                tcp sport {{ {chosen} }} drop
                tcp dport {{ {chosen} }} drop
            }}
        }}
    """
    nft = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nft, "nft is not installed: tests/tools.sh"
    subprocess.run([nft, "--file", "-"], input=rules, text=True, check=True)


async def _seconds(user: Session) -> float:
    """How long a call takes, whatever the answer."""
    started = time.monotonic()
    await user.get("/api/v1/credits/balance")
    return time.monotonic() - started


async def run(database: Database, show: Callable[[str], None]) -> list[str]:
    """Let the gateway's connections and two backends fall silent. Returns what was given up too late."""
    with Gateway(database.gateway_url) as gateway:
        async with Service(gateway.url) as service:
            user, other = await service.new_session(), await service.new_session()
            with database.connect() as observer, database.connect() as reader, database.connect() as worker:
                reader.execute("begin")
                reader.execute(_LOCK, (other.user_id,))
                reader.pgconn.send_query(_MUCH)  # and reads no answer
                worker.pgconn.send_query(b"select pg_sleep(600)")
                await asyncio.sleep(1)

                kinds = {"a client that does not take its answer": [reader], "a client whose query runs": [worker]}
                pids = {kind: [one.info.backend_pid for one in opened] for kind, opened in kinds.items()}
                of_gateway = "select pid, client_port from pg_stat_activity where usename = 'mana_gateway'"
                found = observer.execute(of_gateway).fetchall()
                pids["idle clients"] = [pid for pid, _ in found]
                local = [socket.socket(fileno=os.dup(one.fileno())) for one in (reader, worker)]
                silence([*(port for _, port in found), *(one.getsockname()[1] for one in local)])

                started, lasted = time.monotonic(), dict.fromkeys(pids, 0.0)
                call = asyncio.create_task(_seconds(user))
                while time.monotonic() - started < IDLE + 10:
                    alive = {pid for (pid,) in observer.execute("select pid from pg_stat_activity").fetchall()}
                    for kind, known in pids.items():
                        if alive.intersection(known):
                            lasted[kind] = time.monotonic() - started
                    await asyncio.sleep(0.2)
                answered = await call
                again = (await user.get("/api/v1/credits/balance")).status
                for one in (*local, reader, worker):
                    one.close()
    bounds = dict.fromkeys(pids, IDLE) | {"a client that does not take its answer": UNACKNOWLEDGED}
    for kind, seconds in lasted.items():
        show(f"{kind}: given up after {seconds:.1f} s")
    show(f"a call of the gateway: answered after {answered:.1f} s, and the next one with {again}")
    late = [f"{kind}: {seconds:.1f} s" for kind, seconds in lasted.items() if seconds > bounds[kind]]
    if answered > LOST_AFTER + SLACK or again != 200:
        late.append(f"the gateway answered after {answered:.1f} s, and the next call with {again}")
    return late


def soak(show: Callable[[str], None]) -> list[str]:
    """All of it, in a network of its own."""
    leave_the_network()
    with start_cluster() as cluster, cluster.database() as database:
        return asyncio.run(run(database, show))
