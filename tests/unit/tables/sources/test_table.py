"""Files that users bring: names, types, globs, growing tables, and one clear line for wrong options."""

from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, DataError
from tasks.tables.sources import get_source
from tasks.tables.sources.base import Snapshot
from tasks.tables.sources.files import read_files, scan
from tasks.tables.table import Column, TableContract

CONTRACT = TableContract(
    columns=(
        Column("date", "date", key=True, known_ahead=True),
        Column("store_id", "string", key=True, known_ahead=True),
        Column("units", "number", nullable=True),
        Column("holiday", "boolean", required=False, known_ahead=True),
    ),
    date="date",
    target="units",
    entity=("store_id",),
    horizon=1,
)
AS_OF = date(2026, 3, 2)


def fetch(folder: Path, path: str, as_of: date = AS_OF, **options: Any) -> Snapshot:
    return get_source(Spec(kind="table", path=path, **options), (CONTRACT,), "sales", folder).fetch(as_of)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_csv_keeps_ids_as_text_and_reads_dates_and_booleans(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "date,store_id,units,holiday\n2026-03-02,007,1.5,0\n2026-03-01,007,,1\n")
    table = fetch(tmp_path, "a.csv").tables["table"]
    assert table.rows() == [(date(2026, 3, 1), "007", None, True), (date(2026, 3, 2), "007", 1.5, False)]


def test_csv_with_one_word_among_numbers_is_text_for_validation_to_refuse(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "date,store_id,units\n2026-03-01,1,4\n02.03.2026,1,closed\n")
    table = fetch(tmp_path, "a.csv").tables["table"]
    assert table["units"].to_list() == ["closed", "4"]
    assert table["date"].to_list() == ["02.03.2026", "2026-03-01"]


def test_a_glob_is_one_table_whatever_the_order_of_columns(tmp_path: Path) -> None:
    write(tmp_path / "in/2026/b.csv", "date,store_id,units\n2026-03-02,b,2.5\n")
    write(tmp_path / "in/2025/a.csv", "units,store_id,date\n1,a,2026-03-01\n")
    snapshot = fetch(tmp_path, "in/**/*.csv")
    assert sorted(snapshot.tables["table"]["units"].to_list()) == [1.0, 2.5]
    assert snapshot.notes == ("2 file(s): a.csv, b.csv",)


def test_files_of_a_glob_with_other_columns_are_unreadable_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "date,store_id,units\n2026-03-01,a,1\n")
    write(tmp_path / "b.csv", "date,store_id,qty\n2026-03-01,b,1\n")
    assert fetch(tmp_path, "*.csv").unreadable["table"] == f"{tmp_path}/b.csv: other columns than a.csv: qty, units"


def test_columns_are_renamed_to_the_contract(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "day,shop,qty\n2026-03-01,012,4\n")
    columns = {"date": "day", "store_id": "shop", "units": "qty"}
    assert fetch(tmp_path, "a.csv", columns=columns).tables["table"].rows(named=True) == [
        {"date": date(2026, 3, 1), "store_id": "012", "units": 4}
    ]


def test_a_mapped_column_wins_over_one_that_has_the_name(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "date,store_id,units,sold\n2026-03-01,1,100,4\n")
    table = fetch(tmp_path, "a.csv", columns={"units": "sold"}).tables["table"]
    assert table.columns == ["date", "store_id", "units"]
    assert table["units"].to_list() == [4]


def test_parquet_timestamps_at_midnight_are_dates_and_others_are_left(tmp_path: Path) -> None:
    for hour, dtype in ((0, pl.Date), (5, pl.Datetime("us"))):
        moment = datetime(2026, 3, 1, hour)  # noqa: DTZ001 naive, as in files
        frame = pl.DataFrame({"date": [moment], "store_id": ["a"], "units": [1.0]})
        frame.write_parquet(tmp_path / "a.parquet")
        assert fetch(tmp_path, "a.parquet").tables["table"].schema["date"] == dtype


def test_a_growing_table_is_cut_back_to_what_was_known(tmp_path: Path) -> None:
    days = [date(2026, 3, day) for day in (1, 2, 3, 4)]
    pl.DataFrame({"date": days, "store_id": ["a"] * 4, "units": [1.0, 2.0, 3.0, 4.0]}).write_parquet(
        tmp_path / "a.parquet"
    )
    assert fetch(tmp_path, "a.parquet").tables["table"]["units"].to_list() == [1.0, 2.0, 3.0, 4.0]
    assert fetch(tmp_path, "a.parquet", until_as_of=True).tables["table"].select("date", "units").rows() == [
        (date(2026, 3, 1), 1.0),
        (date(2026, 3, 2), 2.0),
        (date(2026, 3, 3), None),
    ]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"path": "a.xlsx"},
            r"^source\.path: expected files that end in .*kind table takes: .*columns, .*path, until_as_of",
        ),
        ({"path": "a.csv", "sheet": 1}, r"^source\.sheet: Extra inputs are not permitted"),
        ({"path": "a.csv", "columns": {"unit": "qty"}}, r"^source\.columns\.unit: the contract has no such column"),
    ],
)
def test_wrong_options_name_the_field(tmp_path: Path, options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line) as failure:
        get_source(Spec(kind="table", **options), (CONTRACT,), "sales", tmp_path)
    assert "\n" not in str(failure.value)


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"workloads\.sales\.source\.kind: unknown kind 'excel'; there are: complete"):
        get_source(Spec(kind="excel"), (CONTRACT,), "sales")


