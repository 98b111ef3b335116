"""Stretches before a night's test rows: of the same length, earlier by it, and without a step of the test rows."""

from typing import Any

import numpy as np
import pytest

from bench.stretches import earlier
from tasks.core.errors import DataError
from tasks.problems.base import Split
from tasks.problems.forecasting.dataset import Windows


def steps(dataset: Windows, split: Split) -> set[int]:
    """The target steps of a split."""
    ahead = dataset.origins[dataset.splits[split]][:, None] + np.arange(1, dataset.options.horizon + 1)
    return set(ahead.ravel().tolist())


def test_a_stretch_ends_before_the_test_rows_and_its_models_learn_from_what_is_earlier(sales: Any) -> None:
    dataset = sales.dataset
    assert isinstance(dataset, Windows)
    last = dataset
    for back in (1, 2):
        found = earlier(dataset, back)
        assert max(steps(found, "test")) < min(steps(last, "test"))
        assert len(steps(found, "test")) == len(steps(dataset, "test"))
        assert max(steps(found, "train")) < min(steps(found, "valid")) < min(steps(found, "test"))
        assert not (steps(found, "train") | steps(found, "valid")) & steps(found, "test")
        last = found


def test_a_history_that_is_too_short_is_refused(sales: Any) -> None:
    with pytest.raises(DataError, match="steps of history"):
        earlier(sales.dataset, 20)
