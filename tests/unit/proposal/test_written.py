"""Files as other programs write them: no values in words, days in another form, rows twice, units behind numbers."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.config.workload import Workload
from tasks.core.errors import DataError
from tasks.problems import get_problem
from tasks.proposal.forecasting.seen import Asked
from tasks.proposal.propose import propose
from tasks.tables.sources import get_source
from tests import newcomers
from tests.unit.proposal.test_kinds import flats, proposed, purchases, texts


def sensors(path: Path, change: Any) -> Path:
    """Write two sensors' temperatures, changed, as text."""
    table = pl.read_parquet(newcomers.hourly(path.with_suffix(".parquet")))
    table = table.with_columns(timestamp=pl.col("timestamp").dt.convert_time_zone("UTC").dt.replace_time_zone(None))
    change(table).write_csv(path)
    return path


def test_words_for_no_value_are_no_texts_and_rows_without_a_target_are_gaps(tmp_path: Path) -> None:
    lost = pl.int_range(pl.len())
    path = sensors(
        tmp_path / "s.csv",
        lambda table: table.with_columns(
            temperature=pl.when(lost % 40 != 7).then(pl.col("temperature").cast(pl.String)).otherwise(pl.lit("NA")),
            humidity=pl.when(lost % 3 > 0).then(pl.col("humidity").cast(pl.String)).otherwise(pl.lit(" ")),
            year=pl.col("timestamp").dt.year(),
            hour=pl.col("timestamp").dt.hour(),
        ),
    )
    found = proposed(path, target="temperature")
    assert found.section["source"]["shape"] == {"observed": True, "missing": [" ", "NA"]}
    covariates = found.section["problem"]["covariates"]
    assert covariates == {"humidity": {"known": "past", "missing": True, "transform": "standard"}}
    assert found.section["source"]["columns"]["date"] == "timestamp", "a year beside a moment is a part of it"
    for said in ("no value: ' ', 'NA' (source.shape.missing)", "left out: hour (a part of the time)"):
        assert said in found.reasons


def test_a_word_for_no_value_is_a_category_like_others_where_no_number_stands_beside_it(tmp_path: Path) -> None:
    path = sensors(tmp_path / "s.csv", lambda table: table.with_columns(site=pl.lit("NA"), firmware=pl.lit("-")))
    assert "shape" not in proposed(path, target="temperature").section["source"]


@pytest.mark.parametrize(
    ("form", "file_form"),
    [
        ("%d.%m.%Y", "%d.%m.%Y"), ("%-m/%-d/%y", "%m/%d/%y"), ("%d-%b-%Y", "%d-%b-%Y"), ("%Y/%m/%d", "%Y/%m/%d"),
        ("%B %-d, %Y", "%B %d, %Y"),
    ],
)  # fmt: skip
def test_days_in_other_forms_are_read(tmp_path: Path, form: str, file_form: str) -> None:
    days = pl.date_range(date(2025, 1, 1), date(2025, 12, 31), "1d", eager=True)
    table = pl.DataFrame({"Tag": days.dt.strftime(form), "Sales": pl.arange(0, len(days), eager=True) % 7 + 10})
    table.write_csv(tmp_path / "t.csv")
    found = proposed(tmp_path / "t.csv")
    assert found.section["source"]["shape"] == {"time_format": file_form}
    assert found.as_of == date(2025, 12, 31) and found.section["problem"]["frequency"] == "1d"
    assert f"Tag is written as {file_form} (source.shape.time_format)" in found.reasons


@pytest.mark.parametrize("clock", ["", " %H:%M", " %I:%M:%S %p"])
def test_purchases_with_moments_in_another_form_keep_their_order(tmp_path: Path, clock: str) -> None:
    table = purchases()
    table = table.with_columns(pl.col("InvoiceDate").dt.strftime(f"%-d/%m/%Y{clock}"))
    table.write_csv(tmp_path / "p.csv")
    found = proposed(tmp_path / "p.csv")
    assert found.section["source"]["shape"]["time_format"] == f"%d/%m/%Y{clock}"
    assert ("order" in found.section["problem"]) == bool(clock)
    assert found.as_of == date(2026, 6, 29)


