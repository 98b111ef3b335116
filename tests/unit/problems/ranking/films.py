"""Made-up events: each user goes on from film to film in one of two orders, with a step aside now and then."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from tasks.core.config import Spec
from tasks.problems import get_problem
from tasks.problems.ranking.dataset import Histories
from tasks.problems.ranking.problem import Ranking

AS_OF = date(2026, 6, 28)
FILMS, USERS, EVENTS = 40, 60, 14
OPTIONS: dict[str, Any] = {"kind": "ranking", "order": "clock", "history": 8, "rows_per_user": 8, "top": 12, "days": 7}


def events(users: int = USERS) -> pl.DataFrame:
    """Eight weeks of events, half of them at a moment of which the user has two."""
    rng = np.random.default_rng(5)
    rows = []
    for user in range(users):
        at = int(rng.integers(FILMS))
        had: list[int] = []
        for number in range(EVENTS):
            at = (at + (1 if user % 2 else 3)) % FILMS
            film = int(rng.integers(FILMS)) if rng.random() < 0.1 else at
            if film in had:
                continue
            had.append(film)
            day = AS_OF - timedelta(days=int(4 * (EVENTS - 1 - number) + user % 4))
            rows.append((f"u{user:03d}", f"f{film:02d}", day, float(number // 2)))
    return pl.DataFrame(rows, ["user", "item", "time", "clock"], orient="row").sort("user", "item")


def problem(**changes: Any) -> Ranking:
    built = get_problem(Spec(**{**OPTIONS, **changes}))
    assert isinstance(built, Ranking)
    return built


def dataset(table: pl.DataFrame | None = None, as_of: date = AS_OF, **changes: Any) -> Histories:
    rows = events() if table is None else table
    built = problem(**changes).features({"events": rows.lazy()}, as_of)
    assert isinstance(built, Histories)
    return built
