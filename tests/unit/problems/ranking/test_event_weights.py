"""Weights of events: what a heavy event teaches counts more; errors count all alike."""

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, RuleError
from tasks.distillation.objective import Objective
from tasks.problems.base import Since
from tasks.problems.models import build_model
from tasks.problems.ranking.afterwards import popular_lists
from tasks.problems.ranking.closed_form import together
from tasks.problems.ranking.dataset import Histories
from tasks.problems.ranking.models.product import Product
from tasks.problems.ranking.models.sequence import SequenceRanker
from tasks.tables.validation.guard import Guard
from tasks.tables.validation.options import Checks, parse_checks
from tests.unit.problems.ranking.films import AS_OF, dataset, events, problem

HEAVY = "f07"
OPTIONS: dict[str, Any] = {"split": "leave-one-out", "weight": "paid"}


def weighed(heavy: float) -> pl.DataFrame:
    """Events that count 2 each, and those of one film `heavy` times as much."""
    times = pl.when(pl.col("item") == HEAVY).then(heavy).otherwise(1.0)
    return events().with_columns((2.0 * times).alias("paid"))


def trained(made: Histories, kind: str, **options: Any) -> torch.Tensor:
    torch.manual_seed(0)
    model = build_model(Spec(kind=kind, **options), made.contract)
    assert isinstance(model, Product | SequenceRanker)
    model.fit(made, made.splits["train"], made.splits["valid"], seed=0)
    return torch.cat([value.detach().flatten() for value in model.state_dict().values()])


SMALL = {"width": 8, "layers": 1, "epochs": 1, "dropout": 0.0}


@pytest.mark.parametrize(
    ("kind", "options"),
    [("ease", {}), ("ease", {"nearness": 2.0}), ("item-knn", {}), ("sequence-transformer", SMALL)],
)
def test_equal_weights_teach_what_none_teach_and_others_something_else(kind: str, options: dict[str, Any]) -> None:
    without = trained(dataset(split="leave-one-out"), kind, **options)
    equal = trained(dataset(weighed(1.0), **OPTIONS), kind, **options)
    torch.testing.assert_close(equal, without)
    assert not torch.allclose(trained(dataset(weighed(9.0), **OPTIONS), kind, **options), without, atol=1e-3)


def test_catalogue_and_popularity_go_by_weight_and_novelty_by_events() -> None:
    light, heavy = dataset(weighed(1.0), **OPTIONS), dataset(weighed(50.0), **OPTIONS)
    assert light.contract.categories["_item"][0] != HEAVY and heavy.contract.categories["_item"][0] == HEAVY
    assert heavy.popularity[0] > 10 * heavy.popularity[1:].max()
    assert sorted(heavy.had) == sorted(light.had), "who had what is the same"
    rows = heavy.splits["test"]
    assert heavy.popularity_before(rows, 99)[:, 0].max() > 10 * heavy.popularity_before(rows, 99)[:, 1:].max()


def test_the_truth_of_a_heavy_row_counts_more_in_a_students_training_and_not_in_its_error() -> None:
    made = dataset(weighed(9.0), **OPTIONS)
    rows = made.splits["train"]
    weights = made.weights(rows)
    assert weights is not None and dataset().weights(rows) is None
    asked = made.events["_item"].to_numpy()[made.asked[rows]]
    assert weights[asked == HEAVY].min() == pytest.approx(9 * weights[asked != HEAVY].max())
    torch.manual_seed(0)
    model = build_model(Spec(kind="decayed-sum", width=4), made.contract)
    hard = problem(**OPTIONS).hard_loss(made.contract)
    found = Objective(made, hard).loss(model, rows, 0.0, np.random.default_rng(0), torch.device("cpu"))
    each = hard(model(torch.from_numpy(made.inputs(rows)["history"])), torch.from_numpy(made.target(rows)))
    torch.testing.assert_close(found, (each * torch.from_numpy(weights)).mean())
    score = problem(**OPTIONS).score(np.zeros((len(rows), made.size), np.float32), made.target(rows))
    assert (score.weight == 1).all()


def test_pairs_count_by_the_root_of_both_weights() -> None:
    codes, weights = np.array([1, 3]), np.array([4.0, 9.0], np.float32)
    assert together([codes], 3, weights=[weights]).tolist() == [[4, 0, 6], [0, 0, 0], [6, 0, 9]]
    near = together([codes], 3, 1.0, [weights])
    assert near.tolist() == [[4, 0, 3], [0, 0, 0], [3, 0, 9]]


def test_the_popular_lists_of_the_watch_go_by_weight() -> None:
    options = problem(**OPTIONS).options
    first = {}
    for heavy in (1.0, 500.0):
        now = {"events": weighed(heavy).lazy()}
        lists = popular_lists(Since(AS_OF, AS_OF + timedelta(days=7), now, dict), options, 40)
        first[heavy] = lists.filter(pl.col("item") == HEAVY)["rank"].mean()
    assert first[500.0] < first[1.0]  # type: ignore[operator]


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf"), 1e7, None])
def test_a_weight_that_is_no_weight_is_refused(weight: float | None) -> None:
    (contract,) = problem(**OPTIONS).tables()
    changed = pl.when(pl.int_range(pl.len()) == 3).then(pl.lit(weight, pl.Float64)).otherwise(pl.col("paid"))
    guard = Guard(contract, parse_checks(Checks(), contract))
    guard.require(weighed(1.0))
    with pytest.raises(RuleError) as error:
        guard.require(weighed(1.0).with_columns(changed.alias("paid")))
    assert error.value.column == "paid" and error.value.row == 3


def test_one_column_has_one_meaning() -> None:
    with pytest.raises(ConfigError, match="column 'clock' is named twice"):
        problem(weight="clock")
