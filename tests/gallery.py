"""Made-up files with the columns of those that the workloads of the gallery read, and about their noise."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.config.workload import Workload
from tasks.core.config import Spec
from tasks.problems import get_problem
from tasks.problems.base import Problem
from tasks.tables.sources import get_source
from tasks.tables.sources.base import Source
from tasks.tables.table import TableContract, in_zone
from tests.wheels import make_wheel, serve_wheels

NIGHT = date(2026, 11, 20)
FIRST = datetime.fromisoformat("2014-01-01T00:00")
HOURS = 24 * 7 * 26
"""Half a year: a replay shows its second half."""
SATURDAY = 5
NA = pl.lit("NA")


def hours() -> pl.DataFrame:
    """Moments with a value that has a daily and a weekly cycle, and weather around it."""
    rng = np.random.default_rng(3)
    moments = [FIRST + timedelta(hours=step) for step in range(HOURS)]
    cycle = np.sin(np.arange(HOURS) * 2 * np.pi / 24) + 0.3 * np.sin(np.arange(HOURS) * 2 * np.pi / 168)
    return pl.DataFrame(
        {
            "moment": moments,
            "value": (1000 + 400 * cycle + rng.normal(0, 80, HOURS)).round(1),
            "cold": (-2 + 10 * cycle + rng.normal(0, 4, HOURS)).round(1),
            "level": rng.uniform(0, 5, HOURS).round(2),
            "sign": rng.choice(["NW", "SE", "cv"], HOURS),
        }
    )


def power_rows() -> str:
    return hours().select(ts=pl.col("moment").dt.to_string("%Y-%m-%d %H:%M:%S"), y="value").write_csv()


def traffic_rows() -> str:
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
    return pl.concat([once[:700], once[690:2000], once[2005:]]).write_csv()


def pollution_rows() -> str:
    moment, value = pl.col("moment"), pl.col("value").cast(pl.String)
    return (
        hours()
        .select(
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
        .write_csv()
    )


def weather_rows() -> str:
    """Three airports of one weather, each a little warmer than the one before; of some hours a value is missing."""
    each = hours().with_columns(number=pl.int_range(pl.len()))
    parts = [
        each.select(
            origin=pl.lit(airport),
            year=pl.col("moment").dt.year(),
            month=pl.col("moment").dt.month(),
            day=pl.col("moment").dt.day(),
            hour=pl.col("moment").dt.hour(),
            temp=pl.when(pl.col("number") % 997 > 0).then((60 + pl.col("cold") + place).cast(pl.String)).otherwise(NA),
            dewp=pl.col("cold") + 40,
            humid=pl.col("level") * 10 + 20,
            wind_dir=pl.lit(270),
            wind_speed="level",
            wind_gust=NA,
            precip=pl.lit(0),
            pressure=pl.when(pl.col("number") % 9 > 0).then(pl.lit("1012.3")).otherwise(NA),
            visib=pl.lit(10),
            time_hour=pl.col("moment").dt.to_string("%Y-%m-%dT%H:%M:%SZ"),
        )
        for place, airport in enumerate(("EWR", "JFK", "LGA"))
    ]
    return pl.concat(parts).write_csv()


def finance_rows() -> str:
    """Two years of nine indices that are calm or wild, without a cycle, under a header that has ISE twice."""
    rng = np.random.default_rng(4)
    days = [FIRST.date() + timedelta(days=day) for day in range(2 * 365)]
    lines = ["date,ISE,ISE,SP,DAX,FTSE,NIKKEI,BOVESPA,EU,EM"]
    for day in (day for day in days if day.weekday() < SATURDAY):
        returns = ",".join(f"{size * rng.standard_normal():.6f}" for size in 0.004 * 1.3 ** np.arange(9))
        lines.append(f"{day.day}-{day:%b-%y},{returns}")
    return "\n".join(lines)


MAKES = {
    "power": power_rows,
    "traffic": traffic_rows,
    "pollution": pollution_rows,
    "weather": weather_rows,
    "finance": finance_rows,
}


def made(
    name: str, section: Workload, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[Problem, Source, tuple[TableContract, ...]]:
    """A workload's problem, with other `options`, and its source, which reads a wheel of the made-up file."""
    serve_wheels(folder, monkeypatch)
    sha256 = make_wheel(folder, {section.source.options["member"]: MAKES[name]()})
    package = {"name": "shopdata", "version": "1.0", "sha256": sha256}
    problem = get_problem(Spec(kind=section.problem.kind, **{**section.problem.options, **options}))
    contracts = in_zone(problem.tables(), section.timezone)
    spec = Spec(kind="package", **{**section.source.options, **package})
    return problem, get_source(spec, contracts, name, folder), contracts
