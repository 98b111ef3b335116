"""Errors of labelled rows worked out by hand, losses that are their parts, disturbances, rows that are made."""

from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tasks.compression.export import export_onnx
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.gates.comparison import compare
from tasks.problems.base import Batches, Clusters
from tasks.problems.blocks.classes import calibration_error, probabilities
from tasks.problems.blocks.outputs import outputs
from tasks.problems.models import build_model
from tasks.problems.tabular.labelled.losses import OF_VALUES, hard_loss
from tasks.problems.tabular.labelled.metrics import score_classes, score_values
from tasks.problems.tabular.labelled.synthesis import Mixed
from tasks.problems.tabular.models import boosted
from tests.unit.problems.tabular.labelled.homes import AS_OF, CLASSES, VALUE, YES_NO, dataset, homes, problem

VALUES = np.array([[3.0], [5.0], [0.0]], np.float32)
TRUTH = np.array([1.0, 5.0, 4.0])


def test_errors_of_values() -> None:
    assert score_values(VALUES, TRUTH, "rmse").error == pytest.approx(np.sqrt(20 / 3))
    assert score_values(VALUES, TRUTH, "mae").error == pytest.approx(2)
    logs = np.log1p(VALUES[:, 0]) - np.log1p(TRUTH)
    assert score_values(VALUES, TRUTH, "rmsle").error == pytest.approx(np.sqrt((logs**2).mean()))
    weighed = np.column_stack([TRUTH, [2.0, 1.0, 0.5]])
    assert score_values(VALUES, weighed, "mae").error == pytest.approx((2 * 2 + 0 + 0.5 * 4) / 3.5)
    metrics = score_values(VALUES, TRUTH, "rmse").metrics
    assert metrics["bias"] == pytest.approx(-2 / 3) and metrics["r2"] == pytest.approx(1 - 20 / (78 / 9))


def test_a_root_is_compared_as_a_root() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1, 500)
    better, worse = (score_values((truth + gap)[:, None].astype(np.float32), truth, "rmse") for gap in (0.1, 0.11))
    clusters = Clusters(np.arange(500), np.zeros((500, 1), np.int64))
    found = compare(worse, better, clusters, confidence=0.95, resamples=100, seed=1)
    assert found.difference == pytest.approx(0.1, abs=1e-4), "not the 21 % of the squares"


def test_errors_of_classes() -> None:
    logits = np.log(np.array([[0.8, 0.2], [0.4, 0.6], [0.7, 0.3]], np.float32))
    truth = np.array([0, 1, 1])
    score = score_classes(logits, truth, "log_loss")
    assert "log_loss" not in score.metrics and "brier" in score.metrics, "the error itself stands apart"
    assert score.error == pytest.approx(-np.log([0.8, 0.6, 0.3]).mean())
    assert score_classes(logits, truth, "brier").error == pytest.approx(2 * (0.04 + 0.16 + 0.49) / 3)
    assert score.metrics["accuracy"] == pytest.approx(2 / 3) and score.metrics["auc"] == pytest.approx(1)
    assert score.metrics["calibration_error"] == pytest.approx((0.2 + 0.4 + 0.7) / 3)


def test_an_honest_forecaster_is_calibrated_and_a_boaster_is_not() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.05, 0.95, 20_000)
    truth = (rng.random(20_000) < chance).astype(np.int64)
    both = np.column_stack([1 - chance, chance])
    assert calibration_error(both, truth, np.ones(20_000)) < 0.015
    boasts = (np.column_stack([chance < 0.5, chance >= 0.5]) * 0.98 + 0.01).astype(np.float64)
    assert calibration_error(boasts, truth, np.ones(20_000)) > 0.2


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (VALUE, {}),
        (VALUE, {"metric": "mae"}),
        (VALUE, {"metric": "rmsle"}),
        (YES_NO, {}),
        (CLASSES, {"metric": "brier"}),
    ],
)
@pytest.mark.parametrize("weight", [None, "weigh"])
def test_the_loss_that_is_learned_orders_answers_as_the_error_does(
    options: dict[str, Any], changes: dict[str, Any], weight: str | None
) -> None:
    built = problem(options, weight=weight, **changes)
    rows = dataset(options, weight=weight, **changes)
    test, rng = rows.splits["test"], np.random.default_rng(0)
    truth = rows.target(test)
    label = truth[:, 0] if weight else truth
    answers = []
    for noise in (0.1, 0.5, 2.0):
        clean = label[:, None] if not built.options.labels else 3 * np.eye(built.options.width)[label.astype(int)]
        spread = float(rows.contract.statistics.get("spread", 1)) if options is VALUE and not changes else 1.0
        answers.append((clean + noise * spread * rng.normal(size=clean.shape)).astype(np.float32))
    loss = hard_loss(rows.contract)
    learned = [float(loss(torch.from_numpy(one), torch.from_numpy(truth)).sum()) for one in answers]
    measured = [built.score(one, truth).error for one in answers]
    assert np.argsort(learned).tolist() == np.argsort(measured).tolist()


