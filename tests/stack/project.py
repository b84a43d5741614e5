"""The service of docker-compose.yml, and the operations of the tests on it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import trustme
from docker import DockerClient
from docker.models.containers import Container

from gateway.operate.stack import STACK_SECRETS
from harness.clients import EveryNameIs, Service
from harness.places import ROOT, free_port
from stack.engine import BIN, STAND_INS, compose

PROJECT = "mana-stack-test"
DOMAIN = "api.example.com"
BUILT = ("postgres", "pgbouncer", "maintenance", "restore", "prepare", "gateway-1", "gateway-2")


class Stack:
    """One project of Docker Compose, with new volumes. With ``stand_ins`` it lacks Grafana, which has none."""

    def __init__(self, client: DockerClient, directory: Path, stand_ins: bool) -> None:
        self.docker = client
        self.https, self.prometheus_port = free_port(), free_port()
        self.http = free_port()
        self.directory = directory
        self._addresses = iter(range(200, 250))
        self._files = [ROOT / "docker-compose.yml", directory / "override.yml"]
        subprocess.run([BIN / "mana", "keys", "generate", "--env"], cwd=directory, check=True, capture_output=True)
        self.trusted = self._certificate(directory / "tls")
        settings = {
            "DOMAIN": DOMAIN,
            "TLS_CERTIFICATE": "file",
            "TLS_DIRECTORY": str(directory / "tls"),
            "HTTP_PORT": f"127.0.0.1:{self.http}",
            "HTTPS_PORT": f"127.0.0.1:{self.https}",
            "PROMETHEUS_PORT": str(self.prometheus_port),
            "GRAFANA_PORT": str(free_port()),
            "RATE_LIMIT_MAX": "100000",
            **(STAND_INS if stand_ins else {}),
        }
        with (directory / ".env").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())
        # Builds use the network of this machine, which reaches the package indexes.
        services: dict[str, object] = {name: {"build": {"network": "host"}} for name in BUILT}
        if stand_ins:
            services["grafana"] = {"profiles": ["without-stand-ins"]}
        (directory / "override.yml").write_text(json.dumps({"services": services}))

    def _certificate(self, directory: Path) -> ssl.SSLContext:
        directory.mkdir()
        authority = trustme.CA()
        certificate = authority.issue_cert(DOMAIN)
        certificate.private_key_pem.write_to_path(str(directory / "tls.key"))
        for pem in certificate.cert_chain_pems:
            pem.write_to_path(str(directory / "tls.crt"), append=True)
        (directory / "tls.key").chmod(0o444)  # for the proxy's account; the directory is closed to others
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
        return trusted

    # ---------------------------------------------------------------- Docker

    def compose(self, *arguments: str, check: bool = True, **environment: str) -> str:
        """Run a command of Docker Compose on this project."""
        return compose(
            f"--project-name={PROJECT}",
            f"--project-directory={ROOT}",
            *(f"--file={file}" for file in self._files),
            f"--env-file={self.directory / '.env'}",
            *arguments,
            environment=environment,
            check=check,
        )

    def start(self) -> None:
        """Start the service on empty volumes, while two processes prepare the database at once."""
        self.compose("up", "--detach", "--wait", "postgres")
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda _: self.compose("run", "--rm", "--no-deps", "prepare"), range(2)))
        self.compose("up", "--detach", "--wait")

    def move_to_files_and_tls(self) -> dict[str, str]:
        """Move every secret from the environment into a file, encrypt connections, and return the secrets."""
        environment, found = (self.directory / ".env").read_text(), {}
        (self.directory / "secrets").mkdir(mode=0o700)
        for name in STACK_SECRETS:
            [found[name]] = re.findall(rf"^{name}=(.+)$", environment, re.MULTILINE)
            environment = environment.replace(f"{name}={found[name]}\n", f"{name}=\n")
            (self.directory / "secrets" / name.lower()).write_text(found[name])
        certificates = self.directory / "certificates"
        subprocess.run([ROOT / "deploy" / "certificates.sh", certificates], check=True, capture_output=True)
        environment += f"SECRETS_DIRECTORY={self.directory / 'secrets'}\nCERTIFICATES_DIRECTORY={certificates}\n"
        (self.directory / ".env").write_text(environment)
        self._files += [ROOT / "deploy" / "overlays" / "secrets.yml", ROOT / "deploy" / "overlays" / "tls.yml"]
        self.compose("up", "--detach", "--wait")
        return found

    def config(self) -> dict[str, Any]:
        """All services, as Docker Compose reads them."""
        services: dict[str, Any] = json.loads(self.compose("config", "--format=json"))["services"]
        return services

    def containers(self, *services: str) -> list[Container]:
        """All containers of the project, or those of some services."""
        label = "com.docker.compose"
        found = self.docker.containers.list(
            all=True, ignore_removed=True, filters={"label": f"{label}.project={PROJECT}"}
        )
        return [each for each in found if not services or each.labels[f"{label}.service"] in services]

    def container(self, service: str) -> Container:
        (found,) = (c for c in self.containers(service) if c.labels["com.docker.compose.oneoff"] == "False")
        return found

    def run(self, service: str, *command: str) -> str:
        """Run a command in the container of a service and return its output."""
        code, output = self.container(service).exec_run(list(command))
        assert code == 0, output.decode()
        return output.decode().strip()

    def query(self, statement: str) -> str:
        return self.run("postgres", "psql", "-XAtq", "--username=postgres", "--dbname=mana", f"--command={statement}")

    def health(self, service: str) -> str:
        state = self.container(service).attrs["State"]
        return str(state["Health"]["Status"] if state["Running"] else state["Status"])

    def wait_until_healthy(self, *services: str) -> None:
        wait(lambda: [self.health(service) for service in services] == ["healthy"] * len(services), 120)

    def crash(self, service: str) -> None:
        """Kill the process itself, as a crash would: unlike after `docker kill`, the restart policy applies."""
        os.kill(self.container(service).attrs["State"]["Pid"], signal.SIGKILL)

    @contextlib.contextmanager
    def without(self, service: str) -> Iterator[None]:
        """Keep the service dead while the context lasts."""
        self.container(service).kill()
        try:
            yield
        finally:
            self.container(service).start()
            self.wait_until_healthy(service)

    def address(self, service: str, network: str) -> str:
        networks = self.container(service).attrs["NetworkSettings"]["Networks"]
        return str(networks[f"{PROJECT}_{network}"]["IPAddress"])

    # ---------------------------------------------------------------- clients

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Service]:
        """A client of the published port. Its requests seem to come from Docker's own relay."""
        async with self._client("127.0.0.1", self.https) as service:
            yield service

    @contextlib.asynccontextmanager
    async def neighbour(self) -> AsyncIterator[tuple[Service, str]]:
        """A client with a new address of its own on the outside network."""
        network = self.docker.networks.get(f"{PROJECT}_outside")
        gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
        source = f"{gateway.rpartition('.')[0]}.{next(self._addresses)}"
        interface = f"br-{network.id[:12]}"
        subprocess.run(["ip", "address", "add", f"{source}/32", "dev", interface], check=True)
        async with self._client(self.address("proxy", "outside"), 8443, source) as service:
            yield service, source

    @contextlib.asynccontextmanager
    async def _client(self, host: str, port: int, source: str | None = None) -> AsyncIterator[Service]:
        connector = aiohttp.TCPConnector(
            limit=0, ssl=self.trusted, resolver=EveryNameIs(host), local_addr=(source, 0) if source else None
        )
        service = Service(f"https://{DOMAIN}:{port}")
        service.client = aiohttp.ClientSession(connector=connector)
        async with service.client:
            yield service

    def ask_prometheus(self, path: str, **arguments: str) -> Any:
        """The answer of Prometheus' API, through the proxy as the operator reaches it."""
        url = f"http://127.0.0.1:{self.prometheus_port}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def sum_of(self, query: str) -> float:
        return sum(float(series["value"][1]) for series in self.ask_prometheus("query", query=query)["result"])

    def alerts(self) -> list[tuple[str, str, Mapping[str, str]]]:
        """The firing and pending alerts: name, state, labels."""
        alerts = self.ask_prometheus("alerts")["alerts"]
        return [(each["labels"]["alertname"], each["state"], each["labels"]) for each in alerts]


