"""A simulated chain of stores: closed days, promotions and two sorts of holidays multiply what a day sells."""

from datetime import date, timedelta

import numpy as np
import polars as pl

from tasks.core.config import Spec
from tasks.problems import get_problem
from tasks.problems.base import Dataset, Problem

FIRST = date(2024, 1, 1)
KNOWN = ("closed", "promotion", "school_holiday")


def chain_table(stores: int, days: int, ahead: int, seed: int = 0) -> pl.LazyFrame:
    """Rows of `days` days and what is known of `ahead` more.

    What a promotion multiplies a store's sales by depends on store and weekday, what school holidays do on the store.
    State holidays are closed, days before closed ones sell more, Sundays are open in few stores; and each store closes
    some weeks of its own.
    """
    random = np.random.default_rng(seed)
    steps = days + ahead
    day = np.arange(steps)
    weekday = day % 7  # the first day is a Monday
    shape = (stores, steps)
    level = 100 * random.lognormal(0, 0.5, (stores, 1))
    week = random.lognormal(0, 0.15, (stores, 7)) * [1.2, 1.0, 0.9, 0.9, 1.0, 1.2, 0.8]
    by_promotion = random.lognormal(0.35, 0.15, (stores, 1)) * random.lognormal(0, 0.1, (stores, 7))
    by_school = random.lognormal(0.0, 0.2, (stores, 1))
    turn = random.integers(0, 2, (stores, 1))
    weeks = random.random((stores, steps // 7 + 1)) < 0.8
    promotion = ((day // 7 + turn) % 2 == 0) & (weekday < 5) & weeks[:, day // 7]
    school = np.repeat(random.random((4, steps // 14 + 1)) < 0.25, 14, axis=1)[random.integers(0, 4, stores), :steps]
    holiday = np.broadcast_to(random.random(steps) < 1 / 40, shape)
    away = np.repeat(random.random((stores, steps // 7 + 1)) < 0.03, 7, axis=1)[:, :steps]
    closed = holiday | away | ((weekday == 6) & (random.random((stores, 1)) < 0.85))
    before = np.roll(closed, -1, axis=1) & (weekday != 5)
    mean = level * week[:, weekday] * np.where(promotion, by_promotion[:, weekday], 1) * np.where(school, by_school, 1)
    mean *= np.where(before, 1.3, 1) * (1 + 0.1 * np.sin(day / 60 + random.random((stores, 1)) * 6))
    units = np.where(closed, 0, mean * random.lognormal(0, 0.07, shape))
    names = np.array([f"store-{number:03d}" for number in range(stores)])
    known = dict(zip(KNOWN, (closed, promotion, school), strict=True))
    frame = pl.DataFrame(
        {
            "date": np.tile(np.datetime64(FIRST) + day, stores),
            "series_id": np.repeat(names, steps),
            "units": units.ravel(),
            **{name: values.ravel().astype(float) for name, values in known.items()},
            "holiday": holiday.ravel(),
        }
    )
    return frame.with_columns(units=pl.when(pl.col("date") < FIRST + timedelta(days=days)).then("units")).lazy()


def chain(stores: int, days: int, horizon: int, context: int, **options: object) -> tuple[Problem, Dataset]:
    """The problem of the chain's sales, and the rows of its table."""
    settings = {"static": (), "price": None, "promotions": KNOWN, "min_history": context, **options}
    problem = get_problem(Spec(kind="forecasting", horizon=horizon, context=context, **settings))
    table = chain_table(stores, days, horizon)
    return problem, problem.features({"series": table}, FIRST + timedelta(days=days - 1))
