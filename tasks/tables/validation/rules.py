"""Rules concern single rows of a table (Great Expectations finds the bad ones), or facts of the whole table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from tasks.tables.axis import Axis
from tasks.tables.steps import MONTHS, Step
from tasks.tables.table import Column, TableContract
from tasks.tables.validation.options import CheckOptions

VOLUME = {
    "1d": (7, 56, 14), "1b": (5, 40, 10), "1w": (4, 52, 13), "1mo": (3, 24, 12), "1q": (2, 12, 4), "1y": (1, 10, 3),
}  # fmt: skip
"""This says by step how many recent ones are compared with how many before, and how many of these there must be.

They are enough for a median and few enough for a trend. Steps shorter than a day are summed by the day.
"""
ENTITY_DAYS = 28
SAMPLE = 5
NUMBER = "_step"
# Models count in 32-bit numbers, whose squares end at 3e38: what is larger is a fill value, such as NetCDF's 9.97e36.
LARGEST = 1e18

_ALLOWED = {
    "string": ("string",),
    "date": ("date",),
    "moment": ("moment",),
    "number": ("number", "integer"),
    "integer": ("integer",),
    "boolean": ("boolean",),
    "binary": ("binary",),
}


@dataclass(frozen=True)
class RowRule:
    """A RowRule is kept or broken by each row: `expectation` (a Great Expectations type) with `arguments`.

    `bad`: the same rule for polars, true where a row breaks it; it picks the sample.
    """

    column: str
    rule: str
    expectation: str
    arguments: Mapping[str, Any]
    bad: pl.Expr


@dataclass(frozen=True)
class Fact:
    """A Fact is one measured value of the table and its allowed values: within `low`..`high`, or one of `allowed`."""

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
        """Return the limit in words."""
        if self.allowed:
            return " or ".join(self.allowed)
        parts = ((">=", self.low), ("<=", self.high))
        return " and ".join(f"{sign} {limit:g}" for sign, limit in parts if limit is not None)


def family(dtype: pl.DataType) -> str:
    """Return the contract's name for a polars type, or the type's own."""
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "string"
    if dtype == pl.Date:
        return "date"
    if isinstance(dtype, pl.Datetime):
        return "moment"
    if dtype in (pl.Boolean, pl.Binary):
        return "boolean" if dtype == pl.Boolean else "binary"
    if dtype.is_integer():
        return "integer"
    return "number" if dtype.is_numeric() else str(dtype)


def type_facts(table: pl.DataFrame, contract: TableContract) -> list[Fact]:
    """Return one fact for each column of the contract that the table has."""
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
    """Return the values that are to blame for a wrong type: of text, the values that are no number, or no day."""
    if values.dtype == pl.String and column.kind in ("number", "integer", "date"):
        found = values.str.to_date("%Y-%m-%d", strict=False) if column.kind == "date" else _as_numbers(values)
        odd = values.is_not_null() & found.is_null()
        return odd if odd.any() else values.is_not_null()
    return values.is_not_null()


def _as_numbers(values: pl.Series) -> pl.Series:
    """Return texts as numbers, whichever sign is before their decimals: by that of which most can be read."""
    point, comma = values.str.replace_all(",", "", literal=True), values.str.replace_all(".", "", literal=True)
    readings = (values, point, comma.str.replace_all(",", ".", literal=True))
    return min((each.cast(pl.Float64, strict=False) for each in readings), key=pl.Series.null_count)


def usable(table: pl.DataFrame, contract: TableContract) -> list[Column]:
    """Return the columns that exist with the right type: only these can be checked further."""
    return [
        column
        for column in contract.columns
        if column.name in table.columns and family(table.schema[column.name]) in _ALLOWED[column.kind]
    ]


def row_rules(columns: list[Column], contract: TableContract, options: CheckOptions) -> list[RowRule]:
    """Return the rules for nulls, ranges and keys."""
    rules = []
    names = {column.name for column in columns}
    for column in columns:
        value = pl.col(column.name)
        if not column.nullable and column.name != contract.target and (column.known_ahead or not contract.ahead):
            arguments: dict[str, Any] = {"column": column.name}
            rules.append(RowRule(column.name, "not null", "ExpectColumnValuesToNotBeNull", arguments, value.is_null()))
        low, high = column.low, column.high
        if column.kind in ("number", "integer"):
            low, high = -LARGEST if low is None else low, LARGEST if high is None else high
        if column.name == contract.target and options.max_units is not None:
            high = options.max_units if high is None else min(high, options.max_units)
        for sign, limit, key, bad in (
            (">=", low, "min_value", value < (low or 0)),
            (">", column.above, "min_value", value <= (column.above or 0)),
            ("<=", high, "max_value", value > (high or 0)),
        ):
            if limit is not None:
                arguments = {"column": column.name, key: limit} | ({"strict_min": True} if sign == ">" else {})
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
    """Return facts about numbers, dates, entities and volume, as far as the usable columns allow.

    `reference`: facts of the champion's snapshot, None when there is no champion: volume and entities are then
    compared with the table's own past alone.
    """
    names = {column.name for column in columns}
    facts = list(finite_facts(table, columns, contract))
    if contract.date is None or contract.date not in names:
        return facts
    timed = table.drop_nulls(contract.date)
    if timed.is_empty():
        return facts
    step, axis = Step(contract.step), Axis.of(Step(contract.step), timed[contract.date])
    last = axis.last(as_of)
    target = contract.target if contract.target in names else None
    # A ratio says something of amounts alone: values of both signs may well be zero on average.
    amount = target if any(column.name == target and column.low == 0 for column in columns) else None
    between = timed.filter(axis.between(timed[contract.date]))
    if between.height:
        rule = f"every {step.noun}, counted from {axis.value(0)}{axis.why(between[contract.date][0])}"
        facts.append(_none_of(between, contract, contract.date, rule))
    facts += _known_ahead(table, contract, target, axis, as_of)
    if between.height:  # all others count steps
        return facts
    if contract.ahead:
        facts += _delivered(table, columns, contract, axis, as_of)
    known = counted(timed, contract, axis, last)
    entity = list(contract.entity)
    # Entities come again only where a row is one of an entity's days: ids of rows are new every day.
    has_entity = bool(entity) and names.issuperset(entity) and contract.date in contract.keys
    facts += freshness(known, contract, options, as_of, last)
    if known.height:
        facts += _gaps(known, contract, options, entity if has_entity and contract.ahead else [])
        if has_entity:
            facts += _entities(known, contract, options, entity)
        facts += _recent_volume(known, contract, amount, options, last)
    if reference is not None:
        facts += _against(reference, about, amount, options)
    return facts


def _known_ahead(
    table: pl.DataFrame, contract: TableContract, target: str | None, axis: Axis, as_of: date
) -> Iterator[Fact]:
    """There must be no row beyond the horizon, no target after the last step known on `as_of`, and one up to it."""
    last, moment = axis.last(as_of), pl.col(contract.moment)
    known, allowed = axis.value(last), axis.value(last + contract.ahead)
    noun = axis.step.noun
    ended = f"the last {noun} that has ended by as_of {as_of}" if axis.step.name in MONTHS else f"as_of {as_of}"
    yield _none_of(table.filter(moment > allowed), contract, contract.moment, f"no row after {allowed}")
    if target is not None:
        value = pl.col(target)
        if contract.ahead:
            later = table.filter(moment > known, value.is_not_null())
            yield _none_of(later, contract, target, f"no value after {ended}")
        yield _none_of(table.filter(moment <= known, value.is_null()), contract, target, f"not null up to {ended}")


def _none_of(rows: pl.DataFrame, contract: TableContract, column: str, rule: str) -> Fact:
    """Return a rule that these rows break."""
    return Fact(column, rule, rows.height, high=0, count=rows.height, sample=samples(rows, contract, column))


def _delivered(
    table: pl.DataFrame, columns: list[Column], contract: TableContract, axis: Axis, as_of: date
) -> Iterator[Fact]:
    """Yield a fact a column that may not be null, of a table with rows ahead: values up to `as_of`, or further."""
    last, moment = axis.last(as_of), pl.col(contract.moment)
    for column in (one for one in columns if one.required and not (one.nullable or one.key or one.fixed)):
        value = pl.col(column.name)
        if column.known_ahead:
            given = table.filter(value.is_not_null(), moment.is_not_null())[contract.moment]
            newest = given.sort().tail(1)
            reach = int(axis.count(newest)[0]) - last if len(newest) else 0
            sample = ({"last_date": str(newest[0])},) if len(newest) and reach < contract.ahead else ()
            rule = f"{axis.step.noun}s after as_of {as_of} up to the last value"
            yield Fact(column.name, rule, reach, low=contract.ahead, count=int(reach < contract.ahead), sample=sample)
        elif column.name != contract.target:
            rows = table.filter(moment <= axis.value(last), value.is_null())
            yield _none_of(rows, contract, column.name, f"not null up to as_of {as_of}")


def samples(rows: pl.DataFrame, contract: TableContract, *columns: str) -> tuple[Mapping[str, Any], ...]:
    """Return the first few rows: keys and the columns in question, as JSON can hold them."""
    shown = [name for name in dict.fromkeys((*contract.keys, *columns)) if name in rows.columns]
    return tuple(_records(rows.select(shown).head(SAMPLE)))


def shown(sample: Mapping[str, Any]) -> str:
    """Return a sample in a line."""
    return ", ".join(f"{key}={value}" for key, value in sample.items())


def _records(rows: pl.DataFrame) -> Iterator[Mapping[str, Any]]:
    for row in rows.iter_rows(named=True):
        yield {
            key: value if value is None or isinstance(value, (bool, int, str)) or _is_finite(value) else _told(value)
            for key, value in row.items()
        }


def _told(value: object) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and abs(value) < float("inf")


def finite_facts(table: pl.DataFrame, columns: list[Column], contract: TableContract) -> Iterator[Fact]:
    """Yield one fact for each column of decimals: how many rows hold NaN or infinity."""
    for column in columns:
        if table.schema[column.name].is_float():
            rows = table.filter(~pl.col(column.name).is_finite())
            sample = samples(rows, contract, column.name)
            yield Fact(column.name, "no NaN or infinity", rows.height, high=0, count=rows.height, sample=sample)


def counted(timed: pl.DataFrame, contract: TableContract, axis: Axis, last: int) -> pl.DataFrame:
    """Return the rows up to the step `last`, each with its step's number."""
    known = timed.filter(pl.col(contract.moment) <= axis.value(last))
    return known.with_columns(pl.Series(NUMBER, axis.count(known[contract.moment])))


