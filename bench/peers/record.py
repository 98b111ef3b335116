"""This module records one peer on one set, as a JSON file that stands whole or not at all."""

import os
import resource
from collections.abc import Callable, Mapping
from importlib.metadata import distributions
from statistics import median
from time import process_time
from typing import Any

from bench.metrics import score
from bench.pairs import cells_of
from bench.peers import get_peer
from bench.sets import load

LIBRARIES = ("catboost", "lightgbm", "neuralforecast", "numpy", "statsforecast", "torch")
SINGLE_CALLS, SINGLE_SECONDS = 200, 5.0


def measure(name: str, peer: str, seed: int, tuned: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run a peer in this process and describe it. Peak memory is the process's own, so run one peer a process.

    Seconds are of the processor, all threads together: other work on the machine does not count.
    `tuned`: the record of another seed; its settings are taken over and its seconds of tuning are counted again.
    `rows_per_second`: a row is one window of one series; `full` is all test windows at once, tables and features
    included, `batch_1` the median of single calls. Raises what the set or the peer raises.
    """
    data = load(name)
    fit_predict = get_peer(peer)
    before = _peak()
    result = fit_predict(data.sealed(), seed, tuned["settings"] if tuned else None)
    tuning = tuned["train_seconds"] - tuned["fit_seconds"] if tuned else 0.0
    peak = _peak()
    rows = len(data.origins.test) * len(data.series)
    return {
        "set": name,
        "peer": peer,
        "seed": seed,
        "metric": data.metric,
        "errors": score(data, result.forecasts),
        "cells": cells_of(data, result.forecasts),
        "parameters": result.parameters,
        "bytes": result.size,
        "train_seconds": tuning + result.train_seconds,
        "fit_seconds": result.fit_seconds,
        "predict_seconds": result.predict_seconds,
        "rows": rows,
        "rows_per_second": {
            "full": rows / result.predict_seconds,
            "batch_1": 1 / _seconds(result.single) if result.single else None,
        },
        "peak_memory_mb": peak,
        "memory_before_mb": before,
        "settings": dict(result.settings),
        "tried": tuned["tried"] if tuned else dict(result.tried),
        "chosen_on": "validation",
        "threads": len(os.sched_getaffinity(0)),
        "versions": {package.name: package.version for package in distributions() if package.name in LIBRARIES},
    }


def _peak() -> float:
    """Return megabytes (10^6)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _seconds(call: Callable[[], object]) -> float:
    """Return the median time of one call, after one that does not count."""
    call()
    times: list[float] = []
    while len(times) < SINGLE_CALLS and sum(times) < SINGLE_SECONDS:
        start = process_time()
        call()
        times.append(process_time() - start)
    return median(times)
