"""A time that stands in several columns: year and month, and perhaps day and hour, as whole numbers."""

from dataclasses import dataclass, fields
from typing import Any

import polars as pl

from tasks.proposal.blocks.columns import plain
from tasks.proposal.blocks.look import Look
from tasks.proposal.forecasting.time import has_moments
from tasks.tables.sources.shape import PARTS, Shape

TIME = "date"
"""The column that is made of the parts."""
LIMITS = {"year": (1900, 2100), "month": (1, 12), "day": (1, 31), "hour": (0, 23)}


@dataclass(frozen=True)
class Parted(Look):
    """A look whose `rows` have a column TIME in place of those that it is made of, `moment`."""

    moment: tuple[str, ...] = ()

    def source(self, *given: Any, **options: Any) -> dict[str, Any]:
        """Return the `source` section, which makes the time of its parts."""
        source = super().source(*given, **options)
        return source | {"shape": {"moment": list(self.moment), **source.get("shape", {})}}


def with_moment(found: Look) -> Look:
    """Return the look with one column of time, where only parts of one are there."""
    moment = _parts(found.rows)
    if len(moment) < 2 or has_moments(found.rows):
        return found
    rows = Shape(moment=moment).before(found.rows, TIME)
    given = {each.name: getattr(found, each.name) for each in fields(Look)}
    return Parted(**{**given, "rows": rows, "moment": moment})


def _parts(rows: pl.DataFrame) -> tuple[str, ...]:
    """Return the columns called year, month, day, hour, as far as these are there one after the other."""
    by_name = {plain(name): name for name in reversed(rows.columns)}
    found: list[str] = []
    for part in PARTS:
        column = by_name.get(part)
        if column is None or not _within(rows[column], *LIMITS[part]):
            break
        found.append(column)
    return tuple(found)


def _within(values: pl.Series, low: int, high: int) -> bool:
    return values.dtype.is_integer() and not values.null_count() and bool(values.is_between(low, high).all())