def freshness(
    known: pl.DataFrame, contract: TableContract, options: CheckOptions, as_of: date, last: int
) -> list[Fact]:
    """Measure how long before the step `last` the `counted` rows end; `count` is 0 where that is allowed."""
    has_target = contract.target in known.columns
    newest = (known.drop_nulls(contract.target) if has_target else known).sort(NUMBER).tail(1)
    if newest.is_empty():
        return [Fact(contract.moment, f"rows up to as_of {as_of}", 0, low=1, count=1)]
    step = Step(contract.step)
    stale, limit = last - int(newest[NUMBER][0]), options.stale(step)
    sample = ({"last_date": newest[contract.moment][0].isoformat()},) if stale > limit else ()
    rule = f"{step.noun}s without data before as_of {as_of}"
    return [Fact(contract.moment, rule, stale, high=limit, count=int(bool(sample)), sample=sample)]


def _gaps(known: pl.DataFrame, contract: TableContract, options: CheckOptions, entity: list[str]) -> Iterator[Fact]:
    """Count steps in a row without a row: in the whole table, and in each entity if each step should have a row."""
    step = Step(contract.step)
    limit, unit = options.gap(step), f"{step.noun.replace(' ', '_')}s"
    for by in ([], entity) if entity else ([],):
        steps = known.select(NUMBER, contract.moment, *by).drop_nulls().unique([NUMBER, *by]).sort(*by, NUMBER)
        passed = pl.col(NUMBER).diff()
        steps = steps.with_columns(gap=(passed.over(by) if by else passed) - 1).drop_nulls("gap")
        worst = steps.filter(pl.col("gap") > limit).sort("gap", *by, NUMBER, descending=True).drop(NUMBER)
        longest = steps["gap"].max()
        sample = tuple(_records(worst.head(SAMPLE).rename({"gap": f"missing_{unit}_before"})))
        rule = f"most {step.noun}s missing in a row{f' of one {plus(by)}' if by else ''}"
        value = longest if isinstance(longest, int) else 0
        yield Fact(contract.moment, rule, value, high=limit, count=worst.height, sample=sample)


