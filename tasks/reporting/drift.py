"""Drift of inputs and predictions for the page, read from what evaluation wrote."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FULL_BAR = 0.5
"""The index at which a bar is full: twice the limit of a large drift."""
TONES = {"none": "good", "moderate": "warn", "large": "bad"}


@dataclass(frozen=True)
class DriftRow:
    """How far a column or output is from the champion's. `level`: none, moderate or large. `ks`: of numbers alone."""

    name: str
    kind: str
    psi: float
    ks: float | None
    level: str

    @property
    def tone(self) -> str:
        """Class of the chip."""
        return TONES.get(self.level, "warn")

    @property
    def width(self) -> float:
        """Length of the bar, percent."""
        return min(100.0, 100 * self.psi / FULL_BAR)


@dataclass(frozen=True)
class DriftTable:
    """`note`: why nothing could be compared."""

    rows: tuple[DriftRow, ...] = ()
    note: str = ""


def drift_table(found: Mapping[str, Any] | None) -> DriftTable | None:
    """Rows of drift.json in its order; None without one, and on a first night."""
    if not found or not (found["lines"] or found["note"]):
        return None
    rows = (DriftRow(row["name"], row["kind"], row["psi"], row["ks"], row["level"]) for row in found["lines"])
    return DriftTable(tuple(rows), found["note"])
