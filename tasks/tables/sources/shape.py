"""A file that was not made for a forecast gets the shape of a table: moments, one row a key, no empty targets.

Nothing is made up: what these options do not name stays as it is, and validation sees it.
"""

from collections.abc import Callable
from datetime import date
from io import BytesIO
from typing import Self

import numpy as np
import polars as pl
from pydantic import Field, field_validator, model_validator

from tasks.core.config import Frozen
from tasks.tables.moments import read_moments
from tasks.tables.sources.base import Unreadable
from tasks.tables.table import Column, TableContract

PARTS = ("year", "month", "day", "hour")
DAY_SECONDS = 86400
LATEST = 10**10  # in the year 2286


class Unpivot(Frozen):
    """Unpivot makes rows of `columns`: the column `name` says which of them a row is of, `value` what stood there."""

    columns: tuple[str, ...] = Field(min_length=1)
    name: str = Field(min_length=1)
    value: str = Field(min_length=1)


class Pixels(Frozen):
    """Pixels are columns of grey values, row by row from the upper left, of which the column `image` is made (PNG).

    `columns`: by default 0, 1, 2 …; `high`: the value of white.
    """

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    high: float = Field(default=255, gt=0)
    columns: tuple[str, ...] = ()
    image: str = "image"

    @property
    def names(self) -> tuple[str, ...]:
        """Return the columns."""
        return self.columns or tuple(map(str, range(self.height * self.width)))

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if len(self.names) != self.height * self.width:
            raise ValueError(f"columns: {len(self.names)} of them; {self.height} × {self.width} pixels need as many")
        return self


class Shape(Frozen):
    """`moment`: columns of a row's year, month, day and hour, of which its time is made; hour and day may be left out.

    `time_format`: how a time is written that is not in ISO form, such as `%d-%b-%y`. `seconds`: a column with the
    seconds since 1970, or moments, or texts of these, of which its day is made (UTC); the column stays, as seconds: it
    tells more. `missing`: texts that stand for no value. `without`: columns that are left out. `filled`: rows that lack
    a value in one of these columns are left out. `least`: rows with less than this in one of these columns are left
    out, such as quantities that were given back; a row that does not say how much stays. `unpivot`: columns that are
    series, side by side, become rows. `pixels`: columns that are pixels, side by side, become an image. `since`: the
    first day that is read. `distinct`: of rows with equal keys the first stays. `observed`: rows without a target are
    left out: gaps.
    """

    moment: tuple[str, ...] = Field(default=(), max_length=len(PARTS))
    time_format: str | None = None
    seconds: str = ""
    missing: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    least: dict[str, float] = Field(default={})
    unpivot: Unpivot | None = None
    pixels: Pixels | None = None
    since: date | None = None
    distinct: bool = False
    observed: bool = False

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        if self.moment and (self.seconds or self.time_format):
            raise ValueError("moment: seconds and time_format say what a time is made of, too; leave one")
        return self

    @field_validator("moment")
    @classmethod
    def _whole(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) == 1:
            raise ValueError("expected the columns of year and month, of days that of the day, and of hours the hour's")
        return value

    def before(self, table: pl.DataFrame, named: str) -> pl.DataFrame:
        """Return a file's rows, text or typed, with a column of times called `named`. Raises Unreadable."""
        unpivoted = self.unpivot.columns if self.unpivot else ()
        pixels = self.pixels.names if self.pixels else ()
        seconds = [self.seconds] if self.seconds else []
        for name in (*self.moment, *self.without, *self.filled, *unpivoted, *pixels, *seconds):
            if name not in table.columns:
                raise Unreadable(f"source.shape: the table has no column {name!r}; it has: {', '.join(table.columns)}")
        table = table.drop(self.without)
        if self.missing:
            table = table.with_columns(
                pl.when(pl.col(pl.String).is_in(self.missing)).then(None).otherwise(pl.col(pl.String)).name.keep()
            )
        if self.filled:
            table = table.drop_nulls(self.filled)
        if self.pixels is not None:
            table = _drawn(table, self.pixels)
        if self.seconds:
            table = self._dated(table, named)
        elif self.time_format is not None:
            table = self._timed(table, named, self.time_format)
        if self.unpivot is not None:
            table = _rows_of(table, self.unpivot)
        return self._made_of_parts(table, named) if self.moment else table

    def counting(self, table: pl.DataFrame, numbers: Callable[[pl.Series], pl.Series]) -> pl.DataFrame:
        """Return the rows of `before` that have at least `least`.

        `numbers` reads texts as the file writes numbers, and leaves those that are none. Raises Unreadable.
        """
        for name, least in self.least.items():
            if name not in table.columns:
                raise Unreadable(
                    f"source.shape.least: no column {name!r} is left; there are: {', '.join(table.columns)}"
                )
            table = table.filter((_read(table[name], numbers) >= least).fill_null(value=True))
        return table

    def _made_of_parts(self, table: pl.DataFrame, named: str) -> pl.DataFrame:
        parts = [pl.col(name).cast(pl.Int32, strict=False) for name in self.moment]
        made = pl.datetime(*parts) if len(parts) == len(PARTS) else pl.date(*parts, *([1] * (3 - len(parts))))
        if not named:
            raise Unreadable("source.shape.moment: rows of this workload have no time; leave it out")
        try:
            table = table.with_columns(made.alias(named))
        except pl.exceptions.ComputeError as error:
            said = f"{', '.join(self.moment)} of a row are no time: {str(error).splitlines()[0]}"
            raise Unreadable(f"source.shape.moment: {said}") from None
        return table.drop(name for name in self.moment if name != named)

    def _dated(self, table: pl.DataFrame, named: str) -> pl.DataFrame:
        if not named:
            raise Unreadable("source.shape.seconds: rows of this workload have no time; leave it out")
        values = _moments(table[self.seconds], self.time_format)
        if isinstance(values.dtype, pl.Datetime):
            values = values.dt.epoch("us") / 1e6
        clock = values.cast(pl.Float64, strict=False)
        odd = table[self.seconds].filter((clock.abs() <= LATEST).not_().fill_null(value=True))
        if len(odd) and self.time_format is not None and odd.dtype == pl.String:
            said = f"{odd[0]!r:.40} of {self.seconds} is not written as {self.time_format}"
            raise Unreadable(f"source.shape.time_format: {said}")
        if len(odd):
            said = f"{odd[0]!r:.40} of {self.seconds} is no number of seconds since 1970, nor a moment"
            raise Unreadable(f"source.shape.seconds: {said}; are they milliseconds, or text that needs time_format?")
        day = (clock / DAY_SECONDS).floor().cast(pl.Int32).cast(pl.Date)
        return table.with_columns(clock.alias(self.seconds), day.alias(named))

    def _timed(self, table: pl.DataFrame, named: str, form: str) -> pl.DataFrame:
        if named not in table.columns:
            raise Unreadable(f"source.shape.time_format: the table has no column of times {named!r}")
        values = table[named].cast(pl.String)
        found = values.str.to_datetime(form, time_unit="us", strict=False)
        odd = values.filter(found.is_null() & values.is_not_null())
        if len(odd):
            raise Unreadable(f"source.shape.time_format: {odd[0]!r:.40} of {named} is not written as {form}")
        return table.with_columns(found.alias(named))

    def after(self, rows: pl.DataFrame, contract: TableContract) -> pl.DataFrame:
        """Return the rows that count, of a table under the contract's names."""
        if self.since is not None and contract.date in rows.columns:
            rows = rows.filter(pl.col(contract.date).is_null() | (pl.col(contract.date) >= self.since))
        if self.distinct:
            keys = [key for key in contract.keys if key in rows.columns]
            if not keys:
                raise Unreadable("source.shape.distinct: rows of this workload have no key; leave it out")
            rows = rows.unique(keys, keep="first", maintain_order=True)
        if self.observed and contract.target in rows.columns:
            rows = rows.filter(pl.col(contract.target).is_not_null())
        return rows


