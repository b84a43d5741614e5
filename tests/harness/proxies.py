"""The proxy as a process, with the files and within the bounds of the stack."""

from __future__ import annotations

import contextlib
import resource
import shutil
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import trustme
import yaml

from harness.clients import EveryNameIs, Service
from harness.places import ROOT, free_port
from harness.servers import ServerProcess

FILES = ROOT / "deploy" / "services" / "traefik"
DOMAIN = "api.example.com"


def stack_service() -> dict[str, Any]:
    """The proxy in docker-compose.yml."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["proxy"]
    return found


class Traefik(ServerProcess):
    """The proxy before two gateways: what is different is addresses, ports and directories."""

    def __init__(self, gateways: Sequence[str], patience: str = "30s") -> None:
        super().__init__()
        shutil.copytree(FILES / "plugins-local", self.directory / "plugins-local")
        self.http, self.metrics = free_port(), free_port()
        ports = {":8080": self.http, ":8443": self.port, ":9100": self.metrics, ":3000": 0, ":9090": 0}
        static = (FILES / "traefik.yml").read_text()
        dynamic = (FILES / "dynamic.yml").read_text()
        for address, port in ports.items():
            assert f'address: "{address}"' in static
            static = static.replace(f'address: "{address}"', f'address: "127.0.0.1:{port}"')
        for name, url in zip(("gateway-1", "gateway-2"), gateways, strict=True):
            assert f"http://{name}:3001" in dynamic
            dynamic = dynamic.replace(f"http://{name}:3001", url)
        assert "responseHeaderTimeout: 30s" in dynamic
        dynamic = dynamic.replace("responseHeaderTimeout: 30s", f"responseHeaderTimeout: {patience}")
        for where in ("/etc/traefik", "/etc/tls", "/var/lib/traefik"):
            static, dynamic = (text.replace(where, str(self.directory)) for text in (static, dynamic))
        (self.directory / "traefik.yml").write_text(static)
        (self.directory / "dynamic.yml").write_text(dynamic)
        authority = trustme.CA()
        self.trusted = ssl.create_default_context()
        authority.configure_trust(self.trusted)
        self.authority = authority.cert_pem.bytes().decode()
        certificate = authority.issue_cert(DOMAIN)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(self.directory / "tls.key"))
        certificate.cert_chain_pems[0].write_to_path(str(self.directory / "tls.crt"))
        (self.directory / "tls.key").chmod(0o644)

    def start(self) -> None:
        super().start()
        # It listens before it has its certificate, and resets who comes then, or shows one of its own.
        deadline = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 10) as raw:
                    self.trusted.wrap_socket(raw, server_hostname=DOMAIN).close()
            except (ConnectionError, ssl.SSLError):
                assert time.monotonic() < deadline, (self.directory / "log").read_text()
                time.sleep(0.05)
            else:
                return

    def command(self) -> list[str]:
        service = stack_service()
        files = min(service["ulimits"]["nofile"], resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        environment = [f"DOMAIN={DOMAIN}", "TLS_CERTIFICATE=file", f"GOMEMLIMIT={service['environment']['GOMEMLIMIT']}"]
        program = Path(sys.executable).with_name("traefik")
        configuration = f"--configFile={self.directory / 'traefik.yml'}"
        return ["prlimit", f"--nofile={files}:{files}", "env", *environment, str(program), configuration]

    @contextlib.asynccontextmanager
    async def client(self, source: str = "127.0.0.1") -> AsyncIterator[Service]:
        """A client of the proxy with this address."""
        service = Service(f"https://{DOMAIN}:{self.port}")
        connector = aiohttp.TCPConnector(
            limit=0, ssl=self.trusted, local_addr=(source, 0), resolver=EveryNameIs("127.0.0.1")
        )
        service.client = aiohttp.ClientSession(connector=connector)
        async with service.client:
            yield service