def test_what_was_given_back_was_not_bought(tmp_path: Path) -> None:
    table = purchases().with_columns(Quantity=pl.when(pl.int_range(pl.len()) % 9 == 4).then(-2).otherwise(3))
    table.write_csv(tmp_path / "p.csv")
    found = proposed(tmp_path / "p.csv")
    assert found.section["source"]["shape"]["least"] == {"Quantity": 3}
    assert any(line.endswith("rows of Quantity below 3: given back (source.shape.least)") for line in found.reasons)
    table.with_columns(pl.col("Quantity").abs()).write_csv(tmp_path / "p.csv")
    assert "least" not in proposed(tmp_path / "p.csv").section["source"]["shape"]


def test_a_purchase_counts_although_a_return_of_the_same_day_stands_before_it(tmp_path: Path) -> None:
    bought = purchases().with_columns(Quantity=pl.lit(3))
    back = bought[:50].with_columns(Quantity=pl.lit(-2))
    pl.concat([back, bought, bought[:7]]).write_csv(tmp_path / "p.csv")
    found = proposed(tmp_path / "p.csv")
    assert "left out: 7 rows that say the same again (source.shape.distinct)" in found.reasons
    section = Workload.model_validate(found.section)
    source = get_source(section.source, get_problem(section.problem).tables(), "mine", tmp_path)
    (events,) = source.fetch(date(2026, 6, 29)).tables.values()
    had = bought.unique(["Customer ID", "StockCode", pl.col("InvoiceDate").dt.date()])
    assert events.height == had.height


def test_a_few_rows_twice_are_a_mistake_and_many_are_none(tmp_path: Path) -> None:
    table = pl.read_csv(newcomers.daily(tmp_path / "d.csv"), separator=";", decimal_comma=True).drop_nulls("Sales")
    pl.concat([table, table[5:6].with_columns(Sales=0.0)]).write_csv(tmp_path / "t.csv")
    found = proposed(tmp_path / "t.csv")
    assert found.section["source"]["shape"] == {"distinct": True}
    assert found.section["problem"]["series"] == ["Filiale"]
    assert f"beware: 1 of {table.height + 1:,} rows have the Datum and Filiale of another" in "\n".join(found.reasons)
    pl.concat([table, table[:5]]).write_csv(tmp_path / "t.csv")
    with pytest.raises(DataError, match="several rows have this Datum"):
        propose("mine", tmp_path / "t.csv", tmp_path)


def test_a_target_is_told_by_the_last_word_of_its_name_and_y_beside_x_is_a_place(tmp_path: Path) -> None:
    newcomers.daily(tmp_path / "d.csv")
    table = pl.read_csv(tmp_path / "d.csv", separator=";", decimal_comma=True).rename({"Sales": "Daily_Sales"})
    table.drop_nulls("Daily_Sales").write_csv(tmp_path / "t.csv")
    assert proposed(tmp_path / "t.csv").section["source"]["columns"]["units"] == "Daily_Sales"
    places = flats().with_columns(x=pl.col("area") / 3, y=pl.col("area") / 2)
    places.write_csv(tmp_path / "f.csv")
    assert proposed(tmp_path / "f.csv", "tabular").section["problem"]["target"] == "price"
    places.drop("x").write_csv(tmp_path / "f.csv")
    assert proposed(tmp_path / "f.csv", "tabular").section["problem"]["target"] == "y"


