"""This gate limits the error under declared noise, missing values and shifts, as a ratio to the clean error."""

from collections.abc import Callable

from tasks.gates.options import Corruption
from tasks.gates.result import GateResult, at_most, refused
from tasks.problems.base import Batches, Score


def robustness(
    candidate: str, clean: Score, corruption: Corruption, inputs: Batches, score: Callable[[Batches], Score]
) -> GateResult:
    """The error on disturbed `inputs` must be within the limit. `score`: runs the candidate and scores its output."""
    name = f"robustness/{corruption.kind}"
    disturbance = f"{corruption.kind} of level {corruption.level:g}"
    rule = f"error under {disturbance} at most {corruption.limit:g} times the clean error"
    try:
        disturbed = score(inputs).error
    except Exception as error:  # noqa: BLE001 whatever the runtime raises on these bytes is a reason to refuse them
        return refused(name, candidate, rule, one_line(error), corruption.limit)
    ratio = disturbed / clean.error if clean.error > 0 else float("nan")
    return at_most(name, candidate, ratio, corruption.limit, rule, f"{disturbed:.6g} against {clean.error:.6g}")


def one_line(error: Exception) -> str:
    """Return the error's text without line breaks."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
