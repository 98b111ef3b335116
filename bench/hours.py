"""What a benchmark took: hours of a processor by set, as its records hold them."""

from collections.abc import Sequence

from bench.records import OURS, Record, sets_of

HOUR = 3600


def line(measured: Sequence[Record], stopped: Sequence[Record]) -> str:
    """Return a sentence of the hours of each set and of all."""
    hours = {name: spent([one for one in measured if one["set"] == name]) for name in sets_of(measured)}
    for one in stopped:
        hours[one["set"]] = hours.get(one["set"], 0.0) + one["stopped_after_minutes"] * 60
    told = ", ".join(f"{name} {seconds / HOUR:.2f}" for name, seconds in hours.items())
    return f"Hours of a processor that went into it: {told}; together {sum(hours.values()) / HOUR:.1f}.\n"


def spent(measured: Sequence[Record]) -> float:
    """Return the seconds of one set's records: training, tuning once, and scoring; a stage of ours once a seed."""
    stages: dict[tuple[int, str], float] = {}
    tuned: set[str] = set()
    seconds = 0.0
    for one in sorted(measured, key=lambda one: one["seed"]):
        seconds += one["predict_seconds"]
        if one["peer"] in OURS and "seconds" in one:
            stages |= {(one["seed"], stage): took for stage, took in one["seconds"].items()}
        else:
            again = one["peer"] in tuned and "fit_seconds" in one
            seconds += one["fit_seconds"] if again else one["train_seconds"]
            tuned.add(one["peer"])
    return seconds + sum(stages.values())
