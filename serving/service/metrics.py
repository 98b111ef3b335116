"""This module gives operations the figures of a service, for Prometheus."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from serving.service.drift import Asked

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class _Drift(Collector):
    """This reads the indices whenever somebody asks for the metrics, and never before."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield one gauge with a point for each field."""
        found = GaugeMetricFamily(
            "nightstill_drift",
            "Population stability index of what is asked and answered, against the release's profile",
            labels=["kind", "field"],
        )
        for kind, name, index in self._asked.indices():
            found.add_metric([kind, name], index)
        yield found


class Metrics:
    """These are counters of one service in a registry of its own. Times are seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.asked = Asked()
        self.registry.register(_Drift(self.asked))
        self.requests = Counter("nightstill_requests", "Requests answered", ["path", "code"], registry=self.registry)
        self.latency = Histogram(
            "nightstill_request_seconds",
            "From a request's headers to the last byte of its answer",
            ["path"],
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.rows = Counter("nightstill_rows", "Rows predicted", registry=self.registry)
        self.release = Gauge("nightstill_release", "Number of the release that answers", registry=self.registry)
        self.entry = Gauge("nightstill_ledger_entry", "Ledger entry that made it champion", registry=self.registry)
        self._age = Gauge(
            "nightstill_release_age_seconds", "Since the end of the release's last day of data", registry=self.registry
        )
        self.reloads = Counter("nightstill_reloads", "Releases that took over while serving", registry=self.registry)
        self.failures = Counter(
            "nightstill_reload_failures", "Polls that could not load the newest state", registry=self.registry
        )

    def follow_age(self, as_of: Callable[[], str | None]) -> None:
        """Take the loaded release's last day of data from `as_of` whenever the age is read; None: nothing is loaded."""
        self._age.set_function(lambda: age_seconds(as_of(), datetime.now(UTC)))

    def text(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self.registry)


def age_seconds(as_of: str | None, now: datetime) -> float:
    """Return seconds since the end (UTC) of day `as_of`; NaN without one."""
    if as_of is None:
        return float("nan")
    end = datetime.combine(date.fromisoformat(as_of) + timedelta(days=1), time(), UTC)
    return (now - end).total_seconds()
