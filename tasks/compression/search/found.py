"""This module writes a search's result for about.json, trials.json and the run's pages."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.compression.options import Search
from tasks.compression.recipe import Compressed
from tasks.compression.search.limits import Binding, Bound, Measured, binding, violation
from tasks.compression.search.trial import Trial
from tasks.compression.timing import Latency, machine


@dataclass(frozen=True)
class Found:
    """Found is the end of a search. Without `chosen` no trial is within all `limits`.

    `result`, `latency`: of the bytes to be written. `refused`: trial -> what the final measurement said of those that
    were within the limits before. `cut`: the clock ended the search.
    """

    settings: Search
    limits: tuple[Bound, ...]
    student: Measured
    trials: tuple[Trial, ...]
    cut: bool
    chosen: Trial | None = None
    result: Compressed | None = None
    latency: Latency | None = None
    refused: Mapping[int, Measured] = field(default_factory=dict)

    @property
    def binding(self) -> tuple[Binding, ...]:
        """Return the limits in the way of every trial; empty if there is a choice."""
        if self.chosen:
            return ()
        return binding(self.limits, [self.refused.get(trial.number, trial.measured) for trial in self.trials])

    @property
    def reason(self) -> str:
        """Say why there is no candidate; empty if there is one."""
        if self.chosen:
            return ""
        ways = [str(item) for item in self.binding]
        if any(item.alone for item in self.binding):
            told = " or ".join(ways) + " would have to give way"
        else:
            told = " and ".join(ways) + " would have to give way together"
        return f"the search's {len(self.trials)} trials are all over its limits: {told}"

    def about(self) -> dict[str, Any]:
        """Return about.json without the recipe's name: a candidate like any other, or why there is none."""
        pruned = sum(trial.state == "pruned" for trial in self.trials)
        told: dict[str, Any] = {
            "minimise": self.settings.minimise,
            "limits": {bound.name: bound.most for bound in self.limits},
            "trials": len(self.trials),
            "pruned": pruned,
            "epochs": sum(trial.spent for trial in self.trials),
            "epochs_unpruned": sum(trial.full for trial in self.trials),
            "depends_on_clock": self._clock(),
        }
        if self.chosen is None or self.result is None:
            nearest = [_binding(item) for item in self.binding]
            return {"feasible": False, "reason": self.reason, "steps": [], "search": {**told, "binding": nearest}}
        steps = [step.model_dump(mode="json") for step in self.chosen.steps]
        return {
            **self.result.about(),
            "feasible": True,
            "steps": [step.kind for step in self.chosen.steps],
            "search": {**told, "trial": self.chosen.number, "steps": steps},
        }

    def _clock(self) -> list[str]:
        """Return the settings that make the result depend on the clock."""
        told = ["minutes: the ceiling was reached"] if self.cut else []
        told += ["limits.latency_ratio"] if any(bound.timed for bound in self.limits) else []
        return told + (["minimise: latency"] if self.settings.minimise == "latency" else [])

    def trials_json(self) -> dict[str, Any]:
        """Return the content of trials.json: the measurements of every trial, without a clock's numbers."""
        return {
            "minimise": self.settings.minimise,
            "limits": [{"name": item.name, "quantity": item.quantity, "most": item.most} for item in self.limits],
            "student": {"error": _finite(self.student.error), "bytes": self.student.bytes},
            "chosen": self.chosen.number if self.chosen else None,
            "trials": [
                {
                    "number": trial.number,
                    "steps": [step.model_dump(mode="json") for step in trial.steps],
                    "numbers": trial.numbers,
                    "state": trial.state,
                    "feasible": violation(self.limits, trial.measured) == 0,
                    "error": _finite(trial.measured.error),
                    "bytes": trial.measured.bytes,
                    "parameters": trial.measured.parameters,
                    "parity": _finite(trial.measured.parity),
                    "epochs": trial.spent,
                    "rungs": [
                        {"epochs": rung.epochs, "error": _finite(rung.error), "bytes": rung.bytes}
                        for rung in trial.rungs
                    ],
                }
                for trial in self.trials
            ],
        }

    def latency_json(self) -> dict[str, Any]:
        """Return the clock's numbers, for the pages: p50 of each trial, of the chosen bytes, and broken limits."""
        return {
            "machine": machine(),
            "batch": self.settings.batch,
            "trials": [
                {
                    "number": trial.number,
                    "p50_us": round(trial.p50_us, 2),
                    "ratio_p50": round(trial.latency_ratio, 3),
                    "seconds": round(trial.seconds, 2),
                }
                for trial in self.trials
            ],
            "chosen": self.latency.to_json() if self.latency else None,
            "nearest": {item.bound.name: _finite(item.nearest) for item in self.binding if item.bound.timed},
        }


def _binding(item: Binding) -> dict[str, Any]:
    told = {"limit": item.bound.name, "most": item.bound.most, "alone": item.alone}
    return told if item.bound.timed else {**told, "nearest": _finite(item.nearest)}


def _finite(value: float) -> float | None:
    """Return None for numbers that JSON cannot hold."""
    return value if math.isfinite(value) else None
