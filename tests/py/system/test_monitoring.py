"""Monitoring: rules and dashboards say what Prometheus understands, of metrics that exist, and each alert has its help.

Grafana itself cannot be had everywhere, so its dashboards are checked as far as that goes: their form, their
expressions, and that what they name is exposed by a real gateway, or by the exporters that docker-compose.yml pins.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from gateway.operate import maintain, work
from harness.clients import Service
from harness.databases import Database
from harness.doors import held_balance
from harness.gateways import Gateway
from harness.monitoring import GRAFANA, PROMETHEUS, Selector, alerts, dashboards, expressions, rules, selectors
from harness.places import ROOT
from harness.servers import Redis

RUNBOOK = ROOT / "deploy" / "RUNBOOK.md"
DASHBOARDS = dashboards()
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['id']}") for name in DASHBOARDS for panel in DASHBOARDS[name]["panels"]
]

# What the images of docker-compose.yml expose, of what is used here. With another version look at its
# sources, or at what it answers, and then change the version here.
EXPORTERS = {
    "prometheuscommunity/postgres-exporter:v0.18.1": {
        "pg_up",
        "pg_database_size_bytes",
        "pg_settings_max_connections",
        "pg_stat_activity_max_tx_duration",
        "pg_stat_archiver_failed_count",
        "pg_stat_archiver_last_archive_age",
        "pg_stat_database_blks_hit",
        "pg_stat_database_blks_read",
        "pg_stat_database_numbackends",
    },
    "prometheuscommunity/pgbouncer-exporter:v0.11.0": {
        "pgbouncer_up",
        "pgbouncer_pools_client_active_connections",
        "pgbouncer_pools_client_waiting_connections",
        "pgbouncer_pools_server_active_connections",
        "pgbouncer_pools_server_idle_connections",
    },
    "oliver006/redis_exporter:v1.80.0-alpine": {"redis_up", "redis_memory_max_bytes", "redis_memory_used_bytes"},
    "traefik:v3.7.15": {"traefik_entrypoint_requests_total", "traefik_open_connections"},
}
OF_PROMETHEUS = {"up", "ALERTS"}
OF_MAINTENANCE, OF_THE_WORKER = (
    {f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()}
    for registry in (maintain.Metrics().registry, work.Metrics().registry)
)

register_default_plugins()


def promtool(*arguments: str | Path) -> str:
    """What promtool says, which has to be content."""
    finished = subprocess.run(["promtool", *arguments], check=False, capture_output=True, text=True, cwd=PROMETHEUS)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def used() -> set[Selector]:
    """Everything that is selected anywhere, but for what rules record."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    return {found for _, text in expressions() for found in selectors(text) if found.metric not in recorded}


# ---------------------------------------------------------------- rules


def test_prometheus_takes_the_configuration() -> None:
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")


@pytest.mark.parametrize("name", ["alerts.test.yml", "alerts.long.test.yml"])
def test_alerts_fire_when_they_should_and_only_then(name: str) -> None:
    assert "SUCCESS" in promtool("test", "rules", name)


