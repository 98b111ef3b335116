"""The numbers of each workload's last night leave by standards: a text file for Prometheus, OTLP for a collector."""

import http.client
import json
import math
import os
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from tasks.nights.collect import Night, Nights
from tasks.nights.standing import usual_pause

ENDPOINT, HEADERS = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"
TIMEOUT_SECONDS = 2.0
OUTCOMES = ("promoted", "rejected", "unchanged", "superseded", "held", "dry-run", "stopped", "open")
LIVE_OUTCOMES = ("fine", "regression", "held", "rolled-back")
MEGABYTE = 1024**2
DAY_SECONDS, GRACE_SECONDS = 86_400, 43_200

HELP = {
    "nightstill_night_outcome": "1 for the outcome of the last night, 0 for others",
    "nightstill_night_timestamp_seconds": "When the last night was opened",
    "nightstill_night_late_after_seconds": "A further night is late so long after the last one, by the usual pause",
    "nightstill_late_data": "1 if the data of a night did not come, and none went well since; 0 otherwise",
    "nightstill_night_rejected_in_a_row": "How many of the last nights were rejected one after the other",
    "nightstill_night_error": "Error of the candidate, the champion and the naive baseline",
    "nightstill_night_gate_margin": "How far a gate's number is on the right side of its limit; below 0: refused",
    "nightstill_night_drift_psi": "Population stability index of the input that drifted most",
    "nightstill_night_bytes": "Bytes of the candidate",
    "nightstill_night_stage_seconds": "Wall time of a stage, its members together",
    "nightstill_night_stage_peak_memory_bytes": "Peak memory of a stage, of its largest member",
    "nightstill_night_stage_energy_joules": "Energy of a stage, its members together",
    "nightstill_champion_release": "Number of the release that is champion",
    "nightstill_champion_timestamp_seconds": "When it became champion",
    "nightstill_champion_pinned": "1 if it is pinned",
    "nightstill_live_outcome": "1 for what the watch found last, 0 for others",
    "nightstill_live_error": "Error of the champion's forecasts against the truth that came",
}


class Number(NamedTuple):
    """A Number is one point of a gauge."""

    name: str
    labels: Mapping[str, str]
    value: float


def numbers(found: Nights, *, scheduled: bool) -> list[Number]:
    """Return the numbers of a workload's last night; what it did not come to, and what is not finite, is left out.

    `scheduled`: whether a night is expected every day, which a rule may want to know.
    """
    points: list[tuple[str, float | None, dict[str, str]]] = [("late_data", bool(found.late_data), {})]
    if found.nights:
        points += _night(found.nights, scheduled=scheduled)
        late_after = usual_pause(found) * DAY_SECONDS + GRACE_SECONDS
        points.append(("night_late_after_seconds", late_after, {"scheduled": str(scheduled).lower()}))
    if champion := found.champion:
        points += [
            ("champion_release", champion.release, {}),
            ("champion_timestamp_seconds", _became(found), {}),
            ("champion_pinned", found.pinned, {}),
        ]
    return [
        Number(f"nightstill_{name}", {"workload": found.workload, **labels}, float(value))
        for name, value, labels in points
        if value is not None and math.isfinite(value)
    ]


def exposition(found: Iterable[Number]) -> str:
    """Return Prometheus' text format, version 0.0.4; the points of a gauge together."""
    points = list(found)
    lines: list[str] = []
    for name in dict.fromkeys(point.name for point in points):
        lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} gauge"]
        lines += [f"{name}{{{_labels(point)}}} {point.value!r}" for point in points if point.name == name]
    return "\n".join(lines) + "\n"


def write(path: Path, found: Iterable[Number]) -> None:
    """Write the text format, for node_exporter's textfile collector, which never sees half of it."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(exposition(found))
    part.replace(path)


def otlp(found: Iterable[Number], now: datetime) -> dict[str, Any]:
    """Return the body of an OTLP request, version 1, in its JSON form."""
    points = list(found)
    nanoseconds = str(int(now.timestamp()) * 10**9)
    metrics = [
        {
            "name": name,
            "description": HELP[name],
            "gauge": {
                "dataPoints": [
                    {
                        "timeUnixNano": nanoseconds,
                        "asDouble": point.value,
                        "attributes": [_attribute(*label) for label in point.labels.items()],
                    }
                    for point in points
                    if point.name == name
                ]
            },
        }
        for name in dict.fromkeys(point.name for point in points)
    ]
    resource = {"attributes": [_attribute("service.name", "nightstill")]}
    scope = {"scope": {"name": "nightstill"}, "metrics": metrics}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]}


def send(found: Iterable[Number], *, timeout: float = TIMEOUT_SECONDS) -> str:
    """Send the numbers to the collector that ENDPOINT names, once. Returns why they were not taken; empty if they were.

    HEADERS go with them (`name=value,…`, URL-encoded), such as a token. Without ENDPOINT nothing is sent. A collector
    that is down raises nothing; `timeout` is in seconds per operation: to connect, and each wait for its answer.
    """
    endpoint = os.environ.get(ENDPOINT, "")
    if not endpoint:
        return ""
    body = json.dumps(otlp(found, datetime.now(UTC))).encode()
    try:
        headers = {**_headers(os.environ.get(HEADERS, "")), "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310 the operator's address
            f"{endpoint.rstrip('/')}/v1/metrics", body, headers
        )
        with urllib.request.urlopen(request, timeout=timeout):  # noqa: S310 the operator's address
            return ""
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"the numbers were not sent to {ENDPOINT}: {type(error).__name__}"


def _headers(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {unquote(name.strip()): unquote(value.strip()) for name, _, value in pairs}


def _night(nights: Sequence[Night], *, scheduled: bool) -> list[tuple[str, float | None, dict[str, str]]]:
    last = nights[-1]
    live = next((night.live for night in reversed(nights) if night.live), None)
    errors = {"candidate": last.error, "champion": last.champion, "naive": last.naive}
    return [
        *(("night_outcome", last.outcome == outcome, {"outcome": outcome}) for outcome in OUTCOMES),
        ("night_timestamp_seconds", _seconds(last.created), {"scheduled": str(scheduled).lower()}),
        ("night_rejected_in_a_row", _rejected(nights), {}),
        *(("night_error", error, {"of": name, "metric": last.metric}) for name, error in errors.items()),
        *(("night_gate_margin", margin, {"gate": gate}) for gate, margin in last.margins.items()),
        ("night_drift_psi", last.drift, {}),
        ("night_bytes", last.size, {}),
        *(("night_stage_seconds", value, {"stage": stage}) for stage, value in last.seconds.items()),
        *(
            ("night_stage_peak_memory_bytes", value * MEGABYTE, {"stage": stage})
            for stage, value in last.memory_mb.items()
        ),
        *(
            ("night_stage_energy_joules", value, {"stage": stage, "how": last.energy})
            for stage, value in last.joules.items()
        ),
        *(("live_outcome", live.outcome == outcome, {"outcome": outcome}) for outcome in LIVE_OUTCOMES if live),
        ("live_error", live.error if live else None, {"metric": last.metric}),
    ]


def _rejected(nights: Sequence[Night]) -> int:
    number = 0
    for night in reversed(nights):
        if night.outcome != "rejected":
            break
        number += 1
    return number


def _became(found: Nights) -> float:
    """Return when the champion became it: a pin or a prune since leaves it where it is."""
    since = found.entries[-1]
    for entry in reversed(found.entries):
        if entry.release != since.release:
            break
        since = entry
    return _seconds(since.created)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _labels(point: Number) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in point.labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _attribute(name: str, value: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": value}}
