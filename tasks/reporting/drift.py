"""This module prepares drift of inputs and predictions for the page, from the file that evaluation wrote."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FULL_BAR = 0.5
"""A bar is full at this index: twice the limit of a large drift."""
TONES = {"none": "good", "moderate": "warn", "large": "bad"}


@dataclass(frozen=True)
class DriftRow:
    """A row is a column's or output's distance from the champion's. `level`: none, moderate, large. `ks`: numbers."""

    name: str
    kind: str
    psi: float
    ks: float | None
    level: str

    @property
    def tone(self) -> str:
        """Return the class of the chip."""
        return TONES.get(self.level, "warn")

    @property
    def width(self) -> float:
        """Return the length of the bar, percent."""
        return min(100.0, 100 * self.psi / FULL_BAR)


@dataclass(frozen=True)
class DriftTable:
    """A table of drift has rows, or a `note` on why nothing could be compared."""

    rows: tuple[DriftRow, ...] = ()
    note: str = ""


def drift_table(found: Mapping[str, Any] | None) -> DriftTable | None:
    """Return the rows of drift.json in its order; None without one, and on a first night."""
    if not found or not (found["lines"] or found["note"]):
        return None
    rows = (DriftRow(row["name"], row["kind"], row["psi"], row["ks"], row["level"]) for row in found["lines"])
    return DriftTable(tuple(rows), found["note"])
