"""Docker Engine, and stand-ins for the images that docker-compose.yml names and that cannot be pulled."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import docker
from docker import DockerClient
from docker.errors import DockerException

BIN = Path(sys.executable).parent
HERE = Path(__file__).parent
# Holds what takes minutes to make: images, their layers, the Debian below. Delete it to start again.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mana-stack"
SUITE = "trixie"
_AS_ROOT = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}

# The variables of docker-compose.yml that replace an image by a stand-in.
STAND_INS = {
    "PYTHON_BASE": "mana-stand-in/python",
    "POSTGRES_BASE": "mana-stand-in/postgres",
    "PGBOUNCER_VERSION": "1.24",
    "REDIS_IMAGE": "mana-stand-in/redis",
    "TRAEFIK_IMAGE": "mana-stand-in/traefik",
    "PROMETHEUS_IMAGE": "mana-stand-in/prometheus",
    "POSTGRES_EXPORTER_IMAGE": "mana-stand-in/postgres-exporter",
    "PGBOUNCER_EXPORTER_IMAGE": "mana-stand-in/pgbouncer-exporter",
    "REDIS_EXPORTER_IMAGE": "mana-stand-in/redis-exporter",
}


@contextlib.contextmanager
def engine() -> Iterator[DockerClient]:
    """The engine of this machine, else a private one that ends with the tests. DOCKER_HOST names it."""
    if client := _answer():
        yield client
        return
    directory = CACHE / "run"
    directory.mkdir(parents=True, exist_ok=True)
    _end_leftover(directory / "docker.pid")
    os.environ["DOCKER_HOST"] = f"unix://{directory}/docker.sock"
    command = [
        "dockerd",
        f"--host={os.environ['DOCKER_HOST']}",
        f"--data-root={CACHE / 'docker'}",
        f"--exec-root={directory / 'exec'}",
        f"--pidfile={directory / 'docker.pid'}",
    ]
    log = CACHE / "dockerd.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=_AS_ROOT, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not (client := _answer()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"dockerd does not start:\n{log.read_text()[-5000:]}")
            time.sleep(0.1)
        yield client
    finally:
        process.terminate()
        process.wait(60)


def _answer() -> DockerClient | None:
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException:
        return None
    return client


def _end_leftover(pidfile: Path) -> None:
    """Stop the engine of a killed run, which still uses our directory."""
    if not pidfile.exists():
        return
    process = Path("/proc", pidfile.read_text().strip())
    with contextlib.suppress(FileNotFoundError):  # it has ended, or is ending
        if (process / "comm").read_text() == "dockerd\n":
            os.kill(int(process.name), signal.SIGTERM)
            while (process / "comm").read_text():
                time.sleep(0.1)
    pidfile.unlink(missing_ok=True)


def compose(*arguments: str, environment: Mapping[str, str] | None = None, check: bool = True) -> str:
    """Run docker-compose and return its output, errors included."""
    finished = subprocess.run(
        [BIN / "docker-compose", "--ansi=never", "--progress=plain", *arguments],
        env={**_engine(), **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1800,  # a first build on a slow line
    )
    assert finished.returncode == 0 or not check, f"docker-compose {' '.join(arguments)}\n{finished.stdout[-8000:]}"
    return finished.stdout


def _engine() -> dict[str, str]:
    """The variables that lead to the engine and to the internet, without any setting of the service."""
    wanted = re.compile(r"PATH|HOME|DOCKER_.*|.*_proxy", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if wanted.fullmatch(name)}


def build_stand_ins(client: DockerClient) -> None:
    """Build the missing stand-ins. The first time takes minutes, later runs take seconds."""
    if not client.images.list("mana-stand-in/debian"):
        client.api.import_image(src=_debian(), repository="mana-stand-in/debian")
    compose("--file", str(HERE / "stand_ins" / "compose.yml"), "build", environment={"BIN": str(BIN)})


def _debian() -> str:
    """A tar of a minimal Debian, with the package indexes and certificates of this machine."""
    archive = CACHE / f"debian-{SUITE}.tar"
    if archive.exists():
        return str(archive)
    unfinished = archive.with_suffix(".unfinished")
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        mirror = _output("apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Label: Debian")
        subprocess.run(
            ["debootstrap", "--variant=minbase", SUITE, f"{directory}/root", *mirror.split()[:1]],
            env=_AS_ROOT,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        with tarfile.open(unfinished, "w") as tar:
            tar.add(f"{directory}/root", arcname=".", filter=_without_downloads)
            _add_pip_settings(tar)
    unfinished.rename(archive)
    return str(archive)


def _without_downloads(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if re.match(r"\./(var/cache/apt/.*deb|var/lib/apt/lists/.*|dev/.+)$", member.name) else member


def _add_pip_settings(tar: tarfile.TarFile) -> None:
    """Add this machine's settings of pip, and its certificates unless they are the usual ones."""
    settings = dict(
        re.findall(r"^[^=]*\.([a-z-]+)='(.*)'$", _output(sys.executable, "-m", "pip", "config", "list"), re.M)
    )
    lines = [f"{name} = {value}" for name, value in settings.items() if name in {"index-url", "extra-index-url"}]
    if certificates := settings.get("cert"):
        lines.append("cert = /etc/ssl/pip.pem")
        tar.add(Path(certificates).resolve(), arcname="./etc/ssl/pip.pem")
    content = "\n".join(["[global]", *lines, ""]).encode()
    member = tarfile.TarInfo("./etc/pip.conf")
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
