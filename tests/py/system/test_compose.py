"""What docker-compose.yml promises, read from what Docker Compose makes of it; `make stack-test` starts it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from gateway.operate.stack import STACK_SECRETS as SECRETS
from harness.places import ROOT

OVERRIDES = sorted((ROOT / "deploy" / "overlays").glob("*.yml"))
ONE_SHOT = {"prepare", "restore"}
# The oldest releases without a known hole.
FLOORS = {"postgres": "16.16", "pgbouncer": "1.26.1", "redis": "7.4.6", "traefik": "3.7.12", "python": "3.13.8"}

Config = dict[str, Any]


def resolve(environment: dict[str, str], *files: Path) -> subprocess.CompletedProcess[str]:
    """`docker compose config`, with these variables and none of this machine's."""
    options = [option for file in (ROOT / "docker-compose.yml", *files) for option in ("--file", file)]
    return subprocess.run(
        [
            Path(sys.executable).parent / "docker-compose",
            *options,
            "--profile=*",
            "--env-file=/dev/null",
            "config",
            "--format=json",
        ],
        env={"PATH": "/usr/bin:/bin", "DOMAIN": "api.example.com", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def load(environment: dict[str, str], *files: Path) -> Config:
    finished = resolve(environment, *files)
    assert finished.returncode == 0, finished.stderr
    assert "variable is not set" not in finished.stderr
    config: Config = json.loads(finished.stdout)
    return config


@pytest.fixture(scope="module", params=[None, *OVERRIDES], ids=lambda file: file.name if file else "alone")
def config(request: pytest.FixtureRequest) -> Config:
    """The whole stack, alone and with each override."""
    return load({}, *([request.param] if request.param else []))


def _dockerfile(service: Config) -> str | None:
    build = service.get("build")
    return Path(build["context"], build.get("dockerfile", "Dockerfile")).read_text() if build else None


def _user(service: Config) -> str:
    """Who runs it: the service's user, else that of the image we build."""
    in_image = re.findall(r"^USER (\S+)", _dockerfile(service) or "", re.MULTILINE)
    return str(service.get("user") or (in_image or ["root"])[-1])


def test_only_the_proxy_can_be_reached_and_few_reach_out(config: Config) -> None:
    leading_out = {name for name, network in config["networks"].items() if not network.get("internal")}
    for name, service in config["services"].items():
        assert "network_mode" not in service, name
        if name != "proxy":
            assert not service.get("ports"), name
            # To the payment provider.
            allowed = {"payments"} if name in {"gateway-1", "gateway-2", "worker"} else set()
            assert leading_out & set(service["networks"]) <= allowed, name
    public = {port["target"] for port in config["services"]["proxy"]["ports"] if port.get("host_ip") != "127.0.0.1"}
    assert public == {8080, 8443}


def test_nobody_has_rights_that_it_does_not_need(config: Config) -> None:
    for name, service in config["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert not service.get("cap_add"), name
        assert not service.get("privileged"), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert re.match(r"(?!0+\b)\d+|postgres", _user(service)), f"{name} runs as {_user(service)}"
        mounted = [volume["source"] for volume in service.get("volumes", [])]
        assert not [source for source in mounted if "docker.sock" in source], name


def test_a_mount_of_a_file_is_for_reading(config: Config) -> None:
    for name, service in config["services"].items():
        for volume in service.get("volumes", []):
            assert volume["type"] == "volume" or volume.get("read_only"), f"{name}: {volume['source']}"


def test_everything_has_bounds(config: Config) -> None:
    for name, service in config["services"].items():
        assert int(service["mem_limit"]) > 0, name
        assert service["logging"]["driver"] == "json-file", name
        assert service["logging"]["options"].keys() >= {"max-size", "max-file"}, name


def test_everything_is_checked_and_waits_for_what_it_needs(config: Config) -> None:
    for name, service in config["services"].items():
        if name in ONE_SHOT:
            assert re.match("no$|on-failure:", service["restart"]), name
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"][0] == "CMD", name
        for other, dependency in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
            assert dependency["condition"] == expected, f"{name} needs {other}"


def test_the_database_is_migrated_before_a_gateway_starts(config: Config) -> None:
    services = config["services"]
    for name in ("gateway-1", "gateway-2"):
        assert services[name]["depends_on"].keys() >= {"prepare", "pgbouncer", "redis"}, name
        assert services[name]["image"] == services["prepare"]["image"]


def test_images_are_of_one_patched_version(config: Config) -> None:
    for name, service in config["services"].items():
        build = service.get("build")
        image = build["args"]["BASE"] if build else service["image"]
        repository, _, tag = image.partition(":")
        version = re.match(r"v?(\d+\.\d+\.\d+|\d+\.\d+)\b", tag)
        assert version, f"{name}: {image}"
        floor = FLOORS.get(repository.rpartition("/")[2])
        assert floor is None or Version(version[1]) >= Version(floor), f"{name}: {image}"
    assert Version(config["services"]["pgbouncer"]["build"]["args"]["VERSION"]) >= Version(FLOORS["pgbouncer"])


def test_a_base_is_the_same_in_the_dockerfile_and_in_the_stack() -> None:
    for name, service in load({})["services"].items():
        if dockerfile := _dockerfile(service):
            defaults = dict(re.findall(r"^ARG (\w+)=(\S+)", dockerfile, re.MULTILINE))
            given = service["build"]["args"]
            assert {argument: defaults.get(argument) for argument in given} == given, name


def test_no_secret_has_a_value_of_its_own() -> None:
    mark = "from-the-operator-"
    given = {name: mark + name for name in SECRETS}
    with_secrets, without = load(given)["services"], load({})["services"]
    used = set()
    for name, service in with_secrets.items():
        for variable, value in service.get("environment", {}).items():
            if mark in str(value):
                used.add(re.sub(f".*{mark}", "", value).partition("@")[0])
                bare = re.sub(f"{mark}[A-Z_]+", "", value)
                assert (without[name]["environment"][variable] or "") == bare, f"{name}: {variable}"
            else:
                assert not re.search(r"(PASSWORD|SECRET|PASSPHRASE|PEPPER)$", variable) or not value, variable
    assert used == set(SECRETS)


def test_without_a_domain_it_says_so() -> None:
    finished = resolve({"DOMAIN": ""})
    assert finished.returncode != 0
    assert "DOMAIN" in finished.stderr


# ---------------------------------------------------------------- the gateway's image


def test_an_image_is_built_from_named_folders_alone() -> None:
    everything, *named = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert everything == "*"
    assert {line for line in named if line.startswith("!")} == {
        "!.env.example", "!deploy/services/gateway", "!deploy/secret.sh", "!gateway", "!postgres",
        "!pyproject.toml", "!README.md", "!sql",
    }  # fmt: skip


def _locked(file: str) -> dict[str, Version]:
    """What a lock file pins, by name. Each line is a pin with its hashes, so nothing names an index."""
    text = re.sub(r"^ *#.*\n", "", (ROOT / "deploy" / "services" / "gateway" / file).read_text(), flags=re.MULTILINE)
    pins = {}
    for line in text.replace("\\\n", "").splitlines():
        pin = re.fullmatch(r"([a-z0-9-]+)==(\S+)(?: ; [^-]+)?(?: +--hash=sha256:[0-9a-f]{64})+", line.strip())
        assert pin, line[:100]
        pins[pin[1]] = Version(pin[2])
    return pins


@pytest.mark.parametrize("file", ["requirements.txt", "build-requirements.txt"])
def test_what_the_image_installs_is_what_the_project_asks_for(file: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built = file.startswith("build")
    wanted = project["build-system"]["requires"] if built else project["project"]["dependencies"]
    locked = _locked(file)
    for requirement in map(Requirement, wanted):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in locked, f"{requirement}: make lock"
        assert locked[name] in requirement.specifier, f"{requirement} is locked at {locked[name]}: make lock"