def test_a_scanned_file_has_dates_where_its_timestamps_are_midnights(tmp_path: Path) -> None:
    moments = [datetime.fromisoformat("2026-03-01"), datetime.fromisoformat("2026-03-02")]
    pl.DataFrame({"date": moments, "store_id": ["a", "b"]}).write_parquet(tmp_path / "a.parquet")
    table = scan(tmp_path / "a.parquet", CONTRACT)
    assert table.collect().rows() == [(date(2026, 3, 1), "a"), (date(2026, 3, 2), "b")]


def test_a_scanned_file_keeps_times_of_day(tmp_path: Path) -> None:
    moments = [datetime.fromisoformat("2026-03-01T00:30")]
    pl.DataFrame({"date": moments}).write_parquet(tmp_path / "a.parquet")
    assert scan(tmp_path / "a.parquet", CONTRACT).collect()["date"].to_list() == moments


@pytest.mark.parametrize(("content", "message"), [(None, "no such file"), (b"text", "cannot be parsed as parquet")])
def test_a_file_that_cannot_be_scanned_is_refused_by_name(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"a.parquet: {message}"):
        scan(path, CONTRACT)


def other(step: str, zone: str = "Europe/Berlin") -> TableContract:
    kind: Any = "moment" if step == "1h" else "date"
    return replace(
        CONTRACT,
        columns=(Column("date", kind, key=True, known_ahead=True), *CONTRACT.columns[1:]),
        step=step,
        zone=zone,
    )


def fetch_as(
    folder: Path, table: pl.DataFrame, contract: TableContract, as_of: date, *, until: bool = True
) -> pl.DataFrame:
    table.write_parquet(folder / "a.parquet")
    section = Spec(kind="table", path="a.parquet", until_as_of=until)
    return get_source(section, (contract,), "sales", folder).fetch(as_of).tables["table"]


def test_a_growing_table_of_hours_is_cut_back_on_the_evening_of_its_zone(tmp_path: Path) -> None:
    berlin = pl.datetime_range(
        datetime(2026, 3, 28), datetime(2026, 3, 30, 23), "1h", eager=True, time_zone="Europe/Berlin"  # noqa: DTZ001
    )  # fmt: skip
    rows = pl.DataFrame({"date": berlin.dt.convert_time_zone("UTC"), "store_id": "a", "units": 1.0})
    found = fetch_as(tmp_path, rows, other("1h"), date(2026, 3, 29))
    assert found.schema["date"] == pl.Datetime("us", "Europe/Berlin")
    known = found.filter(pl.col("units").is_not_null())
    assert known.height == 24 + 23, "the day of the change lacks an hour"
    assert [str(moment) for moment in found["date"].tail(2)] == [
        "2026-03-29 23:00:00+02:00",
        "2026-03-30 00:00:00+02:00",
    ]


def test_a_growing_table_of_months_is_cut_back_to_those_that_have_ended(tmp_path: Path) -> None:
    rows = pl.DataFrame({"date": ["2026-01", "2026-02", "2026-03", "2026-04"], "store_id": "a", "units": 1.0})
    found = fetch_as(tmp_path, rows, other("1mo"), date(2026, 2, 27))
    assert found.select("date", "units").rows() == [(date(2026, 1, 1), 1.0), (date(2026, 2, 1), None)]
    found = fetch_as(tmp_path, rows, other("1mo"), date(2026, 2, 28))
    assert found["units"].to_list() == [1.0, 1.0, None] and found["date"].dtype == pl.Date


def test_quarters_of_a_csv(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "date,store_id,units\n2025-Q4,007,1\n2026Q1,007,2\n")
    section = Spec(kind="table", path="a.csv")
    found = get_source(section, (other("1q"),), "sales", tmp_path).fetch(AS_OF).tables["table"]
    assert found["date"].to_list() == [date(2025, 10, 1), date(2026, 1, 1)]


def test_a_scanned_file_has_its_zone_and_its_months(tmp_path: Path) -> None:
    moments = [datetime.fromisoformat("2026-03-28T23:00:00+00:00"), datetime.fromisoformat("2026-03-29T22:00:00+00:00")]
    pl.DataFrame({"date": moments}).write_parquet(tmp_path / "a.parquet")
    assert scan(tmp_path / "a.parquet", other("1d")).collect()["date"].to_list() == [
        date(2026, 3, 29),
        date(2026, 3, 30),
    ]
    hours = scan(tmp_path / "a.parquet", other("1h")).collect()["date"]
    assert hours.dtype == pl.Datetime("us", "Europe/Berlin") and hours.to_list() == moments
    pl.DataFrame({"date": ["2026-03", "2026-04"]}).write_parquet(tmp_path / "b.parquet")
    assert scan(tmp_path / "b.parquet", other("1mo")).collect()["date"].dtype == pl.Date