@pytest.mark.parametrize("weight", [None, "weigh"])
def test_a_naive_answer_is_the_best_constant(weight: str | None) -> None:
    # Dear homes count for little, so that the answer without weights is far from the best with them.
    table = homes().with_columns(weigh=pl.when(pl.col("price") > 100_000).then(0.2).otherwise(1.0))
    for options in (VALUE, VALUE | {"metric": "mae"}, VALUE | {"metric": "rmsle"}, YES_NO):
        built, rows = problem(options, weight=weight), dataset(options, table, weight=weight)
        train = rows.splits["train"]
        naive = built.naive(rows, train)
        least = built.score(naive, rows.target(train)).error
        for factor in (0.9, 1.1):
            other = naive * factor if not built.options.labels else naive + np.array([[0, np.log(factor)]], np.float32)
            assert built.score(other.astype(np.float32), rows.target(train)).error > least


def owners(values: list[float | None]) -> pl.DataFrame:
    """One owner sells a home a day at these prices, up to the last of 40 days; others at 1 and 3 by turns.

    Of these one sells all the time; one ends among the days of training, one among those of validation.
    """
    days = {"a": range(40 - len(values), 40), "b": range(40), "c": range(20), "d": range(24, 31)}
    rows = [(owner, day) for owner, range_ in days.items() for day in range_]
    return pl.DataFrame(
        {
            "home": [f"{owner}{day}" for owner, day in rows],
            "owner": [owner for owner, _ in rows],
            "listed": [AS_OF - timedelta(days=40 - day) for _, day in rows],
            "area": np.arange(float(len(rows))),
            "price": [values[day - 40] if owner == "a" else 1.0 + 2 * (day % 2) for owner, day in rows],
        }
    )


def test_with_a_time_and_a_group_the_naive_answer_is_the_group_s_last_label() -> None:
    options = {"numbers": ["area"], "booleans": [], "dates": [], "categories": [], "time": "listed", "group": "owner"}
    table = owners([5.0, 6.0, None, 8.0, 9.0, 10.0, 11.0, 12.0])
    rows, built = dataset(VALUE, table, **options), problem(VALUE, **options)
    places = rows.table["_place"].to_numpy()
    everything = np.arange(len(places))
    naive = dict(zip(places.tolist(), built.naive(rows, everything)[:, 0].tolist(), strict=True))
    test = [place for place in (3, 4, 5, 6, 7) if place in naive]
    assert len(test) >= 4 and rows.splits["test"].size
    before = {3: 6.0, 4: 8.0, 5: 9.0, 6: 10.0, 7: 11.0}
    assert {place: naive[place] for place in test} == {place: before[place] for place in test}
    assert naive[47] == 1.0 and naive[46] == 3.0, "also a label that is in no split"
    classes = {**options, "target": "dear", "positive": None}
    named = table.with_columns(dear=pl.col("price") > 2)
    rows, built = dataset(YES_NO, named, **classes), problem(YES_NO, **classes)
    chances = probabilities(built.naive(rows, rows.splits["test"]))
    last = rows.last[rows.splits["test"]] if rows.last is not None else np.empty(0)
    label = rows.target(rows.splits["test"])
    others = last != label
    assert others.any() and (chances[np.arange(len(label)), label][others] > 0.5).all(), "no follows yes for owner b"


def test_disturbances_do_what_they_say() -> None:
    rows = dataset()
    inputs = rows.inputs(rows.splits["train"])
    built = problem()
    known = inputs["observed"][:, :2] > 0
    deviation = inputs["numeric"][:, 0][known[:, 0]].std()
    shifted = built.corrupt("shift", 0.5, inputs, 1)["numeric"]
    np.testing.assert_allclose((shifted - inputs["numeric"])[known[:, 0], 0], 0.5 * deviation, rtol=1e-3)
    assert (shifted[:, 2:] == inputs["numeric"][:, 2:]).all(), "flags and dates stay"
    noisy = built.corrupt("noise", 0.5, inputs, 1)["numeric"] - inputs["numeric"]
    assert noisy[known[:, 0], 0].std() == pytest.approx(0.5 * deviation, rel=0.15) and (noisy[:, :2][~known] == 0).all()
    gone = built.corrupt("missing", 0.4, inputs, 1)
    assert 0.3 < 1 - gone["observed"].sum() / inputs["observed"].sum() < 0.5
    assert (gone["numeric"][gone["observed"] == 0] == 0).all()
    unseen = built.corrupt("unseen", 1.0, inputs, 1)
    assert (unseen["codes"] == 0).all() and (unseen["numeric"] == inputs["numeric"]).all()
    with pytest.raises(ConfigError, match="unknown kind 'fog'; there are: noise, missing, unseen, shift"):
        built.corrupt("fog", 1, inputs, 1)


