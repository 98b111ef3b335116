"""The energy of a thousand predictions, the teacher's beside the candidate's, from the times that evaluation measured.

No model is run again for it, and nothing of it enters a lock: the times are on a page, as they differ from run to run.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.core.errors import ConfigError
from tasks.pipeline.handover.energy import watts

THOUSAND = 1000


def per_thousand(latency: Mapping[str, Any], teachers: Sequence[str], candidate: str) -> dict[str, float]:
    """Return the joules of a thousand predictions of `candidate`, `teacher` and `champion`, as far as they were timed.

    `latency`: the page of evaluation's times. They are estimated: median seconds of a call at the largest batch, times
    its threads, times the watts of a busy core. The ensemble is its members one after the other; one of which a member
    has no time is left out. Empty where the setting of watts is no number.
    """
    largest: dict[str, Mapping[str, Any]] = {}
    for row in latency.get("models", ()):
        if row["batch"] >= largest.get(row["model"], row)["batch"]:
            largest[row["model"]] = row
    try:
        power = latency.get("threads", 1) * watts()
    except ConfigError:
        return {}
    parts = {
        "candidate": [candidate],
        "teacher": [f"teacher {name}" for name in teachers],
        "champion": ["champion"],
    }
    return {
        name: sum(_seconds(largest[part]) for part in models) * power
        for name, models in parts.items()
        if models and all(part in largest and math.isfinite(_seconds(largest[part])) for part in models)
    }


def _seconds(row: Mapping[str, Any]) -> float:
    return float(row["p50_us"]) / 1e6 / float(row["batch"]) * THOUSAND


def told(joules: Mapping[str, float]) -> str:
    """Return the energy of a thousand predictions in a sentence; empty without the candidate's."""
    if "candidate" not in joules:
        return ""
    mine = joules["candidate"]
    said = f"A thousand predictions take the candidate {mine:.3g} J"
    if "teacher" in joules:
        said += f" and the teachers {joules['teacher']:.3g} J"
        said += f", {joules['teacher'] / mine:,.0f} times as much" if mine > 0 else ""
    if "champion" in joules:
        said += f"; the champion takes {joules['champion']:.3g} J"
    return f"{said}. This is estimated: CPU seconds at the largest batch, times the watts of a core."
