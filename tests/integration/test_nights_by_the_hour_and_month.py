"""Whole nights of workloads whose steps are no days: hours over a clock change, and months."""

from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.cli.main import main as nightstill
from tasks.core.settings import Settings
from tests.conftest import Project
from tests.in_process import whole_night

HOURLY_AS_OF, MONTHLY_AS_OF = date(2026, 3, 29), date(2026, 6, 17)
MODEL = {"kind": "linear", "embedding": 2}
TRAINING = {"epochs": 2, "batch_size": 64, "batches_per_epoch": 15, "learning_rate": 0.01}


def forecasts(
    project: Project, name: str, table: pl.DataFrame, as_of: date, problem: dict[str, Any], patch: pytest.MonkeyPatch
) -> pl.DataFrame:
    """What `nightstill score` writes after a whole night of one teacher, one tiny student and one recipe."""
    section = project.params["workloads"].pop("sales")
    (segment,) = problem["static"]
    section["teachers"] = {"linear": {"model": MODEL, "training": TRAINING}}
    section["students"] = {"student": {"model": MODEL, "training": TRAINING, "alpha": 0.5}}
    section["recipes"] = {"fp32": {}}
    section["source"] = {"kind": "table", "path": f"{name}.parquet", "until_as_of": True}
    section["problem"] = {"kind": "forecasting", "price": None, "promotions": [], **problem}
    section["checks"] = {"max_volume_ratio": 4.0}
    section["gates"]["accuracy"].update(limit=50.0, naive_margin=0.0, retention=50.0)
    section["gates"]["segments"].update(by=[segment], limit=50.0)
    section["gates"]["robustness"] = []
    project.params["workloads"][name] = section
    project.save()
    table.write_parquet(project.root / f"{name}.parquet")
    settings = Settings(home=project.home, project=project.root)
    assert whole_night(project.root, settings, section, name, as_of, patch)["verdict"] == "promote"
    patch.setenv("NIGHTSTILL_HOME", str(project.home))
    patch.setenv("NIGHTSTILL_PROJECT", str(project.root))
    out = project.root / "scores.parquet"
    with pytest.raises(SystemExit) as ended:
        nightstill(["score", name, "--as-of", str(as_of), "--out", str(out)])
    assert not ended.value.code
    return pl.read_parquet(out)


def hourly() -> pl.DataFrame:
    """Two series of 40 days in the time of Berlin, whose 29 March has no third hour; the day after is there too."""
    moments = pl.datetime_range(
        datetime(2026, 2, 18), datetime(2026, 3, 30, 23), "1h", eager=True, time_zone="Europe/Berlin"  # noqa: DTZ001
    )  # fmt: skip
    rng = np.random.default_rng(5)
    level = 20 + 15 * np.sin(moments.dt.hour().to_numpy() * np.pi / 12)
    frames = [
        pl.DataFrame({"date": moments, "series_id": name, "site": name, "units": rng.poisson(level) + 1.0})
        for name in ("a", "b")
    ]
    return pl.concat(frames).with_columns(pl.col("date").dt.convert_time_zone("UTC"))


def monthly() -> pl.DataFrame:
    """Three series of twelve years dated by the last day of each month, the one that has not ended included."""
    months = pl.date_range(date(2014, 7, 1), date(2026, 12, 1), "1mo", eager=True).dt.month_end()
    rng = np.random.default_rng(6)
    level = 50 + 20 * np.cos(months.dt.month().to_numpy() * np.pi / 6)
    frames = [
        pl.DataFrame({"date": months, "series_id": name, "branch": name, "units": rng.poisson(level) + 1.0})
        for name in ("a", "b", "c")
    ]
    return pl.concat(frames)


def test_a_night_of_hours_on_the_day_of_a_clock_change(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = {
        "frequency": "1h", "horizon": 12, "context": 48, "season": 24, "min_history": 48, "origin_step": 12,
        "stride": 3, "country": "DE", "metric": "wql", "static": ["site"],
    }  # fmt: skip
    scores = forecasts(project, "load", hourly(), HOURLY_AS_OF, problem, monkeypatch)
    snapshot = pl.read_parquet(project.root / "artifacts" / "snapshot" / "tables" / "series.parquet")
    assert snapshot.schema["date"] == pl.Datetime("us", "Europe/Berlin")
    assert snapshot.filter(pl.col("units").is_not_null())["date"].dt.date().max() == HOURLY_AS_OF
    assert scores.schema["date"] == pl.Datetime("us", "Europe/Berlin") and scores.height == 24
    assert scores["date"].dt.hour().to_list() == [*range(12)] * 2
    assert scores["date"].dt.date().unique().to_list() == [date(2026, 3, 30)]


def test_a_night_of_months_in_the_middle_of_one(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = {
        "frequency": "1mo", "horizon": 3, "context": 24, "season": 12, "min_history": 24, "origin_step": 1,
        "metric": "mae", "static": ["branch"],
    }  # fmt: skip
    scores = forecasts(project, "sales-by-month", monthly(), MONTHLY_AS_OF, problem, monkeypatch)
    june, july, august = date(2026, 6, 30), date(2026, 7, 31), date(2026, 8, 31)
    assert scores["date"].to_list() == [june, july, august] * 3, "June has not ended"