def test_each_alert_has_a_test_that_it_fires_and_one_that_it_does_not() -> None:
    tested = [
        case
        for path in PROMETHEUS.glob("*.test.yml")
        for group in yaml.safe_load(path.read_text())["tests"]
        for case in group["alert_rule_test"]
    ]
    assert {case["alertname"] for case in tested if "exp_alerts" in case} == set(alerts())
    assert {case["alertname"] for case in tested if "exp_alerts" not in case} == set(alerts())


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_what_it_is_and_where_to_read_on(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    assert "$value" in rule["annotations"]["description"]
    assert rule["annotations"]["runbook_url"] == f"deploy/RUNBOOK.md#{name.lower()}"


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    sections = re.findall(r"^## (\w+)\n(.*?)(?=^#|\Z)", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL)
    assert [name for name, _ in sections] == list(alerts())
    for name, section in sections:
        assert re.findall(r"^\*(\w+):\*", section, re.MULTILINE) == ["Users", "Cause", "Do"], name


def test_the_queries_of_the_runbook_work(database: Database) -> None:
    queries = re.findall(r"`(select [^`]*\sfrom\s[^`]*)`", RUNBOOK.read_text())
    assert len(queries) == 8
    for query in queries:
        database.query(query.replace("(..)", "(null)"))


# ---------------------------------------------------------------- dashboards


def test_grafana_finds_its_data_source_and_its_dashboards() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    assert "./deploy/services/grafana/provisioning:/etc/grafana/provisioning:ro" in compose["volumes"]
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["uid"], source["url"]) == ("prometheus", "prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/mana.yml").read_text())["providers"]
    assert f"./deploy/services/grafana/dashboards:{provider['options']['path']}:ro" in compose["volumes"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_what_grafana_can_read(name: str) -> None:
    """Grafana's own model of it drops what it does not know, a misspelt option say."""
    read = Dashboard.from_json(DASHBOARDS[name])
    _assert_within(DASHBOARDS[name], json.loads(JSONEncoder().encode(read)), name)


def _assert_within(written: Any, read: Any, where: str) -> None:
    if isinstance(written, dict):
        for key, value in written.items():
            if value is not None:
                assert key in read, f"{where}: {key}"
                _assert_within(value, read[key], f"{where}.{key}")
    elif isinstance(written, list):
        assert len(written) == len(read), where
        for number, (one, other) in enumerate(zip(written, read, strict=True)):
            _assert_within(one, other, f"{where}[{number}]")
    else:
        assert written == read, where


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_in_order(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert dashboard["uid"] == f"mana-{name}"
    assert dashboard["schemaVersion"] == 42  # Grafana 12
    assert dashboard["title"]
    assert dashboard["description"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert ids == list(range(1, len(ids) + 1))
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    assert not [pair for pair in combinations(places, 2) if _overlap(*pair)]
    # No holes either: what is in no panel is at the bottom.
    assert sum(place["w"] * place["h"] for place in places) == 24 * max(place["y"] + place["h"] for place in places)


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["type"] in {"stat", "timeseries"}
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in vars(units).values()
    steps = [step["value"] for step in defaults.get("thresholds", {"steps": []})["steps"]]
    assert steps[:1] in ([], [None])
    # A bound that is shown is one that an alert has.
    bounds = {number for rule in alerts().values() for number in _numbers(rule["expr"])}
    assert set(steps[1:]) <= bounds | {1}
    assert [target["refId"] for target in panel["targets"]] == list("ABCD"[: len(panel["targets"])])


def _numbers(expression: str) -> set[float]:
    return {eval(text, {}) for text in re.findall(r">=? ([\d.]+(?: \* [\d.]+)?)", expression)}  # noqa: S307


def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    every = [{"record": f"expression_{number}", "expr": text} for number, (_, text) in enumerate(expressions())]
    file = tmp_path / "expressions.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "expressions", "rules": every}]}))
    assert f"{len(every)} rules found" in promtool("check", "rules", "--lint=none", file)


# ---------------------------------------------------------------- what they name exists


def test_selectors_are_found_in_expressions() -> None:
    expression = (
        'sum by (le, job) (rate(a_total{x="1", y=~"b|c"}[5m] offset 1h)) > 5 / 96 * f:g{h!="}"}'
        ' and on (job) {__name__=~"i|j"} or vector(0)'
    )
    x, h = (("x", "=", "1"), ("y", "=~", "b|c")), (("h", "!=", "}"),)
    assert selectors(expression) == {Selector("a_total", x), Selector("f:g", h), Selector("i", ()), Selector("j", ())}
    assert Selector("a", x).selects({"x": "1", "y": "c", "z": "2"})
    assert not Selector("a", x).selects({"x": "1", "y": "cc"})
    assert not Selector("a", h).selects({"h": "}"})


def test_metrics_of_exporters_are_those_of_the_images_that_run() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    images = {re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", service.get("image", "")) for service in services}
    assert set(EXPORTERS) <= images
    named = {found.metric for found in used() if not found.metric.startswith("mana_")}
    assert named == OF_PROMETHEUS.union(*EXPORTERS.values())


def test_everything_that_maintenance_says_is_shown() -> None:
    named = {found.metric for found in used()}
    assert named >= OF_MAINTENANCE


async def test_everything_that_is_asked_of_a_gateway_is_there(database: Database, redis: Redis) -> None:
    """One of each kind of request, and then each selector finds a sample."""
    limits = {"WORKERS": "2", "RATE_LIMIT_MAX": "40", "RATE_LIMIT_AUTH_MAX": "4", **redis.environment}
    with Gateway(database.gateway_url, limits) as gateway:
        async with Service(gateway.url) as service:
            before = await _samples(service)
            session = await service.new_session()
            database.move_clock(timedelta(days=1, minutes=1))  # for a daily grant
            assert (await session.use(1)).status == 200
            assert (await session.use(10**6)).status == 402
            with held_balance(database, session.user_id):
                assert (await session.use(1)).status == 503
            assert (await service.login(session.email, "not the password")).status == 401
            assert (await service.refresh(session.refresh_token)).status == 200
            database.move_clock(timedelta(days=1, minutes=2))
            assert (await service.refresh(session.refresh_token)).status == 401  # used twice
            session = await service.session(session.email)
            assert (await session.post("/api/v1/auth/logout")).status == 200
            for path, body in (("auth/login", {"email": session.email, "password": "wrong"}), ("auth/refresh", {})):
                while (await service.post(f"/api/v1/{path}", body)).status != 429:
                    pass
            while (await service.get("/api/v1/credits/packages")).status != 429:
                pass
            samples = await _samples(service)
    others = OF_MAINTENANCE | OF_THE_WORKER
    asked = {found for found in used() if found.metric.startswith("mana_") and found.metric not in others}
    assert {found for found in asked if not any(found.selects(labels) for labels in samples[found.metric])} == set()
    # What has not happened yet counts 0: an alert could not see the first time of a counter that is not there.
    for name in ("mana_security_events_total", "mana_rate_limited_total", "mana_credits_granted_total"):
        assert samples[name] == before[name], name


async def _samples(service: Service) -> dict[str, list[dict[str, str]]]:
    """The labels of all samples by name."""
    text = (await service.get("/metrics", headers={"Connection": "close"})).text
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in sorted(family.samples, key=lambda sample: sorted(sample.labels.items())):
            found[sample.name].append(sample.labels)
    return found
