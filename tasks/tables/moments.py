"""This module reads dates and moments of any form as the contract's step needs them: it is the same for all inputs."""

import polars as pl

from tasks.tables.table import Column, TableContract

ISO = r"^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2}(?:\.\d{1,9})?)?)?\s*(Z|[+-]\d{2}:?\d{2})?$"
"""The groups are day, hour and minute, seconds, offset."""
NOTHING = "^()()$a"
PERIODS = {
    "1w": r"^(\d{4})-?W(\d{2})$",
    "1mo": r"^(\d{4})-?(\d{2})$",
    "1q": r"^(\d{4})-?Q([1-4])$",
    "1y": r"^(\d{4})()$",
}
"""These patterns read steps that have a short form of their own."""
VALUE = "value"


def read_moments(values: pl.Series, column: Column, contract: TableContract) -> pl.Series:
    """Return dates of a column of kind `date`, moments of one of kind `moment`; null where a value cannot be read.

    A moment is a date if it begins a day of its own zone, or of the contract's. Moments with a zone, or with an offset,
    become the contract's zone; others stay as they are. Text is ISO 8601, or `2026-11`, `2026-Q4`, `2026-W53`, `2026`
    where that is a step, months and years also as numbers. A column of a type that cannot be read comes back as it is.
    """
    days, zone = column.kind == "date", contract.zone
    if values.dtype == pl.String:
        return _days_of_text(values, contract) if days else _moments_of_text(values, zone)
    if isinstance(values.dtype, pl.Datetime):
        return _days(values, zone) if days else _moments(values, zone)
    if days and contract.step in ("1mo", "1y") and values.dtype.is_integer():
        return _days_of_text(values.cast(pl.String), contract)
    return values


def kept_whole(values: pl.Series, column: Column, contract: TableContract) -> pl.Series:
    """Return the result of `read_moments` if every value can be read; else the column as it is."""
    found = read_moments(values, column, contract)
    return found if found.null_count() == values.null_count() else values


def is_timed(dtype: pl.DataType | None, contract: TableContract) -> bool:
    """Return whether this is the type that the contract's dates or moments have once they are read."""
    kind = next((column.kind for column in contract.columns if column.name == contract.date), None)
    return dtype == pl.Date if kind == "date" else kind == "moment" and isinstance(dtype, pl.Datetime)


def _moments(values: pl.Series, zone: str) -> pl.Series:
    return (values.dt.convert_time_zone(zone) if _zone(values) else values).dt.cast_time_unit("us")


def _days(values: pl.Series, zone: str) -> pl.Series:
    """Return the day that each moment begins, null for others."""
    found, own = _begun(values), _zone(values)
    if own not in (None, zone) and found.null_count() > values.null_count():
        found = found.zip_with(found.is_not_null(), _begun(values.dt.convert_time_zone(zone)))
    return found


def _begun(values: pl.Series) -> pl.Series:
    """Return a day's first moment: midnight, but where clocks are put forward at midnight."""
    moment = pl.col(VALUE).dt.cast_time_unit("us")
    day, before = moment.dt.date(), (moment - pl.duration(microseconds=1)).dt.date()
    begun = values.alias(VALUE).to_frame().select(pl.when(day != before).then(day).alias(values.name))
    return begun.to_series()


def _zone(values: pl.Series) -> str | None:
    return values.dtype.time_zone if isinstance(values.dtype, pl.Datetime) else None


def _days_of_text(values: pl.Series, contract: TableContract) -> pl.Series:
    found = values.str.to_date("%Y-%m-%d", strict=False)
    for read in (_periods, _midnights):
        if found.null_count() > values.null_count():
            found = found.zip_with(found.is_not_null(), read(values, contract))
    return found


def _midnights(values: pl.Series, contract: TableContract) -> pl.Series:
    """Return midnights in the offset that is written, or in the contract's zone."""
    found = _begun(_clock_of_text(values)[0])
    return found.zip_with(found.is_not_null(), _begun(_moments_of_text(values, contract.zone)))


def _moments_of_text(values: pl.Series, zone: str) -> pl.Series:
    """Return moments in the zone where values have an offset, then null where one has none; without any, unchanged."""
    clock, offset = _clock_of_text(values)
    if not offset.count():
        return clock
    return (clock - offset).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)


def _clock_of_text(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the time that the clock shows, and how far it is ahead of UTC."""
    parts = values.str.strip_chars().str.extract_groups(ISO).struct.unnest()
    day, time, seconds, offset = map(pl.col, parts.columns)
    text = pl.concat_str(day, pl.lit(" "), time.fill_null("00:00"), seconds.fill_null(":00"))
    clock = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    hours, minutes = (offset.str.slice(at, 2).cast(pl.Int64, strict=False) for at in (1, -2))
    sign = pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)
    ahead = pl.when(offset == "Z").then(0).otherwise(sign * (60 * hours + minutes))
    found = parts.select(clock.alias(values.name), pl.duration(minutes=ahead, time_unit="us").alias("ahead"))
    return found.to_series(0), found.to_series(1)


def _periods(values: pl.Series, contract: TableContract) -> pl.Series:
    """Return the first days of steps in their short form."""
    form = PERIODS.get(contract.step, NOTHING)
    parts = values.str.strip_chars().str.to_uppercase().str.extract_groups(form).struct.unnest()
    year, part = (pl.col(name).cast(pl.Int32) for name in parts.columns)
    match contract.step:
        case "1w":
            text = pl.concat_str(*parts.columns, pl.lit("1"), separator="-")
            found = text.str.to_date("%G-%V-%u", strict=False)
        case "1q":
            found = pl.date(year, 3 * part - 2, 1)
        case "1mo":
            found = pl.date(year, pl.when(part.is_between(1, 12)).then(part), 1)
        case _:
            found = pl.date(year, 1, 1)
    return parts.select(found.alias(values.name)).to_series()
