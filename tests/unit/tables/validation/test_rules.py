"""Facts of a table, by hand: types, freshness, gaps, entities and volume."""

from dataclasses import replace
from datetime import date

import polars as pl
import pytest

from tasks.core.errors import ConfigError
from tasks.tables.table import Column, TableContract
from tasks.tables.validation.options import CheckOptions, Checks, parse_checks
from tasks.tables.validation.rules import Fact, family, row_rules, table_facts, type_facts, usable

CONTRACT = TableContract(
    columns=(
        Column("date", "date", key=True, known_ahead=True),
        Column("series_id", "string", key=True, known_ahead=True),
        Column("units", "number", nullable=True, low=0),
    ),
    date="date",
    target="units",
    entity=("series_id",),
    horizon=7,
)
AS_OF = date(2026, 3, 31)


def facts(table: pl.DataFrame, reference: dict[str, object] | None = None, **about: object) -> dict[str, Fact]:
    columns = usable(table, CONTRACT)
    found = table_facts(table, columns, CONTRACT, CheckOptions(), AS_OF, about, reference)
    return {f"{fact.column}: {fact.rule}": fact for fact in found}


def daily(last: date = AS_OF, units: float = 10.0) -> pl.DataFrame:
    days = pl.select(date=pl.date_range(date(2026, 2, 1), last))
    return days.join(pl.DataFrame({"series_id": ["a", "b"]}), how="cross").with_columns(units=pl.lit(units))


def test_ids_of_rows_are_new_every_day_and_no_entities_that_should_come_again() -> None:
    columns = tuple(replace(column, key=column.name == "series_id") for column in CONTRACT.columns)
    contract = replace(CONTRACT, columns=columns)
    table = daily().with_columns(series_id=pl.int_range(pl.len()).cast(pl.String))
    for each, told in ((CONTRACT, True), (contract, False)):
        found = table_facts(table, usable(table, each), each, CheckOptions(), AS_OF, {}, None)
        assert any("entit" in fact.rule or "series_id" in fact.rule for fact in found) is told, [f.rule for f in found]


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (pl.String(), "string"),
        (pl.Categorical(), "string"),
        (pl.Date(), "date"),
        (pl.Datetime("us"), "moment"),
        (pl.Int8(), "integer"),
        (pl.Float32(), "number"),
        (pl.Decimal(10, 2), "number"),
        (pl.Boolean(), "boolean"),
    ],
)
def test_types_by_family(dtype: pl.DataType, name: str) -> None:
    assert family(dtype) == name


def test_volume_compares_the_last_week_with_the_median_before() -> None:
    table = daily().with_columns(pl.when(pl.col("date") == AS_OF).then(80.0).otherwise("units").alias("units"))
    found = facts(table)
    most = found["units: units a day: most of the last 7 days / median before"]
    assert (most.value, most.high, most.count) == (8.0, 3.0, 1)
    assert most.sample == ({"date": "2026-03-31", "value": 160.0},)
    assert found["units: units a day: mean of the last 7 days / median before"].value == 2.0
    assert found["date: rows a day: most of the last 7 days / median before"].value == 1.0


def test_a_table_too_short_for_a_median_has_no_volume_facts() -> None:
    short = daily().filter(pl.col("date") > date(2026, 3, 12))
    assert not [key for key in facts(short) if "median" in key]
    assert [key for key in facts(daily()) if "median" in key]


def test_freshness_counts_days() -> None:
    fact = facts(daily(date(2026, 3, 28)))["date: days without data before as_of 2026-03-31"]
    assert (fact.value, fact.high, fact.count) == (3, 0, 1)


def test_gaps_are_days_without_a_row() -> None:
    holes = pl.col("date").is_between(date(2026, 3, 2), date(2026, 3, 9)) & (pl.col("series_id") == "b")
    found = facts(daily().filter(~holes))
    assert found["date: most days missing in a row"].value == 0
    one = found["date: most days missing in a row of one series_id"]
    assert (one.value, one.count) == (8, 1)
    assert one.sample == ({"date": "2026-03-10", "series_id": "b", "missing_days_before": 8},)


def test_the_champions_snapshot_is_compared_by_the_day() -> None:
    then = {"rows": 590, "entities": 4, "first_date": "2025-01-01", "last_date": "2025-10-22", "mean_target": 5.0}
    now = {"rows": 118, "entities": 2, "first_date": "2026-02-01", "last_date": "2026-03-31", "mean_target": 10.0}
    found = facts(daily(), then, **now)
    assert found["rows: rows a day / those of the champion's snapshot"].value == 1.0
    assert found["units: units a day / that of the champion's snapshot"].value == 2.0
    entities = found["entities: entities / those of the champion's snapshot"]
    assert (entities.value, entities.low, entities.count) == (0.5, 0.7, 1)


def test_what_a_former_snapshot_does_not_tell_is_left_out() -> None:
    assert not [key for key in facts(daily(), {}, rows=118, entities=2) if "champion" in key]


def test_a_limit_of_the_target_needs_a_target() -> None:
    events = TableContract((Column("date", "date", key=True),), date="date", target=None, entity=())
    with pytest.raises(ConfigError, match=r"^checks\.max_units: this problem's table has no target column"):
        parse_checks(Checks.model_validate({"max_units": 5}), events)


@pytest.mark.parametrize("number", ["4", "4,5", "1.234,5", "1,234.5"])
def test_a_word_among_numbers_of_any_form_is_shown_with_its_keys(number: str) -> None:
    units = pl.when(pl.col("date") == AS_OF).then(pl.lit("NA")).otherwise(pl.lit(number))
    table = daily().with_columns(units=units)
    (fact,) = (fact for fact in type_facts(table, CONTRACT) if fact.column == "units")
    assert fact.sample == ({"date": "2026-03-31", "series_id": "a", "units": "NA"},)


@pytest.mark.parametrize("fill", [9.96921e36, 1e20, 3.4e38, 1e39, 9223372036854775807])
@pytest.mark.parametrize("sign", [1, -1])
def test_fill_values_are_no_numbers_of_a_table(fill: float, sign: int) -> None:
    contract = TableContract((Column("units", "number"),), None, None, ())
    rules = row_rules(list(contract.columns), contract, CheckOptions())
    table = pl.DataFrame({"units": [1e17, -1e17, sign * fill]}, schema={"units": pl.Float64})
    broken = [rule.rule for rule in rules if table.select(rule.bad.any()).item()]
    assert broken == ["<= 1e+18" if sign > 0 else ">= -1e+18"]
