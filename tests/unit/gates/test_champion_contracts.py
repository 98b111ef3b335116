"""A champion whose inputs are made otherwise than tonight is scored on the same rows, or refused with a reason."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasks.compression.export import export_onnx
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.gates.champion import Champion, measure_champion
from tasks.gates.evaluation_set import EvaluationSet
from tasks.problems.base import Dataset, FeatureContract, Raw
from tasks.problems.contracts import contract_to_json
from tasks.problems.models import build_model


@pytest.fixture(scope="module")
def tonight(sales: Any) -> EvaluationSet:
    return EvaluationSet(sales.problem(), sales.dataset, raw=Raw({"series": sales.table()}, sales.as_of))


def former(sales: Any, changes: dict[str, Any]) -> Dataset:
    """Tonight's table as a champion's own code and options would have made it into rows."""
    dataset: Dataset = sales.problem(**changes).features({"series": sales.table()}, sales.as_of)
    return dataset


def released(contract: FeatureContract) -> bytes:
    return json.dumps(contract_to_json(contract)).encode()


def model_of(dataset: Dataset) -> bytes:
    network = build_model(Spec(kind="linear-mlp", hidden=4), dataset.contract)
    return export_onnx(network, dataset.contract, dataset.inputs(dataset.splits["test"]))


OTHERS: list[dict[str, Any]] = [
    {"context": 21},
    {"context": 9},
    {"season": 5},
    {"static": ["store_id"]},
    {"static": []},
    {"promotions": ["promo_mailer"]},
    {"promotions": ["promo_mailer", "promo_display"]},
    {"price": None},
    {"country": "US"},
    {"context": 28, "season": 14, "static": ["department"], "price": None, "promotions": []},
]


@pytest.mark.parametrize("changes", OTHERS, ids=str)
def test_a_champion_of_other_options_is_scored_as_under_its_own(
    sales: Any, tonight: EvaluationSet, changes: dict[str, Any]
) -> None:
    theirs = former(sales, changes)
    rows = theirs.splits["test"]
    model = model_of(theirs)
    champion = measure_champion(3, model, released(theirs.contract), tonight)
    assert champion.note == ""
    assert champion.output is not None
    assert np.array_equal(champion.output, run_onnx(model, theirs.inputs(rows)))
    # The rows are tonight's: series and origins in their order, and their targets.
    assert np.array_equal(theirs.target(rows), tonight.target)
    under = tonight.under(theirs.contract)
    for name, values in under.sample.items():
        assert np.array_equal(values, theirs.inputs(rows)[name]), name


def test_every_row_of_all_splits_keeps_its_place(sales: Any, tonight: EvaluationSet) -> None:
    theirs = former(sales, {"context": 21, "static": ["store_id"]})
    under = tonight.dataset.under(theirs.contract, tonight.raw)
    for split in ("train", "valid", "test"):
        rows = tonight.dataset.splits[split]
        assert np.array_equal(under.splits[split], rows)
        assert np.array_equal(under.target(rows), tonight.dataset.target(rows))
        last = tonight.dataset.inputs(rows, ["units"])["units"]
        assert np.array_equal(under.inputs(rows, ["units"])["units"][:, -14:], last)


def test_features_are_taken_by_name_so_that_an_older_set_or_order_still_fits(tonight: EvaluationSet) -> None:
    contract = tonight.dataset.contract
    known, calendar = contract.settings["future_features"], contract.settings["calendar_features"]
    fewer = [name for name in reversed(known) if name != "holiday_ahead"]
    days = calendar[:7]
    settings = {**contract.settings, "future_features": fewer, "calendar_features": days}
    under = tonight.under(replace(contract, settings=settings)).sample
    own = tonight.sample
    places = [known.index(name) for name in fewer]
    assert np.array_equal(under["future"], own["future"][:, :, places])
    assert np.array_equal(under["calendar"], own["calendar"][:, :, :7])
    both = [*places, *range(len(known), len(known) + 7)]
    assert np.array_equal(under["past"], own["past"][:, :, both])
    assert np.array_equal(under["units"], own["units"])


def refusal(champion: Champion) -> str:
    assert champion.score is None
    assert not champion.absent
    return champion.note


def test_what_cannot_be_made_tonight_is_refused_with_what_is_missing(sales: Any, tonight: EvaluationSet) -> None:
    theirs = former(sales, {"context": 21})
    model = model_of(theirs)
    own = theirs.contract
    options = own.settings["options"]

    def told(contract: FeatureContract, evaluation: EvaluationSet = tonight, data: bytes = model) -> str:
        return refusal(measure_champion(3, data, released(contract), evaluation))

    def optioned(**changes: Any) -> FeatureContract:
        return replace(own, settings={**own.settings, "options": {**options, **changes}})

    assert "tonight's is 14" in told(own, replace(tonight, raw=None))
    assert "need promo_tv, which tonight's table does not have" in told(optioned(promotions=["promo_tv"]))
    assert "need region, which tonight's table does not have" in told(optioned(static=["region"]))
    assert "its problem.horizon is 4, tonight's is 5" in told(optioned(horizon=4))
    assert "problem.flavour" in told(optioned(flavour="sweet"))
    renamed = {**own.settings, "future_features": ["weather", *own.settings["future_features"]]}
    assert "those that can be made are" in told(replace(own, settings=renamed))
    other_inputs = replace(own, inputs={"history": ("float32", (21, 2)), **own.inputs})
    assert "its inputs history are no longer made" in told(other_inputs)
    # The contract of a model that it does not belong to: the runtime refuses the shapes.
    assert "cannot be compared" in told(tonight.dataset.contract)
    # A table that lacks a series of tonight's features is not the one that they were made of.
    table = sales.table(("s1",))
    assert "does not hold the rows" in told(own, replace(tonight, raw=Raw({"series": table}, sales.as_of)))