def plus(columns: Sequence[str]) -> str:
    """Return the name of several columns as one."""
    return "+".join(columns)


def _entities(known: pl.DataFrame, contract: TableContract, options: CheckOptions, entity: list[str]) -> Iterator[Fact]:
    """Find entities that were there lately and no longer are.

    With a row for every step: those of the last one against the four weeks before, or the one step before that is
    longer; else (purchases) those of the last four weeks against the four weeks before.
    """
    window = max(1, Step(contract.step).within(ENTITY_DAYS))
    number = pl.col(NUMBER)
    last = known[NUMBER].max()
    assert isinstance(last, int)
    start = last if contract.ahead else last - window + 1
    now = known.filter(number >= start).select(entity).unique()
    before = known.filter(number < start, number >= start - window).select(entity).unique()
    if before.is_empty():
        return
    missing = before.join(now, on=entity, how="anti").sort(entity)
    low = options.min_entity_share
    share = 1 - missing.height / before.height
    lately = "last four weeks" if window > 1 else f"{Step(contract.step).noun} before"
    rule = f"share of entities of the {lately} that are still there"
    sample = tuple(_records(missing.head(SAMPLE))) if share < low else ()
    yield Fact(plus(entity), rule, round(share, 4), low=low, count=missing.height, sample=sample)


