"""The rules of a table: about single rows (Great Expectations finds the bad ones), and about facts of the whole."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import polars as pl

from tasks.tables.table import Column, TableContract
from tasks.tables.validation.options import CheckOptions

RECENT = timedelta(days=7)
HISTORY = timedelta(days=56)  # what recent days are compared with: long enough for a median, short enough for a trend
MIN_HISTORY_DAYS = 14
SAMPLE = 5
# Models count in 32-bit numbers, whose squares end at 3e38: what is larger is a fill value, such as NetCDF's 9.97e36.
LARGEST = 1e18

_ALLOWED = {
    "string": ("string",),
    "date": ("date",),
    "number": ("number", "integer"),
    "integer": ("integer",),
    "boolean": ("boolean",),
}


@dataclass(frozen=True)
class RowRule:
    """A rule that each row keeps or breaks: `expectation` (a Great Expectations type) with `arguments`.

    `bad`: the same rule for polars, true where a row breaks it; it picks the sample.
    """

    column: str
    rule: str
    expectation: str
    arguments: Mapping[str, Any]
    bad: pl.Expr


@dataclass(frozen=True)
class Fact:
    """One measured value of the table and what it may be: within `low`..`high`, or one of `allowed`."""

    column: str
    rule: str
    value: float | str
    low: float | None = None
    high: float | None = None
    allowed: tuple[str, ...] = ()
    count: int = 0
    sample: tuple[Mapping[str, Any], ...] = ()

    @property
    def expected(self) -> str:
        """The limit in words."""
        if self.allowed:
            return " or ".join(self.allowed)
        parts = ((">=", self.low), ("<=", self.high))
        return " and ".join(f"{sign} {limit:g}" for sign, limit in parts if limit is not None)


def family(dtype: pl.DataType) -> str:
    """The contract's name for a polars type, or the type's own."""
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "string"
    if dtype == pl.Date:
        return "date"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_integer():
        return "integer"
    return "number" if dtype.is_numeric() else str(dtype)


def days_ahead(contract: TableContract) -> int:
    """Days after `as_of` that the table has rows for; 0: a table of events, which has no row for a quiet day."""
    return contract.horizon_days if any(column.known_ahead for column in contract.columns) else 0


def type_facts(table: pl.DataFrame, contract: TableContract) -> list[Fact]:
    """One fact for each column of the contract that the table has."""
    facts = []
    for column in contract.columns:
        if column.name in table.columns:
            values = table[column.name]
            allowed = _ALLOWED[column.kind]
            kind = family(values.dtype)
            wrong = kind not in allowed
            sample = samples(table.filter(_odd(values, column)).head(1), contract, column.name) if wrong else ()
            facts.append(
                Fact(column.name, "type", kind, allowed=allowed, count=table.height if wrong else 0, sample=sample)
            )
    return facts


def _odd(values: pl.Series, column: Column) -> pl.Series:
    """Which values of a column of another type are to blame for it: of text, those that are no number, or no day."""
    if values.dtype == pl.String and column.kind in ("number", "integer", "date"):
        as_wanted = values.str.to_date("%Y-%m-%d", strict=False) if column.kind == "date" else None
        found = values.cast(pl.Float64, strict=False) if as_wanted is None else as_wanted
        odd = values.is_not_null() & found.is_null()
        return odd if odd.any() else values.is_not_null()
    return values.is_not_null()


def usable(table: pl.DataFrame, contract: TableContract) -> list[Column]:
    """Columns that are there with the right type: only these can be checked further."""
    return [
        column
        for column in contract.columns
        if column.name in table.columns and family(table.schema[column.name]) in _ALLOWED[column.kind]
    ]


def row_rules(columns: list[Column], contract: TableContract, options: CheckOptions) -> list[RowRule]:
    """Nulls, ranges and keys."""
    rules = []
    names = {column.name for column in columns}
    for column in columns:
        value = pl.col(column.name)
        if not column.nullable and column.name != contract.target:
            arguments: dict[str, Any] = {"column": column.name}
            rules.append(RowRule(column.name, "not null", "ExpectColumnValuesToNotBeNull", arguments, value.is_null()))
        low, high = column.low, column.high
        if column.kind in ("number", "integer"):
            low, high = -LARGEST if low is None else low, LARGEST if high is None else high
        if column.name == contract.target and options.max_units is not None:
            high = options.max_units if high is None else min(high, options.max_units)
        for sign, limit, key, bad in (
            (">=", low, "min_value", value < (low or 0)),
            ("<=", high, "max_value", value > (high or 0)),
        ):
            if limit is not None:
                arguments = {"column": column.name, key: limit}
                rules.append(RowRule(column.name, f"{sign} {limit:g}", "ExpectColumnValuesToBeBetween", arguments, bad))
    keys = contract.keys
    if keys and names.issuperset(keys):
        rule, bad = f"unique {', '.join(keys)}", pl.struct(keys).is_duplicated()
        if len(keys) == 1:
            rules.append(RowRule(keys[0], rule, "ExpectColumnValuesToBeUnique", {"column": keys[0]}, bad))
        else:
            arguments = {"column_list": list(keys)}
            rules.append(RowRule(plus(keys), rule, "ExpectCompoundColumnsToBeUnique", arguments, bad))
    return rules


def table_facts(
    table: pl.DataFrame,
    columns: list[Column],
    contract: TableContract,
    options: CheckOptions,
    as_of: date,
    about: Mapping[str, Any],
    reference: Mapping[str, Any] | None,
) -> list[Fact]:
    """Facts about numbers, dates, entities and volume, as far as the usable columns allow.

    `reference`: facts of the champion's snapshot, None when there is no champion: volume and entities are then
    compared with the table's own past alone.
    """
    names = {column.name for column in columns}
    facts = list(finite_facts(table, columns, contract))
    if contract.date is None or contract.date not in names:
        return facts
    day = pl.col(contract.date)
    target = contract.target if contract.target in names else None
    ahead = days_ahead(contract)

    def counted(column: str, rule: str, bad: pl.Expr) -> Fact:
        rows = table.filter(bad)
        return Fact(column, rule, rows.height, high=0, count=rows.height, sample=samples(rows, contract, column))

    last_allowed = as_of + timedelta(days=ahead)
    facts.append(counted(contract.date, f"no row after {last_allowed}", day > last_allowed))
    if target is not None:
        value = pl.col(target)
        if ahead:
            facts.append(counted(target, f"no value after as_of {as_of}", (day > as_of) & value.is_not_null()))
        facts.append(counted(target, f"not null up to as_of {as_of}", (day <= as_of) & value.is_null()))
    known = table.filter(day <= as_of)
    entity = list(contract.entity)
    has_entity = bool(entity) and names.issuperset(entity)
    facts += _freshness(known, contract, options, as_of)
    if known.height:
        facts += _gaps(known, contract, options, entity if has_entity and ahead else [])
        if has_entity:
            facts += _entities(known, contract, options, entity)
        facts += _recent_volume(known, contract.date, target, options, as_of)
    if reference is not None:
        facts += _against(reference, about, target, options)
    return facts


def samples(rows: pl.DataFrame, contract: TableContract, *columns: str) -> tuple[Mapping[str, Any], ...]:
    """The first few rows: keys and the columns in question, as JSON can hold them."""
    shown = [name for name in dict.fromkeys((*contract.keys, *columns)) if name in rows.columns]
    return tuple(_records(rows.select(shown).head(SAMPLE)))


def shown(sample: Mapping[str, Any]) -> str:
    """A sample in a line."""
    return ", ".join(f"{key}={value}" for key, value in sample.items())


def _records(rows: pl.DataFrame) -> Iterator[Mapping[str, Any]]:
    for row in rows.iter_rows(named=True):
        yield {
            key: value if value is None or isinstance(value, (bool, int, str)) or _is_finite(value) else str(value)
            for key, value in row.items()
        }


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and abs(value) < float("inf")


def finite_facts(table: pl.DataFrame, columns: list[Column], contract: TableContract) -> Iterator[Fact]:
    """One fact for each column of decimals: how many rows hold NaN or infinity."""
    for column in columns:
        if table.schema[column.name].is_float():
            rows = table.filter(~pl.col(column.name).is_finite())
            sample = samples(rows, contract, column.name)
            yield Fact(column.name, "no NaN or infinity", rows.height, high=0, count=rows.height, sample=sample)


def _freshness(known: pl.DataFrame, contract: TableContract, options: CheckOptions, as_of: date) -> list[Fact]:
    has_target = contract.target in known.columns
    last = (known.drop_nulls(contract.target) if has_target else known)[contract.moment].max()
    if not isinstance(last, date):
        return [Fact(contract.moment, f"rows up to as_of {as_of}", 0, low=1, count=1)]
    stale = (as_of - last).days
    sample = ({"last_date": last.isoformat()},) if stale > options.max_stale_days else ()
    rule = f"days without data before as_of {as_of}"
    return [Fact(contract.moment, rule, stale, high=options.max_stale_days, count=int(bool(sample)), sample=sample)]


def _gaps(known: pl.DataFrame, contract: TableContract, options: CheckOptions, entity: list[str]) -> Iterator[Fact]:
    """Days in a row without a row: in the whole table, and in each entity if the table has a row for every day."""
    for by in ([], entity) if entity else ([],):
        days = known.select(contract.moment, *by).drop_nulls().unique().sort(*by, contract.moment)
        step = pl.col(contract.moment).diff().dt.total_days()
        days = days.with_columns(gap=(step.over(by) if by else step) - 1).drop_nulls("gap")
        worst = days.filter(pl.col("gap") > options.max_gap_days).sort("gap", *by, contract.moment, descending=True)
        longest = days["gap"].max()
        sample = tuple(_records(_text_dates(worst.head(SAMPLE)).rename({"gap": "missing_days_before"})))
        rule = f"most days missing in a row{f' of one {plus(by)}' if by else ''}"
        value = longest if isinstance(longest, int) else 0
        yield Fact(contract.moment, rule, value, high=options.max_gap_days, count=worst.height, sample=sample)


def plus(columns: Sequence[str]) -> str:
    """How several columns are named as one."""
    return "+".join(columns)


def _text_dates(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col(pl.Date).cast(pl.String))


def _entities(known: pl.DataFrame, contract: TableContract, options: CheckOptions, entity: list[str]) -> Iterator[Fact]:
    """Entities that were there lately and no longer are.

    With a row for every day: those of the last day against the four weeks before; else (purchases) those of the last
    four weeks against the four weeks before.
    """
    every_day = days_ahead(contract) > 0
    window = timedelta(days=28)
    day = pl.col(contract.moment)
    last = known[contract.moment].max()
    assert isinstance(last, date)
    start = last if every_day else last - window + timedelta(days=1)
    now = known.filter(day >= start).select(entity).unique()
    before = known.filter(day < start, day >= start - window).select(entity).unique()
    if before.is_empty():
        return
    missing = before.join(now, on=entity, how="anti").sort(entity)
    low = options.min_entity_share
    share = 1 - missing.height / before.height
    rule = "share of entities of the last four weeks that are still there"
    sample = tuple(_records(missing.head(SAMPLE))) if share < low else ()
    yield Fact(plus(entity), rule, round(share, 4), low=low, count=missing.height, sample=sample)


def _recent_volume(
    known: pl.DataFrame, date_column: str, target: str | None, options: CheckOptions, as_of: date
) -> Iterator[Fact]:
    """The last seven days against the median of the days before: the most of one day, and the mean."""
    day = pl.col(date_column)
    measures = {date_column: pl.len().cast(pl.Float64)} | ({target: _sum(target)} if target else {})
    for column, measure in measures.items():
        daily = known.group_by(date_column).agg(value=measure).sort(date_column)
        recent = daily.filter(day > as_of - RECENT)
        before = daily.filter(day <= as_of - RECENT, day > as_of - RECENT - HISTORY)
        usual = before["value"].median()
        if before.height < MIN_HISTORY_DAYS or recent.is_empty() or not isinstance(usual, float) or usual <= 0:
            continue
        what = "rows" if column == date_column else column
        ratio = options.max_volume_ratio
        top = recent.sort("value", descending=True).head(1)
        most, mean = float(top["value"][0]) / usual, float(recent["value"].sum()) / RECENT.days / usual
        sample = tuple(_records(_text_dates(top)))
        yield _ratio(column, f"{what} a day: most of the last 7 days / median before", most, None, ratio, sample)
        yield _ratio(column, f"{what} a day: mean of the last 7 days / median before", mean, 1 / ratio, None, sample)


def _sum(column: str) -> pl.Expr:
    value = pl.col(column).cast(pl.Float64)
    return value.filter(value.is_finite()).sum()


def _ratio(
    column: str,
    rule: str,
    value: float,
    low: float | None,
    high: float | None,
    sample: tuple[Mapping[str, Any], ...] = (),
) -> Fact:
    value = round(value, 4)
    bad = (low is not None and value < low) or (high is not None and value > high)
    return Fact(column, rule, value, low, high, count=int(bad), sample=sample if bad else ())


def _against(
    reference: Mapping[str, Any], about: Mapping[str, Any], target: str | None, options: CheckOptions
) -> Iterator[Fact]:
    """Entities, rows a day and target a day against the champion's snapshot. What either does not tell is left out."""
    high, low = options.max_volume_ratio, 1 / options.max_volume_ratio
    sample = ({"now": about.get("rows"), "champion": reference.get("rows")},)

    def quotient(measure: Callable[[Mapping[str, Any]], float | None]) -> float | None:
        now, then = measure(about), measure(reference)
        return now / then if now is not None and then else None

    entities = quotient(lambda facts: facts.get("entities"))
    if entities is not None:
        seen = ({"now": about["entities"], "champion": reference["entities"]},)
        rule = "entities / those of the champion's snapshot"
        yield _ratio("entities", rule, entities, options.min_entity_share, None, seen)
    rows = quotient(_rows_a_day)
    if rows is not None:
        yield _ratio("rows", "rows a day / those of the champion's snapshot", rows, low, high, sample)
    mean = quotient(lambda facts: facts.get("mean_target"))
    if target is not None and mean is not None and rows is not None:
        rule = f"{target} a day / that of the champion's snapshot"
        yield _ratio(target, rule, mean * rows, low, high, sample)


def _rows_a_day(about: Mapping[str, Any]) -> float | None:
    if not about.get("first_date") or not about.get("last_date"):
        return None
    days = (date.fromisoformat(about["last_date"]) - date.fromisoformat(about["first_date"])).days + 1
    return float(about["rows"]) / days
