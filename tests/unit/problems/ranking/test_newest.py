"""The last fit of recommenders: events that validated are learned from too, those of the test are not."""

import copy
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tasks.core.config import Spec
from tasks.distillation.teacher import FitsAgain, SelfTrained
from tasks.problems.models import build_model
from tasks.problems.ranking.dataset import HISTORY, Histories
from tests.unit.problems.ranking import films

SPLITS: tuple[dict[str, Any], ...] = ({}, {"split": "leave-one-out"})
TEACHERS: tuple[dict[str, Any], ...] = (
    {"kind": "ease", "half_life": 3, "regularisation": 5},
    {"kind": "item-knn"},
    {"kind": "sequence-transformer", "width": 8, "layers": 1, "heads": 1, "epochs": 6, "look": 1},
    {"kind": "sequence-gru", "width": 8, "hidden": 8, "epochs": 4},
)


def learned_of(rows: Histories) -> set[int]:
    return {*np.flatnonzero(rows.learned).tolist()}


@pytest.mark.parametrize("split", SPLITS)
def test_events_that_validated_are_learned_and_those_of_the_test_are_not(split: dict[str, Any]) -> None:
    rows = films.dataset(**split)
    newest = rows.newest()
    valid, test = (rows.asked[rows.splits[name]] for name in ("valid", "test"))
    assert len(valid) and len(newest.splits["valid"]) == 0
    assert learned_of(newest) == learned_of(rows) | {*valid.tolist()}
    assert not learned_of(newest) & {*test.tolist()}
    trained = newest.asked[newest.splits["train"]]
    assert {*trained.tolist()} == {*rows.asked[rows.splits["train"]].tolist(), *valid.tolist()}
    assert newest.asked[newest.splits["test"]].tolist() == test.tolist()
    assert newest.contract == rows.contract, "the file reads its inputs as it did at the choice"
    first, second = (each.inputs(each.splits["test"])[HISTORY] for each in (rows, newest))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("split", SPLITS)
def test_what_the_test_rows_ask_for_changes_nothing_that_is_learned(split: dict[str, Any]) -> None:
    table = films.events()
    rows = films.dataset(table, **split)
    last = rows.events.filter(pl.col("_split") == "test").select(user="_user", item="_item", planted=pl.lit("other"))
    other = films.dataset(
        table.join(last, on=["user", "item"], how="left")
        .with_columns(item=pl.coalesce("planted", "item"))
        .drop("planted")
        .unique(["user", "item"], keep="first", maintain_order=True),
        **split,
    )
    first, second = rows.newest(), other.newest()
    assert second.contract.categories["_item"] == (*first.contract.categories["_item"], "other"), "and its code is last"
    sequences = (each.sequences(each.splits["train"]) for each in (first, second))
    for one, another in zip(*sequences, strict=True):
        np.testing.assert_array_equal(one, another)


@pytest.mark.parametrize("spec", TEACHERS, ids=lambda spec: spec["kind"])
def test_a_teacher_that_fits_again_from_the_same_rows_is_the_same(spec: dict[str, Any]) -> None:
    rows = films.dataset()
    torch.manual_seed(3)
    model = build_model(Spec.model_validate(spec), rows.contract)
    again = copy.deepcopy(model)
    assert isinstance(model, SelfTrained) and isinstance(model, FitsAgain) and isinstance(again, FitsAgain)
    train, valid = rows.splits["train"], rows.splits["valid"]
    torch.manual_seed(4)  # dropout draws
    model.fit(rows, train, valid, seed=5)
    torch.manual_seed(4)
    again.fit_again(rows, train, model.settled, seed=5)
    assert again.settled == model.settled and len(model.settled)
    for name, weights in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weights, rtol=0, atol=0, msg=name)
    newer = copy.deepcopy(model)
    newer.fit_again(newest := rows.newest(), newest.splits["train"], model.settled, seed=5)
    assert any((weights != newer.state_dict()[name]).any() for name, weights in model.state_dict().items())


def test_only_the_last_days_are_kept_back_for_the_test() -> None:
    rows = films.dataset().newest()
    first = films.AS_OF - timedelta(days=films.OPTIONS["days"])
    days = rows.events.filter(pl.col("_learned"))["_day"]
    assert days.max() == first, "up to the day before the test begins"