def wait(true: Callable[[], object], seconds: float = 60) -> float:
    """Wait until the condition is true, and return how many seconds it took."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds, "it did not happen"
        time.sleep(0.2)
    return time.monotonic() - start


def moment(text: str) -> float:
    """A time from Docker, which has nanoseconds, in seconds since 1970."""
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp()


_LISTEN = "import signal, socket; server = socket.create_server(('', {})); signal.pause()"


@contextlib.contextmanager
def another_machine() -> Iterator[tuple[str, int]]:
    """A machine beside this one, in a network namespace, where a port answers."""
    name, here, there, port = "mana-stack", "198.51.100.1", "198.51.100.2", 8000
    commands = f"""
        netns add {name}
        link add {name} type veth peer name eth0 netns {name}
        address add {here}/30 dev {name}
        link set {name} up
        -n {name} address add {there}/30 dev eth0
        -n {name} link set eth0 up
        -n {name} route add default via {here}
    """
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)  # left by a killed run
    try:
        for command in commands.strip().splitlines():
            subprocess.run(["ip", *command.split()], check=True)
        server = subprocess.Popen(["ip", "netns", "exec", name, sys.executable, "-c", _LISTEN.format(port)])
        try:
            wait(lambda: _answers(there, port))
            yield there, port
        finally:
            server.kill()
            server.wait()
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False