def test_a_mapped_column_that_is_gone_is_not_another_that_has_the_name(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "date,store_id,units,sold\n2026-03-01,1,100,4\n")
    assert fetch(tmp_path, "a.csv", columns={"units": "sold_qty"}).unreadable["table"] == (
        "source.columns.units: the table has no column 'sold_qty'; it has: date, store_id, units, sold"
    )


@pytest.mark.parametrize("columns", [{"store_id": "shop", "units": "shop"}, {"units": "store_id"}])
def test_one_column_for_two_names_is_refused(tmp_path: Path, columns: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^source\.columns: store_id and units name the same column"):
        fetch(tmp_path, "a.csv", columns=columns)


def test_two_mapped_columns_may_change_their_names(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "store_id,date,units\n2026-03-01,1,4\n")
    table = fetch(tmp_path, "a.csv", columns={"date": "store_id", "store_id": "date"}).tables["table"]
    assert table.rows(named=True) == [{"date": date(2026, 3, 1), "store_id": "1", "units": 4}]


def test_columns_without_a_value_and_fixed_point_numbers_have_the_contract_s_type(tmp_path: Path) -> None:
    days = [date(2026, 3, 1), date(2026, 3, 2)]
    pl.DataFrame({"date": days, "store_id": ["a"] * 2, "units": [None, None]}).write_parquet(tmp_path / "1.parquet")
    assert fetch(tmp_path, "1.parquet").tables["table"].schema["units"] == pl.Float64
    fixed = pl.Series([2, 3], dtype=pl.Decimal(10, 2))
    pl.DataFrame({"date": days, "store_id": ["a"] * 2, "units": fixed}).write_parquet(tmp_path / "2.parquet")
    assert fetch(tmp_path, "2.parquet").tables["table"]["units"].to_list() == [2.0, 3.0]


def test_a_file_of_the_command_line_is_read_as_the_source_says(tmp_path: Path) -> None:
    source = Spec(kind="table", path="x.csv", columns={"units": "sold"}, separator=";", decimal=",")
    write(tmp_path / "t[1].csv", "date;store_id;units;sold\n2026-03-01;007;9;1,5\n")
    row = {"date": [date(2026, 3, 1)], "store_id": ["007"], "units": [9], "sold": [2.5]}
    pl.DataFrame(row).write_parquet(tmp_path / "t[1].parquet")
    write(tmp_path / "t1.csv", "date;store_id;sold\n2026-03-01;007;100\n")
    for name, units in (("t[1].csv", 1.5), ("t[1].parquet", 2.5)):
        table = read_files([f"{tmp_path}/{name}"], (CONTRACT,), source)["table"].collect()
        assert table["units"].to_list() == [units]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_of_the_command_line_lacks_no_column_that_the_source_maps(tmp_path: Path, ending: str) -> None:
    write(tmp_path / "a.csv", "date,store_id,units\n2026-03-01,007,9\n")
    pl.read_csv(tmp_path / "a.csv").write_parquet(tmp_path / "a.parquet")
    source = Spec(kind="tables", tables={"table": {"kind": "sql", "url_env": "X", "columns": {"units": "sold"}}})
    with pytest.raises(DataError, match=rf"a\.{ending}: source\.columns\.units: the table has no column 'sold'"):
        read_files([f"{tmp_path}/a.{ending}"], (CONTRACT,), source)


def test_ids_that_a_tool_made_decimals_are_texts_of_whole_numbers(tmp_path: Path) -> None:
    """pandas does so to whole numbers of which some are missing; what is no whole number stays for validation."""
    days = pl.Series([AS_OF, AS_OF, AS_OF])
    for ids, kept in (([7.0, 12.0, None], ["7", "12", None]), ([7.5, 12.0, None], [7.5, 12.0, None])):
        pl.DataFrame({"date": days, "store_id": ids, "units": [1.0, 2.0, 3.0]}).write_parquet(tmp_path / "a.parquet")
        assert fetch(tmp_path, "a.parquet").tables["table"].sort("units")["store_id"].to_list() == kept
        table = read_files([str(tmp_path / "a.parquet")], (CONTRACT,))["table"].collect()
        assert table["store_id"].to_list() == kept


def test_a_table_takes_a_shape_as_files_of_packages_do(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "year,month,day,store_id,units\n2026,3,1,a,4\n2026,3,1,a,5\n2026,3,2,,6\n")
    shape = {"moment": ["year", "month", "day"], "filled": ["store_id"], "distinct": True}
    wanted = [(date(2026, 3, 1), "a", 4)]
    assert fetch(tmp_path, "a.csv", shape=shape).tables["table"].select("date", "store_id", "units").rows() == wanted
    scored = read_files([str(tmp_path / "a.csv")], (CONTRACT,), Spec(kind="table", path="b.csv", shape=shape))["table"]
    assert scored.collect().select("date", "store_id", "units").rows() == wanted