def test_rows_with_words_for_no_value_and_days_in_another_form_have_a_line_each(tmp_path: Path) -> None:
    area = pl.when(pl.int_range(pl.len()) % 9 == 0).then(pl.lit("NA")).otherwise(pl.col("area").cast(pl.String))
    flats().with_columns(area=area, date=pl.col("date").dt.strftime("%d.%m.%Y")).write_csv(tmp_path / "f.csv")
    found = proposed(tmp_path / "f.csv", "tabular")
    lines = ["date is written as %d.%m.%Y (source.shape.time_format)", "no value: 'NA' (source.shape.missing)"]
    assert [line for line in found.reasons if "source.shape" in line] == lines
    assert "area" in found.section["problem"]["numbers"]


def test_numbers_with_a_unit_are_said_to_be_so(tmp_path: Path) -> None:
    table = flats().with_columns(pl.format("{} €", pl.int_range(pl.len()) + 0.5).alias("price"))
    table.write_csv(tmp_path / "f.csv")
    with pytest.raises(DataError, match=r"f\.csv: price has numbers with a unit, such as '0.5 €'; write the numbers"):
        propose("mine", tmp_path / "f.csv", tmp_path, asked=Asked(target="price"))


@pytest.mark.parametrize("asked", ["", "Sales"])
def test_sales_with_a_unit_are_not_passed_over_for_another_column(tmp_path: Path, asked: str) -> None:
    text = newcomers.daily(tmp_path / "d.csv").read_text()
    (tmp_path / "d.csv").write_text(re.sub(r"(?m)^((?:[^;]+;){3}\d+,\d\d);", r"\1 €;", text))
    with pytest.raises(DataError, match=r"d\.csv: Sales has numbers with a unit, such as '[\d,]+ €'; write"):
        propose("mine", tmp_path / "d.csv", tmp_path, "forecasting", Asked(target=asked))


def test_days_beside_the_time_in_another_form_are_left_out_with_the_way_out(tmp_path: Path) -> None:
    table = flats().with_columns(built=pl.date(2001, 5, 13 + pl.int_range(pl.len()) % 9).dt.strftime("%d/%m/%Y"))
    table.write_csv(tmp_path / "f.csv")
    found = proposed(tmp_path / "f.csv", "tabular")
    assert any("built (days as %d/%m/%Y; write YYYY-MM-DD)" in line for line in found.reasons)


def test_another_form_on_a_later_day_is_refused_by_name(tmp_path: Path) -> None:
    days = pl.date_range(date(2025, 1, 1), date(2025, 12, 31), "1d", eager=True)
    table = pl.DataFrame({"Tag": days.dt.strftime("%d.%m.%Y"), "Sales": pl.arange(0, len(days), eager=True) % 7 + 10})
    table.write_csv(tmp_path / "t.csv")
    section = Workload.model_validate(proposed(tmp_path / "t.csv").section)
    table.with_columns(Tag=days.cast(pl.String)).write_csv(tmp_path / "t.csv")
    source = get_source(section.source, get_problem(section.problem).tables(), "mine", tmp_path)
    (said,) = source.fetch(date(2025, 12, 31)).unreadable.values()
    assert "source.shape.time_format: '2025-01-01' of Tag is not written as %d.%m.%Y" in said


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda: flats()[:5], "tabular", "5 rows with a price; at least 50 are needed"),
        (lambda: purchases()[:5], None, "5 events; at least 50 are needed"),
        (lambda: texts()[:6], "text", "6 texts with a Topic; at least 50 are needed"),
        (
            lambda: pl.DataFrame({"hour": [f"2026-04-01T0{at}:00" for at in range(5)], "load": [1, 3, 2, 4, 9]}),
            None,
            "0 hours of history",
        ),
    ],
)
def test_five_rows_are_refused_before_anything_is_written(tmp_path: Path, make: Any, kind: Any, said: str) -> None:
    make().write_csv(tmp_path / "few.csv")
    asked = Asked(target="Topic") if "Topic" in make().columns else Asked()
    with pytest.raises(DataError, match=rf"few\.csv: {said}"):
        propose("mine", tmp_path / "few.csv", tmp_path, kind, asked)
