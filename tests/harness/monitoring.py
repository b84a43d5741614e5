"""What deploy/ says of monitoring, read for tests: expressions of alerts and dashboards, and what they select."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from harness.places import ROOT

PROMETHEUS = ROOT / "deploy" / "services" / "prometheus"
GRAFANA = ROOT / "deploy" / "services" / "grafana"

_TEXT = r'"(?:[^"\\]|\\.)*"'
# A metric with its labels, or without; what is followed by a parenthesis is a function.
_SELECTOR = re.compile(rf"([a-zA-Z_:][\w:]*+)?\{{((?:[^}}\"]|{_TEXT})*)\}}|\b([a-zA-Z_:][\w:]*+)(?!\s*\()")
_MATCHER = re.compile(rf"(\w+)\s*(=~|!~|!=|=)\s*({_TEXT})")
_GROUPING = re.compile(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)")
_NO_METRIC = {"and", "or", "unless", "bool", "offset"}


@dataclass(frozen=True)
class Selector:
    """One metric of an expression, and the labels it has to have: name, operator, value."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]

    def selects(self, labels: dict[str, str]) -> bool:
        """Whether a sample of the metric with these labels is meant."""
        return all(_matches(labels.get(name, ""), operator, value) for name, operator, value in self.matchers)


def _matches(label: str, operator: str, value: str) -> bool:
    equal = bool(re.fullmatch(value, label)) if "~" in operator else label == value
    return equal != operator.startswith("!")


def selectors(expression: str) -> set[Selector]:
    """All of an expression. ``{__name__=~"a|b"}`` is one of a and one of b."""
    found = set()
    for match in _SELECTOR.finditer(_GROUPING.sub("", re.sub(r"\[[^]]*\]|offset \w+", "", expression))):
        named, labels, bare = match.groups()
        if bare in _NO_METRIC:
            continue
        matchers = [(name, operator, json.loads(value)) for name, operator, value in _MATCHER.findall(labels or "")]
        names = [value for name, _, value in matchers if name == "__name__"]
        rest = tuple(matcher for matcher in matchers if matcher[0] != "__name__")
        found |= {Selector(metric, rest) for metric in (names[0].split("|") if names else [named or bare])}
    return found


def rules() -> list[dict[str, Any]]:
    """All recording and alerting rules."""
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """The alerting rules by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def dashboards() -> dict[str, dict[str, Any]]:
    """The dashboards by the name of their file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression, as Prometheus sees it, and where it stands."""
    for rule in rules():
        yield f"alerts.yml: {rule.get('alert') or rule['record']}", rule["expr"]
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                # Grafana puts in how much of time is shown.
                yield f"{name}: {panel['title']}", re.sub(r"\$__(rate_interval|range)", "1m", target["expr"])
