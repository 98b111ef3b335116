"""A tiny forecasting workload (six series, 75 days, five days ahead), and a release store in a folder."""

import os
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tasks.core.storage import FolderStore
from tasks.releases.ledger import Entry
from tasks.releases.store import ReleaseStore

# Networks of a few neurons gain nothing from threads, and threads that wait for each other cost seconds on few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

FIRST, AS_OF = date(2024, 5, 1), date(2024, 7, 14)
HOLIDAYS = [date(2024, 5, 27), date(2024, 7, 4), date(2024, 7, 16)]


class Sales:
    """Origins are, by split: every fourth day from 16 May to 29 June; 4 July; 9 July."""

    as_of = AS_OF
    options: dict[str, Any] = {  # noqa: RUF012 nobody changes it
        "horizon": 5,
        "context": 14,
        "season": 7,
        "stride": 4,
        "test_origins": 1,
        "valid_origins": 1,
        "origin_step": 5,
        "min_history": 14,
    }

    def table(self, stores: tuple[str, ...] = ("s1", "s2"), as_of: date = AS_OF) -> Any:
        """The workload's table as it is at the end of day `as_of`; a store's rows do not depend on other stores."""
        import numpy as np
        import polars as pl

        days = [FIRST + timedelta(days=offset) for offset in range(120)]
        frames = []
        for store in stores:
            for department in ("d1", "d2", "d3"):
                rng = np.random.default_rng([*store.encode(), *department.encode()])
                promotion = (rng.random(len(days)) < 0.2).astype(float)
                weekend = np.array([day.weekday() >= 5 for day in days])
                frames.append(
                    pl.DataFrame(
                        {
                            "date": days,
                            "series_id": f"{store}-{department}",
                            "store_id": store,
                            "department": department,
                            "units": rng.poisson(10 + 10 * weekend + 8 * promotion).astype(float),
                            "price": rng.uniform(1, 2, len(days)).round(2),
                            "promo_display": promotion,
                            "promo_mailer": rng.random(len(days)).round(2),
                            "holiday": [day in HOLIDAYS for day in days],
                        }
                    )
                )
        table = pl.concat(frames).filter(pl.col("date") <= as_of + timedelta(days=5))
        return table.with_columns(units=pl.when(pl.col("date") <= as_of).then("units")).sort("date", "series_id").lazy()

    def problem(self, **changes: Any) -> Any:
        """The problem, with some options changed."""
        from tasks.core.config import Spec
        from tasks.problems import get_problem

        return get_problem(Spec(kind="forecasting", **{**self.options, **changes}))

    @cached_property
    def dataset(self) -> Any:
        """Rows of the table; to be left as they are."""
        return self.problem().features({"series": self.table()}, AS_OF)


@pytest.fixture(scope="session")
def sales() -> Sales:
    return Sales()


class Releases(ReleaseStore):
    """With a promotion in one short call."""

    def promote(self, text: str, *, expected: int | None = None, run_id: str = "", **files: bytes) -> Entry:
        last = self.champion()
        return self.publish(
            {"model.onnx": text.encode(), "contract.json": b"{}", **files},
            expected=expected if expected is not None else last.seq if last else 0,
            run_id=run_id or f"run-{text}",
            as_of=date(2026, 1, 1),
            reason=f"{text} is better",
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "releases"


@pytest.fixture
def releases(folder: Path) -> Any:
    return Releases(FolderStore(folder), "sales")
