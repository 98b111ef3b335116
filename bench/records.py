"""This module reads records of competitors for the page and its targets."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.ours.speed import SPEED
from bench.sets import SETS

OURS = ("teacher", "twin", "student", "released")
CONFIDENCE_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""These are the two-sided 95 % values of Student's t, by number of seeds."""

Record = dict[str, Any]


def read(results: Path) -> tuple[list[Record], list[Record]]:
    """Return measured records, with the speeds that were measured apart, and stopped ones."""
    speeds = json.loads((results / SPEED).read_text()) if (results / SPEED).is_file() else {}
    records: list[Record] = []
    for path in sorted(results.glob("*-*.json")):
        record = json.loads(path.read_text())
        records.append(record | speeds.get(f"{record['set']}-{record['seed']}-{record['peer']}", {}))
    measured = [record for record in records if "errors" in record]
    return measured, [record for record in records if "errors" not in record]


def sets_of(records: Sequence[Record]) -> list[str]:
    """Return the sets in the benchmark's order."""
    return [name for name in SETS if any(record["set"] == name for record in records)]


def by_peer(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the records of each competitor, ours last."""
    peers = sorted(
        {record["peer"] for record in records},
        key=lambda peer: (peer in OURS, peer not in OURS or OURS.index(peer), peer),
    )
    return {peer: [record for record in records if record["peer"] == peer] for peer in peers}


def metric(records: Sequence[Record]) -> str:
    """Return the metric that the set is scored by."""
    return _metric(records[0])


def error(record: Record) -> float:
    """Return the error by the set's metric."""
    value: float = record["errors"][_metric(record)]
    return value


def _metric(record: Record) -> str:
    """Return what a record says; of those before it did, sets with quantiles were all scored by WAPE."""
    return record.get("metric") or ("wape" if "wape" in record["errors"] else "mse")


def paired(value: Callable[[Record], float], one: Sequence[Record], other: Sequence[Record]) -> list[float]:
    """Return ratios of a value, seed by seed."""
    first, second = ({record["seed"]: record for record in records} for records in (one, other))
    return [value(first[seed]) / value(second[seed]) for seed in sorted(first.keys() & second.keys())]


def middle(value: Callable[[Record], float], records: Sequence[Record]) -> float:
    """Return the median over seeds."""
    return float(median(value(record) for record in records))


def interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean, and the 95 % interval over seeds; without bounds (infinite) for one seed."""
    mean = float(np.mean(ratios))
    if len(ratios) not in CONFIDENCE_T:
        return mean, -np.inf, np.inf
    half = CONFIDENCE_T[len(ratios)] * float(np.std(ratios, ddof=1)) / len(ratios) ** 0.5
    return mean, mean - half, mean + half