def _recent_volume(
    known: pl.DataFrame, contract: TableContract, target: str | None, options: CheckOptions, last: int
) -> Iterator[Fact]:
    """Compare the last days, or longer steps, with the median of earlier ones: the most of one, and the mean."""
    date_column, step = contract.moment, Step(contract.step)
    if step.whole_days:
        number = pl.col(NUMBER)
    else:  # the hours of a night are not those of a day
        day = pl.col(date_column).dt.date()
        begun, last, step = known.select(day.min()).item(), 0, Step("1d")
        last = (known.select(day.max()).item() - begun).days
        number = (day - begun).dt.total_days()
    recent_steps, history, least = VOLUME[step.name]
    measures = {date_column: pl.len().cast(pl.Float64)} | ({target: _sum(target)} if target else {})
    for column, measure in measures.items():
        each = known.group_by(number.alias(NUMBER)).agg(pl.col(date_column).min(), value=measure).sort(NUMBER)
        place = pl.col(NUMBER)
        recent = each.filter(place > last - recent_steps)
        before = each.filter(place <= last - recent_steps, place > last - recent_steps - history)
        usual = before["value"].median()
        if before.height < least or recent.is_empty() or not isinstance(usual, float) or usual <= 0:
            continue
        what = f"{'rows' if column == date_column else column} a {step.noun}"
        ratio = options.max_volume_ratio
        top = recent.sort("value", descending=True).head(1)
        most, mean = float(top["value"][0]) / usual, float(recent["value"].sum()) / recent_steps / usual
        sample = tuple(_records(top.drop(NUMBER)))
        lately = f"last {recent_steps} {step.noun}s / median before"
        yield _ratio(column, f"{what}: most of the {lately}", most, None, ratio, sample)
        yield _ratio(column, f"{what}: mean of the {lately}", mean, 1 / ratio, None, sample)


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
    """Compare entities, rows a day and target a day with the champion's snapshot, as far as both have them."""
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
    first, last = (date.fromisoformat(about[name][:10]) for name in ("first_date", "last_date"))
    days = (last - first).days + 1
    return float(about["rows"]) / days