def _read(values: pl.Series, numbers: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Return the values as numbers. Raises Unreadable naming one that is none."""
    found = numbers(values) if values.dtype == pl.String else values
    if found.dtype.is_numeric() or found.dtype == pl.Null:
        return found
    told = f"{values.name} holds {values.dtype}"
    if values.dtype == pl.String:
        texts = values.unique(maintain_order=True)
        odd = next(text for text in texts if text is not None and numbers(pl.Series([text])).dtype == pl.String)
        told = f"{odd!r:.40} of {values.name} is no number"
    raise Unreadable(
        f"source.shape.least: {told}; name a column of numbers, or put what else stands there into source.shape.missing"
    )


def _moments(values: pl.Series, form: str | None) -> pl.Series:
    """Return texts of moments as moments, in a form or in ISO's; all else as it is."""
    if values.dtype != pl.String:
        return values
    if form is not None:
        return values.str.to_datetime(form, time_unit="us", strict=False)
    column = Column("seconds", "moment")
    found = read_moments(values, column, TableContract((column,), None, None, ()))
    return found if found.count() else values


def _drawn(table: pl.DataFrame, pixels: Pixels) -> pl.DataFrame:
    """Return the table with an image in place of its pixels. Raises Unreadable naming a value that is no grey."""
    import PIL.Image

    values = table.select(pl.col(pixels.names).cast(pl.Float64, strict=False))
    grey = values.to_numpy() * (255 / pixels.high)
    odd = ~((grey >= 0) & (grey < 255.5))
    if odd.any():
        row, place = divmod(int(odd.argmax()), len(pixels.names))
        name = pixels.names[place]
        said = f"{table[name][row]!r:.40} of {name} in row {row} is no grey of 0 to {pixels.high:g}"
        raise Unreadable(f"source.shape.pixels: {said}")
    files = []
    for image in grey.round().astype(np.uint8).reshape(-1, pixels.height, pixels.width):
        content = BytesIO()
        PIL.Image.fromarray(image).save(content, "PNG")
        files.append(content.getvalue())
    return table.drop(pixels.names).with_columns(pl.Series(pixels.image, files, pl.Binary))


def _rows_of(table: pl.DataFrame, wide: Unpivot) -> pl.DataFrame:
    kept = [column for column in table.columns if column not in wide.columns]
    if taken := {wide.name, wide.value} & set(kept):
        raise Unreadable(f"source.shape.unpivot: the table has a column {min(taken)!r} already; take another name")
    return table.unpivot(wide.columns, index=kept, variable_name=wide.name, value_name=wide.value)
