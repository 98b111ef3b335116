"""This gate refuses a candidate that is worse than the champion in some segment by more than the limit."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.core.errors import ConfigError
from tasks.gates.champion import Champion
from tasks.gates.options import SegmentGate
from tasks.gates.result import GateResult, at_most, refused, rounded
from tasks.problems.base import Score

Segments = Mapping[str, NDArray[np.str_]]


@dataclass(frozen=True)
class Segment:
    """A Segment holds errors for one value of a segment column. `change`: relative to the champion, NaN without one."""

    column: str
    value: str
    rows: int
    error: float
    champion: float
    change: float

    def to_json(self, limit: float) -> dict[str, Any]:
        """Return plain values; `passed` judges the change alone."""
        return {
            "column": self.column,
            "value": self.value,
            "rows": self.rows,
            "error": rounded(self.error),
            "champion": rounded(self.champion),
            "change": rounded(self.change),
            "passed": math.isnan(self.champion) or self.change <= limit,
        }


def check_columns(by: Sequence[str], known: Collection[str]) -> None:
    """Check the gate's columns. Raises ConfigError naming one that is not a segment column."""
    for column in by:
        if column not in known:
            there = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"gates.segments.by: no segment column {column!r}; there are: {there}")


def by_segment(score: Score, champion: Score | None, segments: Segments, gate: SegmentGate) -> list[Segment]:
    """Return every value of the gate's columns that has `min_rows` rows and a defined error (weight above 0).

    Raises ConfigError when the data has no such column.
    """
    result: list[Segment] = []
    for column in gate.by:
        check_columns((column,), segments)
        values, index, counts = np.unique(segments[column], return_inverse=True, return_counts=True)
        errors, weights = _errors(score, index, len(values))
        reference = _errors(champion, index, len(values))[0] if champion else np.full(len(values), np.nan)
        result.extend(
            Segment(
                column,
                str(values[at]),
                int(counts[at]),
                float(errors[at]),
                float(reference[at]),
                _change(float(errors[at]), float(reference[at])),
            )
            for at in np.flatnonzero((counts >= gate.min_rows) & (weights > 0))
        )
    return result


def segment_gates(
    candidate: str, score: Score, champion: Champion, segments: Segments, gate: SegmentGate
) -> list[GateResult]:
    """Return one result a column, about its worst segment."""
    return [_worst(candidate, column, score, champion, segments, gate) for column in gate.by]


def _worst(
    candidate: str, column: str, score: Score, champion: Champion, segments: Segments, gate: SegmentGate
) -> GateResult:
    name, rule = (
        f"segments/{column}",
        f"no {column} worse than under the champion by more than {gate.limit:g}, relatively",
    )
    found = by_segment(score, champion.score, segments, gate.model_copy(update={"by": (column,)}))
    if not found:
        why = f"no {column} has {gate.min_rows} rows on the evaluation set; lower gates.segments.min_rows"
        return refused(name, candidate, rule, why, gate.limit)
    if champion.absent:
        return GateResult(name, candidate, True, None, gate.limit, rule, f"no champion yet; {len(found)} segments")
    if champion.score is None:
        return refused(name, candidate, rule, champion.note, gate.limit)
    worst = max(found, key=lambda segment: math.inf if math.isnan(segment.change) else segment.change)
    note = f"worst of {len(found)}: {worst.value} ({worst.error:.6g} against {worst.champion:.6g})"
    return at_most(name, candidate, worst.change, gate.limit, rule, note)


def _errors(score: Score, index: NDArray[np.int64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # numpy's stub says integers, though a sum of weights is float64.
    loss: NDArray[Any] = np.bincount(index, weights=score.loss, minlength=count)
    weight: NDArray[Any] = np.bincount(index, weights=score.weight, minlength=count)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (loss / weight) ** score.exponent, weight


def _change(error: float, champion: float) -> float:
    if error == champion:
        return 0.0
    return error / champion - 1 if champion > 0 else float("inf") if champion == 0 else float("nan")
