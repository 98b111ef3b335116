"""Dates and moments of any form that tables have them in, as the contract's step wants them: one code for all doors."""

import polars as pl

from tasks.tables.table import Column, TableContract

ISO = r"^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2}(?:\.\d{1,9})?)?)?\s*(Z|[+-]\d{2}:?\d{2})?$"
"""Day, hour and minute, seconds, offset."""
PERIODS = {
    "1w": (r"^(\d{4})-?W(\d{2})$", "%G-%V-%u"),
    "1mo": (r"^(\d{4})-(\d{2})$", "%Y-%m-%d"),
    "1q": (r"^(\d{4})-?Q([1-4])$", ""),
    "1y": (r"^(\d{4})()$", ""),
}
"""How a step is written that has a short form of its own."""
YEARS = (1000, 9999)
VALUE = "value"


def read_moments(values: pl.Series, column: Column, contract: TableContract) -> pl.Series:
    """Dates of a column of kind `date`, moments of one of kind `moment`; null where a value is none.

    A moment is a date if it begins a day of its own zone, or of the contract's. Moments with a zone, or with an offset,
    become the contract's zone; others stay as they are. Text is ISO 8601, or `2026-11`, `2026-Q4`, `2026-W53`, `2026`
    where that is a step. A column of a type that cannot be read comes back as it is.
    """
    days = column.kind == "date"
    if values.dtype == pl.String:
        if days:
            found = values.str.to_date("%Y-%m-%d", strict=False)
            if found.null_count() == values.null_count():
                return found
            found = found.zip_with(found.is_not_null(), _periods(values, contract.step))
            if found.null_count() == values.null_count():
                return found
            return found.zip_with(found.is_not_null(), _dates(_of_text(values, contract.zone), contract.zone))
        return _of_text(values, contract.zone)
    if isinstance(values.dtype, pl.Datetime):
        return _dates(values, contract.zone) if days else _moments(values, contract.zone)
    if days and contract.step == "1y" and values.dtype.is_integer():
        return _alone(values, pl.date(pl.when(pl.col(VALUE).is_between(*YEARS)).then(pl.col(VALUE)), 1, 1))
    return values


def kept_whole(values: pl.Series, column: Column, contract: TableContract) -> pl.Series:
    """What `read_moments` makes of a column, if every value can be read; else the column as it is."""
    found = read_moments(values, column, contract)
    return found if found.null_count() == values.null_count() else values


def is_timed(dtype: pl.DataType | None, contract: TableContract) -> bool:
    """Whether this is the type that the contract's dates or moments have once they are read."""
    kind = next((column.kind for column in contract.columns if column.name == contract.date), None)
    return dtype == pl.Date if kind == "date" else kind == "moment" and isinstance(dtype, pl.Datetime)


def _alone(values: pl.Series, expression: pl.Expr) -> pl.Series:
    return values.alias(VALUE).to_frame().select(expression.alias(values.name)).to_series()


def _moments(values: pl.Series, zone: str) -> pl.Series:
    zoned = values.dtype.time_zone is not None  # type: ignore[attr-defined]
    return (values.dt.convert_time_zone(zone) if zoned else values).dt.cast_time_unit("us")


def _dates(values: pl.Series, zone: str) -> pl.Series:
    """The day that each moment begins, null for others."""
    found = _begun(values)
    own = values.dtype.time_zone  # type: ignore[attr-defined]
    if own is not None and own != zone and found.null_count() > values.null_count():
        found = found.zip_with(found.is_not_null(), _begun(values.dt.convert_time_zone(zone)))
    return found


def _begun(values: pl.Series) -> pl.Series:
    """A day's first moment is midnight, but where clocks are put forward at midnight."""
    before = pl.col(VALUE).dt.offset_by("-1us") if values.dtype.time_unit != "ms" else pl.col(VALUE).dt.offset_by("-1ms")  # type: ignore[attr-defined]
    day = pl.col(VALUE).dt.date()
    return _alone(values, pl.when(day != before.dt.date()).then(day))


def _of_text(values: pl.Series, zone: str) -> pl.Series:
    """Moments of ISO text; in the zone where all have an offset, as they are where none has one, null where mixed."""
    parts = values.str.strip_chars().str.extract_groups(ISO).struct.unnest()
    day, clock, seconds, offset = parts.columns
    text = pl.concat_str(
        pl.col(day), pl.lit(" "), pl.col(clock).fill_null("00:00"), pl.col(seconds).fill_null(":00")
    ).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    if not parts[offset].count():
        return parts.select(text.alias(values.name)).to_series()
    sign = pl.when(pl.col(offset).str.starts_with("-")).then(-1).otherwise(1)
    hours, minutes = (pl.col(offset).str.slice(at).str.head(2).cast(pl.Int64, strict=False) for at in (1, -2))
    ahead = pl.when(pl.col(offset) == "Z").then(0).otherwise(sign * (60 * hours + minutes))
    moments = (text - pl.duration(minutes=ahead)).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return parts.select(pl.when(pl.col(offset).is_not_null()).then(moments).alias(values.name)).to_series()


def _periods(values: pl.Series, step: str) -> pl.Series:
    """First days of steps in their short form."""
    if step not in PERIODS:
        return pl.Series(values.name, [None], pl.Date).extend_constant(None, len(values) - 1)
    pattern, form = PERIODS[step]
    parts = values.str.strip_chars().str.to_uppercase().str.extract_groups(pattern).struct.unnest()
    year, part = (pl.col(name) for name in parts.columns)
    if form:
        found = pl.concat_str(year, part, pl.lit("1" if step == "1w" else "01"), separator="-").str.to_date(form, strict=False)
    else:
        month = 1 if step == "1y" else 3 * part.cast(pl.Int32) - 2
        found = pl.date(year.cast(pl.Int32), month, 1)
    return parts.select(found.alias(values.name)).to_series()
