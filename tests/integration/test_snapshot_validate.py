"""Every kind of bad data stops at validation with one line that names column and rule; good data passes."""

import json
import math
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, DataError
from tasks.problems.base import Finding
from tasks.stages import validate as validate_stage
from tasks.tables.sources import get_source
from tasks.tables.sources.about import describe
from tasks.tables.table import Column, TableContract
from tasks.tables.validation.options import Checks
from tasks.tables.validation.suite import Check, validate

AS_OF = date(2026, 3, 31)
CONTRACT = TableContract(
    columns=(
        Column("date", "date", key=True, known_ahead=True),
        Column("series_id", "string", key=True, known_ahead=True),
        Column("store_id", "string", known_ahead=True, fixed=True),
        Column("units", "number", nullable=True, low=0),
        Column("price", "number", known_ahead=True, low=0),
        Column("promo", "number", known_ahead=True, low=0, high=1),
        Column("holiday", "boolean", required=False, known_ahead=True),
    ),
    date="date",
    target="units",
    entity=("series_id",),
    horizon=28,
)
CHECKS = Checks(
    max_stale_days=0,
    max_volume_ratio=3.0,
    max_units=5000,
    max_gap_days=6,
    min_entity_share=0.7,
)
REFERENCE = {"rows": 1184, "entities": 8, "first_date": "2025-12-01", "last_date": "2026-04-27", "mean_target": 10.0}

day, store, units = pl.col("date"), pl.col("store_id"), pl.col("units")
BAD_CELL = (date(2026, 3, 5), "s3-a")


def good() -> pl.DataFrame:
    """8 series (4 stores x 2), 2025-12-01 to 2026-03-31 with units, 28 days on without: 149 days, 1192 rows."""
    days = pl.select(date=pl.date_range(date(2025, 12, 1), AS_OF + timedelta(days=28)))
    stores = pl.DataFrame({"store_id": ["s1", "s2", "s3", "s4"]})
    return (
        days.join(stores, how="cross")
        .join(pl.DataFrame({"part": ["a", "b"]}), how="cross")
        .select(
            "date",
            series_id=pl.col("store_id") + "-" + pl.col("part"),
            store_id="store_id",
            units=pl.when(pl.col("date") <= AS_OF).then(8.0 + pl.col("date").dt.weekday()),
            price=pl.lit(1.5),
            promo=pl.lit(0.25),
            holiday=pl.lit(False),
        )
        .sort("date", "series_id")
    )


def cell(column: str, value: float) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """A change of one cell in series s3-a."""
    where = (day == BAD_CELL[0]) & (pl.col("series_id") == BAD_CELL[1])
    return lambda table: table.with_columns(pl.when(where).then(value).otherwise(column).alias(column))


def check(folder: Path, path: str, reference: dict[str, Any] | None = None, docs: Path | None = None) -> list[Check]:
    """Snapshot of a file and its validation, as the stages do them."""
    source = get_source(Spec(kind="table", path=path), (CONTRACT,), "sales", folder)
    snapshot = source.fetch(AS_OF)
    file = folder / "snapshot.parquet"
    snapshot.tables["table"].write_parquet(file)
    about = describe(snapshot, {"table": CONTRACT}, {"table": ""}, "table", AS_OF)["tables"]["table"]
    return validate(pl.read_parquet(file), about, CONTRACT, CHECKS, AS_OF, reference, docs, "sales")


def failures(checks: list[Check]) -> list[Check]:
    return [check for check in checks if not check.success]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("reference", [None, REFERENCE])
def test_a_good_table_passes_and_data_docs_are_written(
    tmp_path: Path, suffix: str, reference: dict[str, Any] | None
) -> None:
    getattr(good(), f"write_{suffix}")(tmp_path / f"table.{suffix}")
    checks = check(tmp_path, f"table.{suffix}", reference, tmp_path / "docs")
    assert failures(checks) == []
    assert len(checks) == (44 if reference is None else 47)
    assert (tmp_path / "docs" / "index.html").is_file()
    assert len(list((tmp_path / "docs" / "validations").rglob("*.html"))) == 2


SERIES_OF_HALF = store.is_in(["s3", "s4"])