def test_made_rows_are_like_the_table_s_and_yet_others() -> None:
    rows = dataset()
    made, parents = Mixed(rows=3000).make(rows, np.random.default_rng(0))
    train = rows.splits["train"]
    assert set(parents) <= set(train) and len(made["codes"]) == 3000
    real = rows.inputs(train)
    assert set(made["codes"].ravel()) <= set(real["codes"].ravel())
    known = made["observed"][:, 0] > 0
    assert (made["numeric"][~known, 0] == 0).all() and set(made["observed"].ravel()) <= {0.0, 1.0}
    whole = made["numeric"][:, 1:]
    assert (whole == np.round(whole)).all(), "rooms, flags and dates have whole values alone"
    areas = real["numeric"][real["observed"][:, 0] > 0, 0]
    assert made["numeric"][known, 0].mean() == pytest.approx(areas.mean(), rel=0.1)
    assert len(np.unique(made["numeric"][known, 0])) > 2 * len(areas)


SMALL_TREES = {"lightgbm": {"trees": 60, "leaves": 8, "min_leaf": 5}, "catboost": {"trees": 100, "depth": 4}}


@pytest.mark.parametrize("kind", SMALL_TREES)
@pytest.mark.parametrize("options", [VALUE, YES_NO, CLASSES])
def test_trees_learn_what_missing_numbers_and_categories_tell(options: dict[str, Any], kind: str) -> None:
    built, rows = problem(options), dataset(options)
    model: Any = build_model(Spec(kind=kind, **SMALL_TREES[kind]), rows.contract)
    model.fit(rows, rows.splits["train"], rows.splits["valid"], seed=0)
    test = rows.splits["test"]
    found = outputs(model.eval(), Batches.of(rows.inputs(test)))
    naive = built.score(built.naive(rows, test), rows.target(test)).error
    assert built.score(found, rows.target(test)).error < 0.75 * naive
    blind = {**rows.inputs(test), "codes": np.zeros_like(rows.inputs(test)["codes"])}
    assert not np.allclose(outputs(model, Batches.of(blind)), found)
    inputs = rows.inputs(test)
    assert (inputs["observed"][:, 0] == 0).sum() > 3, "no area is missing"
    data = export_onnx(model, rows.contract, {name: values[:2] for name, values in inputs.items()})
    np.testing.assert_allclose(run_onnx(data, inputs), found, rtol=1e-3, atol=1e-4 * np.abs(found).max())
    inputs["numeric"] = np.where(inputs["observed"] > 0, inputs["numeric"], np.float32(500))
    assert np.array_equal(outputs(model, Batches.of(inputs)), found), "what stands for a missing number counts"


def test_catboost_that_is_not_installed_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert version("catboost") == boosted.CATBOOST, "requirements/dev.in has another version"
    way_out = r"pip install --no-deps catboost==9\.9, where stages run"
    monkeypatch.setattr(boosted, "CATBOOST", "9.9")
    with pytest.raises(ConfigError, match=rf"catboost 9\.9 is needed, .* is installed; {way_out}"):
        build_model(Spec(kind="catboost"), dataset().contract)

    def gone(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(boosted, "version", gone)
    with pytest.raises(ConfigError, match=rf"^model\.kind: catboost 9\.9 is needed, nothing is installed; {way_out}$"):
        build_model(Spec(kind="catboost"), dataset().contract)


def test_soft_losses_of_values_count_a_row_by_its_weight() -> None:
    rows = dataset(weight="weigh")
    spread = rows.contract.statistics["spread"]
    output, teacher = torch.tensor([[2 * spread], [0.0]]), torch.zeros(2, 1)
    target = torch.tensor([[9.0, 1.0], [9.0, 3.0]])
    for kind, value in (("squared", 4.0), ("absolute", 2.0)):
        loss = OF_VALUES[kind]().bind(rows.contract)
        assert loss(output, teacher, target).tolist() == pytest.approx([value, 0])
        assert loss(output.flip(0), teacher, target).tolist() == pytest.approx([0, 3 * value])


def test_pictures_show_what_came_of_predictions_and_residuals() -> None:
    built, rows = problem(), dataset()
    test = rows.splits["test"]
    truth = rows.target(test)
    curves = {"candidate": truth[:, None] + 100, "naive": built.naive(rows, test)}
    tenths, residuals = built.examples(rows, test, curves, 5)
    assert len(tenths.dates) == 10 and tenths.past == ()
    gaps = np.array(tenths.curves["candidate"]) - np.array([value or 0.0 for value in tenths.actual])
    np.testing.assert_allclose(gaps, 100, atol=1)
    assert residuals.curves == {"candidate": (100.0,) * 5}
    yes_no = dataset(YES_NO)
    chances = {
        "candidate": np.array([[0.0, 2.0]], np.float32) * (yes_no.target(test)[:, None] - 0.5).astype(np.float32)
    }
    whole, by_chance = problem(YES_NO).examples(yes_no, test, chances, 5)
    assert whole.actual[1] == pytest.approx(yes_no.target(test).mean(), abs=1e-5)
    assert by_chance.actual == (0.0, 1.0), "two chances are two bars"
