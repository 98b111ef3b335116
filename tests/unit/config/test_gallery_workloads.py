"""Each file of workloads/: it validates and plans without a network, and tables of its make become rows."""

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.core.config import Spec
from tasks.core.params import find_sections
from tasks.gates.accuracy import against_naive, not_too_good
from tasks.gates.champion import Champion
from tasks.pipeline.graph import load_graph
from tasks.planning.soundness import require_sound
from tasks.problems import get_problem
from tasks.tables.sources import get_source
from tasks.tables.table import in_zone
from tasks.tables.validation.preview import preview
from tests.wheels import make_wheel, serve_wheels

PROJECT = Path(__file__).parents[3]
NAMES = [name for name, found in find_sections(PROJECT / "params.yaml").items() if found.label != "params.yaml"]
NIGHT = date(2026, 11, 20)
FIRST = datetime.fromisoformat("2014-01-01T00:00")
HOURS = 24 * 7 * 26
"""Half a year: a replay shows its second half."""


def test_there_are_some() -> None:
    assert {"power", "traffic", "weather", "pollution"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_validates_and_plans_without_a_network(name: str) -> None:
    section = load_workload(PROJECT / "params.yaml", name)
    require_sound(name, section, PROJECT, f"workloads/{name}.yaml")
    run = Run(**dict(section), workload=name, as_of=NIGHT, champion=0)
    stages = load_graph((PROJECT / "dvc.yaml").read_text(), run.model_dump(mode="json")).stages
    assert {*(f"teach@{teacher}" for teacher in section.teachers), "distil@student", "distil@twin"} <= set(stages)
    assert section.schedule is None
    gates = section.gates
    # Of 1 - NDCG most is lost to anybody, so that small shares of it are much.
    least = 0.02 if section.problem.kind == "ranking" else 0.05
    assert gates.accuracy.naive_margin >= least, "no better than the naive answer is no release"


def hours() -> pl.DataFrame:
    """Moments with a value that has a daily and a weekly cycle, and weather around it."""
    rng = np.random.default_rng(3)
    moments = [FIRST + timedelta(hours=step) for step in range(HOURS)]
    cycle = np.sin(np.arange(HOURS) * 2 * np.pi / 24) + 0.3 * np.sin(np.arange(HOURS) * 2 * np.pi / 168)
    return pl.DataFrame(
        {
            "moment": moments,
            "value": (1000 + 400 * cycle + rng.normal(0, 20, HOURS)).round(1),
            "cold": (-2 + 10 * cycle + rng.normal(0, 1, HOURS)).round(1),
            "level": rng.uniform(0, 5, HOURS).round(2),
            "sign": rng.choice(["NW", "SE", "cv"], HOURS),
        }
    )


def power_rows() -> pl.DataFrame:
    return hours().select(ts=pl.col("moment").dt.to_string("%Y-%m-%d %H:%M:%S"), y="value")


def traffic_rows() -> pl.DataFrame:
    """Some hours are there twice, some not at all."""
    once = hours().select(
        holiday=pl.lit("None"),
        temp=pl.col("cold") + 280,
        rain_1h="level",
        snow_1h=pl.lit(0.0),
        clouds_all=pl.lit(40),
        weather_main="sign",
        weather_description="sign",
        # Before the file's own first day rows are left out.
        date_time=(pl.col("moment") + timedelta(days=730)).dt.to_string("%Y-%m-%d %H:%M:%S"),
        traffic_volume=pl.col("value").cast(pl.Int64),
    )
    return pl.concat([once[:700], once[690:2000], once[2005:]])


def beijing_rows() -> pl.DataFrame:
    moment, value = pl.col("moment"), pl.col("value").cast(pl.String)
    return hours().select(
        No=pl.int_range(pl.len()),
        year=moment.dt.year(),
        month=moment.dt.month(),
        day=moment.dt.day(),
        hour=moment.dt.hour(),
        **{"pm2.5": pl.when(pl.int_range(pl.len()) % 97 > 2).then(value).otherwise(pl.lit("NA"))},
        DEWP=pl.col("cold") - 5,
        TEMP="cold",
        PRES=pl.lit(1016.0),
        cbwd="sign",
        Iws="level",
        Is=pl.lit(0),
        Ir=pl.lit(0),
    )


MAKES = {"power": power_rows, "traffic": traffic_rows, "pollution": beijing_rows, "weather": beijing_rows}


@pytest.mark.parametrize("name", MAKES)
def test_a_small_table_of_its_make_is_valid_and_becomes_rows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = load_workload(PROJECT / "params.yaml", name)
    serve_wheels(tmp_path, monkeypatch)
    sha256 = make_wheel(tmp_path, {section.source.options["member"]: MAKES[name]().write_csv()})
    made = {"name": "shopdata", "version": "1.0", "sha256": sha256}
    fewer = {"test_origins": 2, "valid_origins": 2, "stride": 24}
    problem = get_problem(Spec(kind=section.problem.kind, **{**section.problem.options, **fewer}))
    contracts = in_zone(problem.tables(), section.timezone)
    source = get_source(Spec(kind="package", **{**section.source.options, **made}), contracts, name, tmp_path)
    found = preview(source, contracts, section.checks, "package", NIGHT, name)
    assert found.failed == []
    tables = {name: table.lazy() for name, table in source.fetch(NIGHT).tables.items()}
    dataset = problem.features(tables, NIGHT)
    assert {split: len(rows) > 0 for split, rows in dataset.splits.items()} == dict.fromkeys(dataset.splits, True)
    rows = dataset.splits["test"]
    assert len(rows) == 2
    # Known-bad candidates of this workload: one that repeats the season, and one that knows what comes.
    truth = np.asarray(dataset.target(rows))
    naive = problem.score(problem.naive(dataset, rows), truth)
    outputs = dataset.contract.output_shape[-1]
    knowing = problem.score(np.repeat(np.nan_to_num(truth)[:, :, None], outputs, axis=2), truth)
    rule = section.gates.accuracy
    assert np.isfinite(naive.error) and naive.error > 0
    assert not against_naive("repeats", naive, naive, rule).passed
    assert not not_too_good("knows", knowing, naive, Champion(0), rule).passed