ROW_CASES: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str, str, int, str]] = {
    # name: (damage, column, rule, failing count, part of the line)
    "missing column": (lambda t: t.drop("units"), "units", "column exists", 1, "observed missing"),
    "renamed column": (
        lambda t: t.rename({"units": "qty"}), "units", "column exists", 1, "columns_not_in_contract=qty",
    ),
    "text instead of numbers": (
        lambda t: t.with_columns(units.cast(pl.String)), "units", "type", 1192,
        "expected number or integer): observed string",
    ),
    "numbers instead of text": (
        lambda t: t.with_columns(store.str.slice(1).cast(pl.Float64) + 0.5), "store_id", "type", 1192,
        "observed number, e.g. date=2025-12-01, series_id=s1-a, store_id=1.5",
    ),
    "text instead of dates": (
        lambda t: t.with_columns(day.dt.strftime("%d.%m.%Y").alias("date")), "date", "type", 1192,
        "expected date): observed string",
    ),
    "duplicate keys": (
        lambda t: pl.concat([t, t.filter(day == BAD_CELL[0], pl.col("series_id") == BAD_CELL[1])]),
        "date+series_id", "unique date, series_id", 2, "2 of 1193 rows, e.g. date=2026-03-05, series_id=s3-a",
    ),
    "negative sales": (cell("units", -3.0), "units", ">= 0", 1, "date=2026-03-05, series_id=s3-a, units=-3.0"),
    "absurd sales": (cell("units", 89638.0), "units", "<= 5000", 1, "series_id=s3-a, units=89638.0"),
    "NaN": (cell("units", float("nan")), "units", "no NaN or infinity", 1, "series_id=s3-a, units=nan"),
    "infinity": (cell("units", float("inf")), "units", "no NaN or infinity", 1, "series_id=s3-a, units=inf"),
    "a price that is missing": (
        lambda t: t.with_columns(pl.when(day == AS_OF).then(None).otherwise("price").alias("price")),
        "price", "not null", 8, "8 of 1192 rows, e.g. date=2026-03-31, series_id=s1-a, price=None",
    ),
    "units missing in the past": (
        lambda t: t.with_columns(pl.when(day != BAD_CELL[0]).then("units").alias("units")),
        "units", "not null up to as_of 2026-03-31", 8, "date=2026-03-05",
    ),
    "a share above one": (cell("promo", 25.0), "promo", "<= 1", 1, "promo=25.0"),
    "units after as_of": (
        lambda t: t.with_columns(pl.when(day <= AS_OF + timedelta(days=1)).then(9.0).alias("units")),
        "units", "no value after as_of 2026-03-31", 8, "date=2026-04-01, series_id=s1-a, units=9.0",
    ),
    "rows beyond the horizon": (
        lambda t: pl.concat([t, t.tail(8).with_columns(day + pl.duration(days=400))]),
        "date", "no row after 2026-04-28", 8, "date=2027-06-02",
    ),
    "a gap of a week": (
        lambda t: t.filter(~day.is_between(date(2026, 2, 2), date(2026, 2, 8))),
        "date", "most days missing in a row", 1, "(expected <= 6): observed 7, e.g. date=2026-02-09",
    ),
    "a gap of a week in one series": (
        lambda t: t.filter(~(day.is_between(date(2026, 2, 2), date(2026, 2, 8)) & (pl.col("series_id") == "s2-b"))),
        "date", "most days missing in a row of one series_id", 1, "series_id=s2-b",
    ),
    "half of the stores no longer deliver": (
        lambda t: t.filter(~(SERIES_OF_HALF & (day == AS_OF))),
        "series_id", "share of entities of the last four weeks that are still there", 4,
        "observed 0.5, e.g. series_id=s3-a",
    ),
    "ten times the units": (
        lambda t: t.with_columns(pl.when(day == AS_OF).then(units * 10).otherwise(units).alias("units")),
        "units", "units a day: most of the last 7 days / median before", 1, "date=2026-03-31",
    ),
    "ten times the rows": (
        lambda t: pl.concat(
            [t, *(t.filter(day == AS_OF).with_columns(pl.col("series_id") + f"-{n}") for n in range(9))]
        ),
        "date", "rows a day: most of the last 7 days / median before", 1, "observed 10.0",
    ),
    "no new day": (
        lambda t: t.with_columns(pl.when(day < AS_OF).then("units").alias("units")),
        "date", "days without data before as_of 2026-03-31", 1, "last_date=2026-03-30",
    ),
    "no rows for the new day": (
        lambda t: t.filter(day < AS_OF),
        "date", "days without data before as_of 2026-03-31", 1, "observed 1, e.g. last_date=2026-03-30",
    ),
    "no rows at all": (lambda t: t.clear(), "table", "number of rows", 1, "expected >= 1): observed 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", ROW_CASES)
def test_bad_rows_are_refused_by_column_and_rule(tmp_path: Path, case: str) -> None:
    damage, column, rule, count, text = ROW_CASES[case]
    damage(good()).write_parquet(tmp_path / "table.parquet")
    failed = failures(check(tmp_path, "table.parquet"))
    found = next(each for each in failed if (each.column, each.rule) == (column, rule))
    assert found.count == count
    assert text in str(found)
    assert "\n" not in str(found)


REFERENCE_CASES: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str, str]] = {
    "half of the stores": (
        lambda t: t.filter(~SERIES_OF_HALF), "entities", "entities / those of the champion's snapshot",
    ),
    "ten times the units": (
        lambda t: t.with_columns(units * 10), "units", "units a day / that of the champion's snapshot",
    ),
    "ten times the rows": (
        lambda t: pl.concat([t.with_columns(pl.col("series_id") + f"-{n}") for n in range(10)]),
        "rows", "rows a day / those of the champion's snapshot",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFERENCE_CASES)
def test_what_only_the_champions_snapshot_can_tell(tmp_path: Path, case: str) -> None:
    damage, column, rule = REFERENCE_CASES[case]
    damage(good()).write_parquet(tmp_path / "table.parquet")
    assert failures(check(tmp_path, "table.parquet", None)) == []
    assert (column, rule) in [
        (each.column, each.rule) for each in failures(check(tmp_path, "table.parquet", REFERENCE))
    ]


def _truncated(folder: Path) -> str:
    path = folder / "cut.parquet"
    good().write_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    return path.name


def _ragged(folder: Path) -> str:
    path = folder / "ragged.csv"
    path.write_text("date,units\n2026-01-01,1\n2026-01-02,2,3,4\n")
    return path.name


def _empty(folder: Path) -> str:
    (folder / "empty.csv").touch()
    return "empty.csv"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (_truncated, "cut.parquet: cannot be parsed as parquet"),
        (_ragged, "ragged.csv: cannot be parsed as csv"),
        (_empty, "empty.csv: the file is empty (0 bytes)"),
        (lambda _: "absent.parquet", "absent.parquet: no such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, make: Callable[[Path], str], text: str) -> None:
    (failed,) = failures(check(tmp_path, make(tmp_path)))
    assert (failed.column, failed.rule) == ("file", "readable file")
    assert text in str(failed)


def test_csv_headers_without_rows_are_refused(tmp_path: Path) -> None:
    good().clear().write_csv(tmp_path / "table.csv")
    failed = failures(check(tmp_path, "table.csv"))
    assert ("table", "number of rows") in [(each.column, each.rule) for each in failed]


def test_a_table_of_events_knows_no_gaps_of_entities() -> None:
    contract = TableContract(
        columns=(
            Column("date", "date", key=True),
            Column("household_id", "string", key=True),
            Column("spend", "number"),
        ),
        date="date",
        target="spend",
        entity=("household_id",),
    )
    days = pl.select(date=pl.date_range(date(2025, 12, 1), AS_OF))
    table = days.with_columns(household_id=("h" + (day.dt.weekday() % 3).cast(pl.String)), spend=pl.lit(20.0))
    about = {"rows": table.height, "entities": 3, "first_date": "2025-12-01", "last_date": "2026-03-31"}

    def run(rows: pl.DataFrame) -> list[Check]:
        return failures(validate(rows, about, contract, Checks(), AS_OF, None))

    assert run(table) == []
    assert [each.rule for each in run(pl.concat([table, table.tail(1).with_columns(day + pl.duration(days=1))]))] == [
        "no row after 2026-03-31"
    ]


@pytest.mark.parametrize(
    ("checks", "text"),
    [({"max_unit": 5}, "checks.max_unit: "), ({"min_entity_share": 2}, "checks.min_entity_share: ")],
)
def test_a_wrong_threshold_is_a_configuration_error(checks: dict[str, float], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        validate(good(), {}, CONTRACT, Checks(**checks), AS_OF, None)


def test_the_stage_keeps_its_result_and_fails_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = _context(tmp_path, monkeypatch)
    cell("units", -3.0)(good()).write_parquet(tmp_path / "table.parquet")
    _snapshot(context)
    with pytest.raises(DataError) as failure:
        validate_stage.run(context)
    assert str(failure.value) == (
        "validate: 1 of 44 expectations failed; units: >= 0: observed 1 of 1192 rows, "
        "e.g. date=2026-03-05, series_id=s3-a, units=-3.0; all of them: data-docs/index.html among this stage's pages"
    )
    assert (tmp_path / "pages" / "data-docs" / "index.html").is_file()
    kept = json.loads((tmp_path / "pages" / "validation.json").read_text())
    assert kept["success"] is False
    assert [each for each in kept["checks"] if not each["success"]] == [
        {
            "column": "units", "rule": ">= 0", "expected": ">= 0", "observed": "1 of 1192 rows", "success": False,
            "count": 1, "sample": [{"date": "2026-03-05", "series_id": "s3-a", "units": -3.0}], "table": "",
        }
    ]  # fmt: skip


def test_what_the_kind_of_learning_finds_is_told_with_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = (0.5, math.nan, -math.inf, 0.1)
    context = _context(
        tmp_path, monkeypatch, findings=[Finding("events", "item", "share", each, 0.2) for each in values]
    )
    good().write_parquet(tmp_path / "table.parquet")
    _snapshot(context)
    with pytest.raises(DataError) as error:
        validate_stage.run(context)
    assert str(error.value).endswith(
        "expectations failed; events: item: share (expected <= 0.2): observed 0.5; "
        "all of them: validation.json among this stage's pages"
    )
    kept = json.loads((tmp_path / "pages" / "validation.json").read_text())
    assert [each["observed"] for each in kept["checks"] if not each["success"]] == [0.5, "nan", "-inf"]


def test_equal_data_gives_equal_bytes_of_both_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = _context(tmp_path, monkeypatch)
    good().sample(fraction=1.0, shuffle=True, seed=1).write_parquet(tmp_path / "table.parquet")
    first = _both(context)
    good().write_parquet(tmp_path / "table.parquet")
    assert _both(context) == first


def test_several_tables_are_checked_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = (Column("store_id", "string", key=True), Column("size", "number", low=0))
    stores = TableContract(columns, None, None, ("store_id",), name="stores")
    source = {"table": {"kind": "table", "path": "table.parquet"}, "stores": {"kind": "table", "path": "stores.csv"}}
    context = _context(tmp_path, monkeypatch, (CONTRACT, stores), Spec(kind="tables", tables=source))
    good().write_parquet(tmp_path / "table.parquet")
    (tmp_path / "stores.csv").write_text("store_id,size\ns1,10\ns2,20\n")
    kept = _both(context)
    assert {"table.parquet", "stores.parquet"} < kept.keys()
    assert list(json.loads(kept["about.json"])["tables"]) == ["stores", "table"]
    assert (tmp_path / "pages" / "data-docs" / "stores" / "index.html").is_file()
    (tmp_path / "stores.csv").write_text("store_id,size\ns1,10\ns2,-20\n")
    _snapshot(context)
    line = r"^validate: 1 of \d+ expectations failed; stores: size: >= 0: observed 1 of 2 rows, e\.g\. store_id=s2"
    with pytest.raises(DataError, match=line):
        validate_stage.run(context)


def _context(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tables: tuple[TableContract, ...] = (CONTRACT,),
    source: Spec | None = None,
    findings: Iterable[Finding] = (),
) -> Any:
    from types import SimpleNamespace

    from tasks.core.settings import Settings
    from tasks.stages import snapshot as snapshot_stage
    from tasks.stages.context import Context

    problem = SimpleNamespace(tables=lambda: tables, findings=lambda *_: findings)
    for stage in (snapshot_stage, validate_stage):
        monkeypatch.setattr(stage, "get_problem", lambda _: problem)
    source = source or Spec(kind="table", path="table.parquet")
    run = SimpleNamespace(
        workload="sales", timezone="UTC", as_of=AS_OF, champion=0, checks=CHECKS, problem=None, source=source
    )
    return Context(run=run, settings=Settings(project=folder), root=folder, pages=folder / "pages")  # type: ignore[arg-type]


def _snapshot(context: Any) -> None:
    from tasks.stages import snapshot as snapshot_stage

    snapshot_stage.run(context)


def _both(context: Any) -> dict[str, bytes]:
    _snapshot(context)
    validate_stage.run(context)
    folder = context.artifacts
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
