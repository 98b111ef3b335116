"""Biases of a mean on validation and test rows, by hand, and of nights that have none."""

from datetime import date
from typing import Any

import numpy as np
import pytest

from bench.biases import Biases, biases, measured, told
from bench.gallery import night
from tasks.core.errors import ConfigError


def test_a_bias_is_that_of_the_mean_where_the_truth_is_known() -> None:
    target = np.array([[2.0, np.nan], [6.0, 2.0]], np.float32)
    quantile = np.full((2, 2, 1), 70.0, np.float32)

    def output(*values: float) -> Any:
        return np.concatenate([quantile, np.array(values, np.float32).reshape(2, 2, 1)], axis=2)

    found = biases((target, output(2, 99, 7, 3)), (target, output(1, 99, 6, 2)))
    assert found == pytest.approx((0.2, -0.1, -0.25))  # 12 and 9 of 10, and 9 / 1.2


def test_a_bias_that_does_not_go_on_is_no_reason_to_correct() -> None:
    nights = [
        Biases(high - 1, later - 1, later / high - 1)
        for high, later in ((1.1, 1.0), (0.9, 1.0), (1.1, 0.9), (0.9, 1.1))
    ]
    assert told(nights) == "test 5.0% off on average, corrected 15.2%, correlation of validation and test -0.71"


def test_nights_without_a_mean_or_a_twin_are_refused() -> None:
    for workload in ("weather", "customers"):
        with pytest.raises(
            ConfigError, match=f"{workload}: it forecasts no mean; name a forecasting workload that does"
        ):
            measured(night(workload, date(2026, 11, 28)))
    run = night("sales", date(2026, 11, 28))
    with pytest.raises(ConfigError, match="sales: students has no twin with alpha: 1"):
        measured(run.model_copy(update={"students": {"student": run.students["student"]}}))
