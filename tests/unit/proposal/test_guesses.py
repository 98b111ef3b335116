"""What is guessed of a table that nobody has described."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.core.config import Spec
from tasks.core.errors import DataError, NightstillError, UsageError
from tasks.problems import get_problem
from tasks.proposal.blocks.look import look
from tasks.proposal.forecasting.parts import Parted, with_moment
from tasks.proposal.forecasting.reasons import reasons_of
from tasks.proposal.forecasting.section import section_of
from tasks.proposal.forecasting.seen import Asked, Seen, see
from tasks.tables.sources import get_source
from tests import newcomers


def proposed(path: Path, **asked: Any) -> tuple[Seen, dict[str, Any]]:
    seen = see(look(path), Asked(**asked))
    return seen, section_of("mine", path.name, seen)


def test_daily_sales_of_shops_with_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    seen, section = proposed(newcomers.daily(tmp_path / "shops.csv"))
    assert section["source"] == {
        "kind": "table", "path": "shops.csv", "until_as_of": True, "separator": ";", "decimal": ",",
        "columns": {"date": "Datum", "units": "Sales"},
    }  # fmt: skip
    problem = section["problem"]
    assert (problem["frequency"], problem["season"], problem["horizon"]) == ("1d", 7, 14)
    assert (problem["series"], problem["static"]) == (["Filiale"], ["Filiale", "Region"])
    assert problem["covariates"] == {
        "Aktion": {"known": "ahead", "low": 0, "high": 1},
        "Kunden": {"known": "past", "transform": "standard"},
    }
    assert (problem["positive"], problem["normalise"], problem["metric"]) == (True, "standard", "wape")
    assert seen.as_of == newcomers.DAILY_LAST


def test_hourly_temperatures_with_a_zone_and_below_zero(tmp_path: Path) -> None:
    seen, section = proposed(newcomers.hourly(tmp_path / "sensors.parquet"), target="temperature")
    problem = section["problem"]
    assert section["timezone"] == "Europe/Berlin" and (problem["frequency"], problem["season"]) == ("1h", 24)
    assert (problem["series"], problem["positive"], problem["normalise"]) == (["sensor_id"], False, "standard")
    assert problem["covariates"] == {"humidity": {"known": "past", "transform": "standard"}}
    assert "left out: firmware (has one value)" in reasons_of(seen)
    assert seen.as_of == newcomers.HOURLY_LAST


def test_months_of_one_series(tmp_path: Path) -> None:
    seen, section = proposed(newcomers.monthly(tmp_path / "museum.csv"))
    problem = section["problem"]
    assert (problem["frequency"], problem["season"], problem["horizon"], problem["series"]) == ("1mo", 12, 3, [])
    assert section["source"]["columns"] == {"date": "month", "units": "visitors"}
    assert section["gates"]["segments"]["by"] == [] and seen.as_of == newcomers.MONTHLY_LAST


def test_trees_see_a_day_of_hours_and_what_the_past_alone_knows(tmp_path: Path) -> None:
    _, hours = proposed(newcomers.hourly(tmp_path / "sensors.parquet"), target="temperature")
    trees = hours["teachers"]["lightgbm"]["model"]
    assert (trees["lags"], trees["spans"], trees["newest"]) == (24, [84, 42, 21, 10], True)
    _, months = proposed(newcomers.monthly(tmp_path / "museum.csv"))
    trees = months["teachers"]["lightgbm"]["model"]
    assert trees["lags"] == 12 and "newest" not in trees
    assert max(trees["lags"], *trees["spans"]) <= months["problem"]["context"]


def rows(days: int = 200) -> pl.DataFrame:
    """One value a day."""
    dates = pl.date_range(date(2026, 1, 1), date(2026, 12, 31), "1d", eager=True)[:days]
    return pl.DataFrame({"day": dates, "visits": pl.arange(0, days, eager=True) % 7 + 0.5})


def written(table: pl.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "mine.parquet"
    table.write_parquet(path)
    return path


def test_several_columns_name_a_series_and_a_rest_is_fixed_changing_or_left_out(tmp_path: Path) -> None:
    keys = pl.DataFrame({"store": [1, 1, 2, 2], "item": ["a", "b", "a", "b"], "area": [50.0, 50.0, 70.0, 70.0]})
    table = rows().join(keys, how="cross").with_row_index("line").with_columns(
        sky=pl.when(pl.col("line") % 3 == 0).then(pl.lit("rain")).otherwise(pl.lit("sun")),
        note=pl.col("line").cast(pl.String),
        phase=pl.col("line").cast(pl.Float64) * 0.5,
    ).drop("line")  # fmt: skip
    seen, section = proposed(written(table, tmp_path), target="visits")
    problem = section["problem"]
    assert problem["series"] == ["store", "item"] and problem["numbers"] == ["area"]
    assert problem["categories"] == {"sky": {"known": "past"}}
    assert list(problem["covariates"]) == ["phase_column"], "phase is the name of a feature"
    assert "note" in seen.roles.left_out


@pytest.mark.parametrize(
    ("every", "frequency"), [("1d", "1d"), ("1w", "1w"), ("1h", "1h"), ("15m", "15m"), ("1q", "1q"), ("1mo", "1mo")]
)
def test_the_step_is_the_longest_whose_grid_holds_all_rows(tmp_path: Path, every: str, frequency: str) -> None:
    moments = pl.datetime_range(date(2001, 1, 1), date(2060, 1, 1), every, eager=True)[:400].alias("when")
    table = pl.DataFrame({"when": moments, "y": [float(at % 5) for at in range(len(moments))]}).with_row_index("at")
    seen, _ = proposed(written(table.filter(pl.col("at") != 7).drop("at"), tmp_path))
    assert seen.time.step.name == frequency


def test_zeros_that_are_usual_are_the_foot_of_a_series(tmp_path: Path) -> None:
    """Otherwise a gap that is read as 0 would be far from all that the series ever was."""
    table = rows()
    for share, normalise in ((7, "scale"), (99, "standard")):
        sold = pl.when(pl.int_range(pl.len()) % share > 0).then("visits").otherwise(0.0)
        _, section = proposed(written(table.with_columns(visits=sold), tmp_path))
        assert section["problem"]["normalise"] == normalise
        assert ("lags" in section["teachers"]["lightgbm"]["model"]) == (normalise == "standard")


@pytest.mark.parametrize(("apart", "level"), [(0.0, 0.01), (0.6, 0.05), (6.0, 0.1)])
def test_noise_is_no_larger_than_what_a_season_differs_by(tmp_path: Path, apart: float, level: float) -> None:
    """Of six visits a day on average, every second week `apart` more."""
    week = pl.int_range(pl.len()) // 7 % 2
    table = rows(196).with_columns(visits=6.0 - apart / 2 + apart * week)
    _, section = proposed(written(table, tmp_path))
    assert section["gates"]["robustness"][0] == {"kind": "noise", "level": level, "limit": 1.3}


@pytest.mark.parametrize(("wanders", "naive"), [(1.0, "trailing"), (0.0, None)])
def test_no_forecast_may_be_worse_than_the_better_of_two_simple_ones(
    tmp_path: Path, wanders: float, naive: str | None
) -> None:
    """A walk at random is best told by its last value, a week that repeats by the last week."""
    steps = np.random.default_rng(8).normal(0, 1, 200)
    visits = 100 + wanders * steps.cumsum() + (1 - wanders) * (10 * (np.arange(200) % 7) + steps)
    _, section = proposed(written(rows().with_columns(visits=visits), tmp_path))
    assert section["problem"].get("naive") == naive and section["problem"].get("naive_steps") == (naive and 1)
    # Of the walk: what it is away after 3, 7, 10 and 14 steps, a share of its size; noise of a week: 2 / sqrt(pi).
    away = np.mean([np.abs(visits[lead:] - visits[:-lead]).mean() for lead in (3, 7, 10, 14)]) if wanders else 1.128
    assert section["gates"]["accuracy"]["limit"] == pytest.approx(2 * away / visits.mean(), rel=0.15)


def test_segments_are_those_with_rows_enough_to_be_judged(tmp_path: Path) -> None:
    """Of a few months of evaluation, a region has one row each, which no gate can judge; a country has them of ten."""
    months = pl.date_range(date(2017, 1, 1), date(2025, 12, 1), "1mo", eager=True).alias("month")
    regions = pl.DataFrame({"region": [f"R{at}" for at in range(20)], "count": ["AT", "IT"] * 10})
    table = months.to_frame().join(regions, how="cross").with_columns(nights=pl.int_range(1, pl.len() + 1) * 1.0)
    seen, section = proposed(written(table, tmp_path))
    assert section["problem"]["static"] == ["region", "count"] and seen.plan.origins < 8
    assert section["gates"]["segments"]["by"] == ["count"]


def test_weekdays_alone_are_business_days(tmp_path: Path) -> None:
    seen, _ = proposed(written(rows(300).filter(pl.col("day").dt.weekday() < 6), tmp_path))
    assert seen.time.step.name == "1b"


def test_a_day_that_has_not_ended_is_not_the_last_one(tmp_path: Path) -> None:
    table = pl.read_parquet(newcomers.hourly(tmp_path / "sensors.parquet"))
    seen, _ = proposed(written(table.filter(pl.col("timestamp").rank("dense") <= 1500), tmp_path), target="temperature")
    assert seen.as_of == date(2025, 11, 15) and seen.known["timestamp"].dt.date().max() == date(2025, 11, 16)


def test_what_the_user_says_is_not_guessed(tmp_path: Path) -> None:
    _, section = proposed(
        newcomers.daily(tmp_path / "shops.csv"), target="Kunden", series=["Filiale"], horizon=7, season=14
    )
    problem = section["problem"]
    assert (problem["horizon"], problem["season"], section["source"]["columns"]["units"]) == (7, 14, "Kunden")


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda table: table.drop("day"), DataError, "no column is a date"),
        (lambda table: table.with_columns(day=pl.lit("03.04.2026")), DataError, "YYYY-MM-DD; day has '03.04.2026'"),
        (lambda table: table.with_columns(price=pl.col("visits") * 2), UsageError, "say --target visits"),
        (lambda table: table.with_columns(later=pl.col("day")).rename({"day": "made"}), UsageError, "--time made"),
        (lambda table: table.drop("visits"), DataError, "no column of numbers"),
        (lambda table: table.head(20), DataError, "20 days of history"),
        (lambda table: pl.concat([table, table]), DataError, "several rows have this day"),
        (lambda table: table.clear(), DataError, "the file has no rows"),
    ],
)
def test_what_cannot_be_guessed_is_said(tmp_path: Path, change: Any, error: type[NightstillError], said: str) -> None:
    with pytest.raises(error, match=said):
        proposed(written(change(rows()), tmp_path))


@pytest.mark.parametrize("column", ["target", "series", "time"])
def test_a_column_that_is_not_there_is_said(tmp_path: Path, column: str) -> None:
    asked = {column: ["nothing"] if column == "series" else "nothing"}
    with pytest.raises(UsageError, match=f"--{column} nothing: the table has no such column"):
        proposed(written(rows(), tmp_path), **asked)


@pytest.mark.parametrize(
    ("name", "content"),
    [("mine.parquet", b"no parquet"), ("mine.csv", b""), ("mine.xlsx", b"PK"), ("mine.csv.gz", b"no gzip")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        look(tmp_path / name)


def months(folder: Path, **columns: pl.Series) -> Path:
    """Houses sold in two towns in each month of six years, whose time is a year and a month."""
    rows = [(town, 2000 + month // 12, month % 12 + 1) for town in ("a", "b") for month in range(72)]
    table = pl.DataFrame(rows, schema=["Town", "Year", "Month"], orient="row")
    sold = pl.Series("sales", range(100, 100 + table.height))
    table.with_columns(sold, **columns).write_csv(folder / "houses.csv")
    return folder / "houses.csv"


def test_a_year_and_a_month_are_the_time(tmp_path: Path) -> None:
    seen, section = proposed(months(tmp_path))
    assert section["source"]["shape"] == {"moment": ["Year", "Month"]}
    assert section["problem"]["frequency"] == "1mo" and section["problem"]["series"] == ["Town"]
    assert not section["problem"]["covariates"] and seen.as_of == date(2005, 12, 31) and seen.steps == 72
    assert any(line.startswith("time: Year, Month, in steps of 1mo (months)") for line in reasons_of(seen))
    contract = get_problem(Spec(**section["problem"])).tables()
    rows = get_source(Spec(**section["source"]), contract, "mine", tmp_path).fetch(date(2006, 1, 1)).tables["series"]
    assert rows.sort("Town", "date")["date"].to_list()[:13:12] == [date(2000, 1, 1), date(2001, 1, 1)]


WHEN = pl.Series([date(2000 + month // 12, month % 12 + 1, 1) for month in range(72)] * 2)


@pytest.mark.parametrize(
    "column",
    [{"Month": pl.Series([13, *range(1, 12)] * 12)}, {"Month": pl.Series([None, *range(1, 12)] * 12)}, {"d": WHEN}],
)
def test_numbers_that_are_no_months_or_stand_beside_a_date_are_no_time(
    tmp_path: Path, column: dict[str, pl.Series]
) -> None:
    assert not isinstance(with_moment(look(months(tmp_path, **column))), Parted)


@pytest.mark.parametrize(("every", "metric"), [(2, "wape"), (3, "wql")])
def test_what_is_mostly_zero_is_judged_by_all_quantiles(tmp_path: Path, every: int, metric: str) -> None:
    rare = rows().with_columns(visits=pl.when(pl.arange(0, 200) % every == 0).then(pl.lit(4.0)).otherwise(0.0))
    seen, section = proposed(written(rare, tmp_path))
    assert section["problem"]["metric"] == metric and section["problem"]["normalise"] == "scale"
    assert any("metric: wql" in line for line in reasons_of(seen)) == (metric == "wql")
