"""Trust in a teacher, series by series."""

from copy import copy
from typing import Any

import numpy as np
import pytest

from tasks.distillation.trust import trust


@pytest.fixture
def dataset(sales: Any) -> Any:
    """Each series is a group, as in a table of many."""
    found = copy(sales.dataset)
    found.groups = found.lines
    return found


@pytest.fixture
def soft(sales: Any, dataset: Any) -> Any:
    """As wrong as the naive forecast in all series but three: right, twice as wrong, and four times as wrong."""
    rows = np.arange(len(dataset.groups))
    target = dataset.target(rows)[:, :, None]
    factor = np.array([1.0, 0.0, 2.0, 4.0, 1.0, 1.0])[dataset.groups]
    return (target + factor[:, None, None] * (sales.problem().naive(dataset, rows) - target)).astype(np.float32)


def test_trust_falls_where_the_teacher_loses_to_the_naive_forecast(sales: Any, dataset: Any, soft: Any) -> None:
    weights = trust(dataset, sales.problem(), soft)
    by_group = {int(group): weights[dataset.groups == group] for group in range(6)}
    assert [float(values[0]) for values in by_group.values()] == pytest.approx([1, 1, 0.5, 0.25, 1, 1], rel=1e-3)
    assert all(len(set(values.tolist())) == 1 for values in by_group.values()), "one number a series"


def test_only_training_rows_are_asked(sales: Any, dataset: Any, soft: Any) -> None:
    blind = np.full_like(soft, np.nan)
    rows = dataset.splits["train"]
    blind[rows] = soft[rows]
    assert np.array_equal(trust(dataset, sales.problem(), blind), trust(dataset, sales.problem(), soft))


def test_a_group_is_judged_by_rows_spread_over_its_time(
    sales: Any, dataset: Any, soft: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of a series' twelve rows: the first and the seventh."""
    monkeypatch.setattr("tasks.distillation.trust.ROWS_PER_GROUP", 2)
    rows = dataset.splits["train"][dataset.groups[dataset.splits["train"]] == 0]
    wrong = soft.copy()
    wrong[rows] = 1e6
    wrong[rows[[0, 6]]] = soft[rows[[0, 6]]]
    assert len(rows) == 12
    assert trust(dataset, sales.problem(), wrong)[rows[0]] == pytest.approx(1, rel=1e-3)
    wrong[rows[6]] = 1e6
    assert trust(dataset, sales.problem(), wrong)[rows[0]] < 0.01
