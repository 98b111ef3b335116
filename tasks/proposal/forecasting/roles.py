"""What each column of a table is for forecasting: rules simple enough to be told in a line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import polars as pl

from tasks.core.errors import DataError, UsageError
from tasks.proposal.blocks.columns import require_column
from tasks.proposal.blocks.written import with_unit
from tasks.proposal.forecasting.time import Time

TARGETS = (
    "units", "sales", "qty", "quantity", "demand", "target", "value", "y", "count", "load", "volume", "amount",
    "revenue", "turnover", "consumption", "usage", "sold",
)  # fmt: skip
"""Names of targets, the likeliest first."""
IDS = (
    "id",
    "store",
    "shop",
    "item",
    "product",
    "sku",
    "site",
    "sensor",
    "station",
    "branch",
    "meter",
    "code",
    "number",
)
NUMBER = "_step"
MOST_VALUES = 50  # of categories that change over time
MOST_FIXED = 1000  # of those fixed by series
MOST_KEYS, MOST_CANDIDATES = 3, 6
MOST_REPEATED = 0.001  # of rows that have the series and time of another: more are no mistakes, but want to be summed
PARTS = ("year", "quarter", "month", "week", "weekday", "dayofweek", "dayofyear", "dayofmonth", "day", "hour", "minute")
"""Names of parts of the time, which a model of a calendar knows by itself."""


@dataclass
class Roles:
    """Columns of the file by what they are. `ahead`: known over the horizon as well; `missing`: with null values.

    `reach`: steps after the last target up to a changing column's last value. `left_out`: column -> why.
    """

    target: str
    why_target: str
    series: tuple[str, ...]
    static: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    covariates: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    reach: dict[str, int] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)


def find_roles(rows: pl.DataFrame, time: Time, target: str = "", series: Sequence[str] | None = None) -> Roles:
    """What each column is. `rows` have the step's number as NUMBER, never null. `target`, `series`: as asked for.

    Raises UsageError when a column asked for is none, or the target must be asked for; DataError when no columns
    identify the rows, or there is no target at all.
    """
    for option, names in (("--target", [target] if target else []), ("--series", series or [])):
        for name in names:
            require_column(rows, option, name, [time.column, NUMBER])
    target, why = _target(rows, time, target, series or ())
    found = Roles(target, why, _series(rows, time, target, series))
    known = rows.filter(pl.col(target).is_not_null())
    if known.is_empty():
        raise DataError(f"{target}: has no value")
    last = known[NUMBER].max()
    assert isinstance(last, int)
    for name in rows.columns:
        if name not in (time.column, NUMBER, target):
            _place(rows, name, last, found)
    return found


def _target(rows: pl.DataFrame, time: Time, asked: str, series: Sequence[str]) -> tuple[str, str]:
    numeric = [name for name, dtype in rows.schema.items() if dtype.is_numeric() and name not in (time.column, NUMBER)]
    if asked:
        _require_numbers(rows, asked, numeric)
        return asked, "as you said"
    for column in rows.columns:
        if column not in series and _words(column)[-1] in TARGETS and (unit := with_unit(rows[column])):
            raise DataError(f"{column} has {unit}")
    named = [column for column in numeric if column not in series]
    for name in TARGETS:
        for column in named:
            if column.lower() == name:
                return column, "by its name"
    likely = [name for name in named if not _is_id(rows[name]) and not is_flag(rows[name]) and not _is_part(rows[name])]
    if len(ending := [name for name in likely if _words(name)[-1] in TARGETS]) == 1:
        return ending[0], "by its name"
    if len(likely) == 1:
        return likely[0], "the only column of numbers that are neither ids nor 0 and 1"
    if not likely:
        raise DataError(f"no column of numbers to forecast; columns: {', '.join(set(rows.columns) - {NUMBER})}")
    shown = next((name for name in likely if rows.schema[name].is_float()), likely[0])
    raise UsageError(f"which column is to be forecast? {', '.join(likely)}: say --target {shown}, for example")


def _require_numbers(rows: pl.DataFrame, asked: str, numeric: Sequence[str]) -> None:
    if unit := with_unit(rows[asked]):
        raise DataError(f"{asked} has {unit}")
    if asked not in numeric:
        odd = rows[asked].drop_nulls().head(1).to_list()
        raise UsageError(
            f"--target {asked}: is no column of numbers, but has values such as {(odd or [None])[0]!r:.40}"
        )


def _series(rows: pl.DataFrame, time: Time, target: str, asked: Sequence[str] | None) -> tuple[str, ...]:
    """The fewest columns that identify rows together with the time; text and ids before other whole numbers."""
    if asked is not None:
        if _repeated(rows, asked) > MOST_REPEATED * rows.height:
            raise DataError(
                _twice(rows, time, asked) + "; name further columns with --series, or leave one row of each"
            )
        return tuple(asked)
    others = [name for name in rows.columns if name not in (time.column, NUMBER, target) and _is_key(rows[name])]
    unlikely = {name for name in others if rows.schema[name] != pl.String and not _is_id(rows[name])}
    others.sort(key=lambda name: (name in unlikely, not _is_id(rows[name]), rows[name].n_unique()))
    tried = [keys for count in range(MOST_KEYS + 1) for keys in combinations(others[:MOST_CANDIDATES], count)]
    tried.sort(key=lambda keys: (len(unlikely & {*keys}), len(keys)))
    for most in (0, MOST_REPEATED * rows.height):
        for keys in tried:
            if _repeated(rows, keys) <= most:
                return tuple(sorted(keys, key=rows.columns.index))
    raise DataError(
        _twice(rows, time, ())
        + ", and no columns of text or ids tell them apart; name those that do with --series, or "
        "leave one row of each"
    )


def _repeated(rows: pl.DataFrame, keys: Sequence[str]) -> int:
    """Return how many rows have the series and time of an earlier one."""
    return rows.height - rows.select(NUMBER, *keys).n_unique()


def _twice(rows: pl.DataFrame, time: Time, keys: Sequence[str]) -> str:
    first = rows.filter(rows.select(NUMBER, *keys).is_duplicated()).row(0, named=True)
    said = ", ".join(f"{name}={first[name]}" for name in (time.column, *keys))
    return f"{said}: several rows have this {' and '.join((time.column, *keys))}"


def _place(rows: pl.DataFrame, name: str, last: int, found: Roles) -> None:
    """Adds one column to what it is."""
    values, dtype = rows[name], rows.schema[name]
    text = dtype == pl.String or _is_id(values)
    if name in found.series:
        found.static += [name] if values.n_unique() <= MOST_FIXED else []
    elif not (dtype == pl.String or dtype.is_numeric() or dtype == pl.Boolean):
        found.left_out[name] = f"{dtype}: neither number nor text"
    elif values.drop_nulls().n_unique() < 2:
        found.left_out[name] = "has one value" if values.count() else "has no value"
    elif found.series and _is_fixed(rows, name, found.series):
        _place_fixed(rows, name, text, found)
    elif _is_part(values):
        found.left_out[name] = "a part of the time"
    else:
        _place_changing(rows, name, text, last, found)


def _place_fixed(rows: pl.DataFrame, name: str, text: bool, found: Roles) -> None:
    values = rows[name]
    if values.null_count():
        found.left_out[name] = "is fixed by series, but null in some rows"
    elif text and values.n_unique() > MOST_FIXED:
        found.left_out[name] = f"has {values.n_unique()} values"
    elif text and values.n_unique() == rows.select(found.series).n_unique():
        found.left_out[name] = "says the same as the series"
    else:
        (found.static if text else found.numbers).append(name)


def _place_changing(rows: pl.DataFrame, name: str, text: bool, last: int, found: Roles) -> None:
    values = rows[name]
    if text and values.n_unique() > MOST_VALUES:
        most = f"{values.n_unique()} values, of text that changes over time {MOST_VALUES} at most"
        found.left_out[name] = f"has {with_unit(values) or most}"
        return
    (found.categories if text else found.covariates).append(name)
    newest = rows.filter(pl.col(name).is_not_null())[NUMBER].max()
    found.reach[name] = newest - last if isinstance(newest, int) else 0
    if rows.filter(pl.col(NUMBER) <= max(last, last + found.reach[name]))[name].null_count():
        found.missing.add(name)


def _is_fixed(rows: pl.DataFrame, name: str, series: Sequence[str]) -> bool:
    each = rows.drop_nulls(name).group_by(series).agg(pl.col(name).n_unique())
    return bool((each[name] <= 1).all())


def _is_key(values: pl.Series) -> bool:
    """Whether values could name series: text or whole numbers, none missing, each in many rows."""
    whole = values.dtype.is_integer() or values.dtype == pl.String
    return whole and not values.null_count() and 1 < values.n_unique() <= len(values) / 2


def _is_id(values: pl.Series) -> bool:
    """Whether these are whole numbers that are called an id."""
    name = values.name.lower().replace("-", "_").replace(" ", "_")
    called = name in IDS or name.endswith(("_id", "_no", "_nr", "_code", "_number", "_key"))
    return values.dtype.is_integer() and called


def _is_part(values: pl.Series) -> bool:
    """Whether these are whole numbers that are called a part of the time."""
    return values.dtype.is_integer() and "".join(_words(values.name)) in PARTS


def _words(name: str) -> list[str]:
    """Return the words of a name, in small letters: of `Weekly_Sales` and of `weeklySales` weekly and sales."""
    return re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()) or [name]


def is_flag(values: pl.Series) -> bool:
    """Whether a column says yes or no."""
    return values.dtype == pl.Boolean or bool(((values == 0) | (values == 1)).all())
