"""Trees of quantiles have a number and a rate of their own: fewer are far smaller, and the value stays as it was."""

from typing import Any

import numpy as np
import pytest
import torch

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.problems.base import Batches, Floats
from tasks.problems.blocks.outputs import outputs
from tasks.problems.blocks.weights import count_parameters
from tasks.problems.models import build_model
from tests.unit.problems.tabular.labelled.homes import CLASSES, VALUE, dataset

BAND: dict[str, Any] = VALUE | {"quantiles": [0.1, 0.9]}
SIZES: dict[str, dict[str, Any]] = {"lightgbm": {"leaves": 4}, "catboost": {"depth": 2}}


def learned(kind: str, **options: Any) -> tuple[Floats, int]:
    """What trees say of the test rows, and how many numbers they have."""
    rows = dataset(BAND)
    torch.set_num_threads(1)
    model: Any = build_model(Spec(kind=kind, trees=20, learning_rate=0.05, **SIZES[kind], **options), rows.contract)
    model.fit(rows, rows.splits["train"], rows.splits["valid"], seed=0)
    return outputs(model.eval(), Batches.of(rows.inputs(rows.splits["test"]))), count_parameters(model)


@pytest.mark.parametrize("kind", SIZES)
def test_quantiles_have_trees_and_a_rate_of_their_own(kind: str) -> None:
    plain, size = learned(kind)
    few, small = learned(kind, quantile_trees=5)
    fast, also_small = learned(kind, quantile_trees=5, quantile_rate=0.2)
    for found in (few, fast):
        assert np.array_equal(found[:, 0], plain[:, 0]), "the value is that of before"
        assert not np.array_equal(found[:, 1:], plain[:, 1:])
    assert max(small, also_small) < 0.6 * size
    assert not np.array_equal(few[:, 1:], fast[:, 1:]), "the rate counts"


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("option", ["quantile_trees", "quantile_rate"])
def test_they_are_refused_where_there_are_no_quantiles(kind: str, option: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.{option}: there are no quantiles; leave it out, or set problem"):
        build_model(Spec(kind=kind, **{option: 1}), dataset(VALUE).contract)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("options", [BAND, CLASSES], ids=["quantiles", "classes"])
def test_trees_that_learn_again_from_equal_rows_are_the_same(kind: str, options: dict[str, Any]) -> None:
    rows = dataset(options)
    torch.set_num_threads(1)
    train, most = rows.splits["train"], 60

    def fresh() -> Any:
        return build_model(Spec(kind=kind, trees=most, stopping=3, learning_rate=0.4, **SIZES[kind]), rows.contract)

    first, again, longer = fresh(), fresh(), fresh()
    first.fit(rows, train, rows.splits["valid"], seed=0)
    assert any(count < most for count in first.settled), "validation rows ended it early"
    again.fit_again(rows, train, first.settled, seed=0)
    longer.fit_again(rows, train, [count + 5 for count in first.settled], seed=0)
    assert again.settled == first.settled
    said = [outputs(model.eval(), Batches.of(rows.inputs(rows.splits["test"]))) for model in (first, again, longer)]
    np.testing.assert_array_equal(said[1], said[0])
    assert not np.array_equal(said[2], said[0])
