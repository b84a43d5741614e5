"""The rules for the host's firewall, loaded in a network of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from harness.places import ROOT

RULES = ROOT / "deploy" / "firewall.nft"

# Prints how many connections one address gets, and then whether another gets one.
_CONNECT = """
import fcntl, socket, struct, subprocess, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
subprocess.run([sys.argv[1], "--file", sys.argv[2]], check=True)
listener = socket.create_server(("::", int(sys.argv[3])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1000)
kept = []
def connects(host, source):
    try:
        kept.append(socket.create_connection((host, int(sys.argv[3])), 0.2, (source, 0)))
    except TimeoutError:
        return False
    return True
for host in ("127.0.0.1", "::1"):
    print(sum(connects(host, host) for _ in range(202)))
print(connects("127.0.0.1", "127.0.0.2"))
"""


@pytest.fixture(scope="module")
def alone() -> list[str]:
    """What starts a program in a network of its own."""
    command = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this account may not have a network of its own")
    return command


def connect(alone: list[str], port: int) -> list[str]:
    nft = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nft, "nft is not installed: tests/tools.sh"
    done = subprocess.run(
        [*alone, sys.executable, "-c", _CONNECT, nft, str(RULES), str(port)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_client_has_200_connections_to_the_proxy_and_others_still_get_theirs(alone: list[str]) -> None:
    assert connect(alone, 443) == ["200", "200", "True"]


def test_other_ports_of_the_host_are_not_counted(alone: list[str]) -> None:
    assert connect(alone, 22) == ["202", "202", "True"]
