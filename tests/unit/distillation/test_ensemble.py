"""Weights of teachers that minimise the validation error."""

from typing import Any

import numpy as np
import pytest

from tasks.distillation.ensemble import member_weights


def members(sales: Any, *factors: float) -> dict[str, Any]:
    """Teachers that say so many times the truth of every validation row, and nothing of other rows."""
    dataset = sales.dataset
    valid = dataset.splits["valid"]
    truth = np.repeat(dataset.target(valid)[:, :, None], dataset.contract.output_shape[1], axis=2)
    found = {}
    for place, factor in enumerate(factors):
        soft = np.full((len(dataset.groups), *dataset.contract.output_shape), np.nan, dtype=np.float32)
        soft[valid] = factor * truth
        found[f"t{place}"] = soft
    return found


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((0.5, 1.5), (0.5, 0.5)),
        ((0.9, 1.3), (0.75, 0.25)),  # 0.75 x 0.9 + 0.25 x 1.3 = 1
        ((1.0, 1.3), (1.0, 0.0)),
        ((1.4, 1.2, 1.1), (0.0, 0.0, 1.0)),
    ],
)
def test_the_weights_make_the_ensemble_right(
    sales: Any, factors: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    weights = member_weights(sales.problem(), sales.dataset, members(sales, *factors), "validation")
    assert weights == pytest.approx(expected, abs=1 / 128)
    assert weights is not None and sum(weights) == pytest.approx(1) and min(weights) >= 0


def test_weights_never_make_the_validation_error_worse(sales: Any) -> None:
    rng = np.random.default_rng(0)
    soft = {
        f"t{place}": (20 * rng.random((84, *sales.dataset.contract.output_shape))).astype(np.float32)
        for place in range(4)
    }
    problem, valid = sales.problem(), sales.dataset.splits["valid"]
    target = sales.dataset.target(valid)
    weights = member_weights(problem, sales.dataset, soft, "validation")

    def error(chosen: Any) -> float:
        return float(problem.score(problem.ensemble([values[valid] for values in soft.values()], chosen), target).error)

    assert error(weights) <= min(error(None), *(error(one) for one in np.eye(4)))


@pytest.mark.parametrize(("how", "count"), [("mean", 3), ("validation", 1)])
def test_a_plain_mean_needs_no_weights(sales: Any, how: Any, count: int) -> None:
    assert member_weights(sales.problem(), sales.dataset, members(sales, *range(count)), how) is None


def test_weighed_forecasts_and_classes(sales: Any) -> None:
    outputs = [np.array([[[0.0, 4.0]]], dtype=np.float32), np.array([[[8.0, 8.0]]], dtype=np.float32)]
    assert sales.problem().ensemble(outputs, (0.75, 0.25)).tolist() == [[[2.0, 5.0]]]
    from tasks.problems.blocks.classes import mean_logits, probabilities

    logits = [np.log(np.array([[0.9, 0.1]], dtype=np.float32)), np.log(np.array([[0.1, 0.9]], dtype=np.float32))]
    assert probabilities(mean_logits(logits, (0.75, 0.25)))[0].tolist() == pytest.approx([0.7, 0.3])
