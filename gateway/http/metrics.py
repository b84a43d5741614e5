"""Metrics of the gateway, for Prometheus."""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.api.route import Limit

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"  # set by `mana serve` before workers start
CONTENT_TYPE = CONTENT_TYPE_LATEST

# Labels to create at the start: a counter that appears with its first event never shows an increase.
EVENTS = (
    "registered", "logged_in", "login_failed", "login_refused", "logged_out",
    "refresh_refused", "refresh_token_repeated", "refresh_token_reused",
)  # fmt: skip
DROPPED = ("late", "too_large", "crowded", "unread")
GRANTS = ("signup_bonus", "daily_grant", "purchase")
PAYMENTS = ("booked", "noted", "repeated", "unknown", "foreign", "to_review")

_PAYMENT = "payment_"

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The metrics of one worker; with several, /metrics adds them up."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._answers: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._requests = Counter(
            "mana_http_requests", "Requests answered", ["route", "method", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "mana_http_request_seconds",
            "Time to answer",
            ["route"],
            registry=self._registry,
            buckets=_BUCKETS,
        )
        self.problems = Counter("mana_problems", "Requests answered with a problem", ["code"], registry=self._registry)
        self.limited = Counter(
            "mana_rate_limited", "Requests refused by a rate limit", ["limit"], registry=self._registry
        )
        for limit in Limit:
            self.limited.labels(limit.value)
        self.events = Counter(
            "mana_security_events", "Events of accounts, as auth.security_events records them", ["event"],
            registry=self._registry,
        )  # fmt: skip
        self.granted = Counter("mana_credits_granted", "Credits given", ["grant"], registry=self._registry)
        for event in EVENTS:
            self.events.labels(event)
        for grant in GRANTS:
            self.granted.labels(grant)
        self.payments = Counter(
            "mana_payment_events", "News of the payment provider, by what became of it", ["outcome"],
            registry=self._registry,
        )  # fmt: skip
        for outcome in PAYMENTS:
            self.payments.labels(outcome)
        self.spent = Counter("mana_credits_spent", "Credits spent over HTTP", registry=self._registry)
        self.open_connections = Gauge(
            "mana_http_connections", "Connections of clients that are open",
            registry=self._registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self.dropped = Counter(
            "mana_http_connections_dropped", "Connections closed before a request or a response was over", ["reason"],
            registry=self._registry,
        )  # fmt: skip
        for reason in DROPPED:
            self.dropped.labels(reason)
        self.log_lines_lost = Counter(
            "mana_log_lines_lost", "Lines of the log that could not be written", registry=self._registry
        )
        self.redis_up = Gauge(
            "mana_redis_up", "0 while memory keeps the limits that Redis should",
            registry=self._registry, multiprocess_mode="livemin",
        )  # fmt: skip
        self.calls = Gauge(
            "mana_database_calls", "Calls on their way to the database, or waiting to be", ["lane", "state"],
            registry=self._registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self.connections = Gauge(
            "mana_database_connections", "Connections to the database that are up", ["lane"],
            registry=self._registry, multiprocess_mode="livesum",
        )  # fmt: skip

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a response and the seconds it took."""
        answer = route, method, status
        found = self._answers.get(answer)
        if not found:
            # Looking a counter up by its labels takes longer than counting.
            found = self._answers[answer] = self._requests.labels(*answer), self._seconds.labels(route)
        found[0].inc()
        found[1].observe(seconds)

    def count(self, events: str) -> None:
        """Count the events of a reply: names, and grants with their amount."""
        for word in events.split():
            event, _, amount = word.partition("=")
            if event.startswith(_PAYMENT):
                self.payments.labels(event.removeprefix(_PAYMENT)).inc()
            elif amount:
                self.granted.labels(event).inc(int(amount))
            else:
                self.events.labels(event).inc()

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self._registry)
        all_workers = CollectorRegistry()
        MultiProcessCollector(all_workers)
        return generate_latest(all_workers)
