"""A value with quantiles: they never cross, are learned and taught, measured, scored, watched and drawn."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from serving.contract import Contract
from tasks.compression.export import export_onnx
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.gates.champion import measure_champion
from tasks.gates.evaluation_set import EvaluationSet
from tasks.problems.base import Batches, Floats, Since
from tasks.problems.blocks.outputs import outputs
from tasks.problems.contracts import contract_to_json
from tasks.problems.models import build_model
from tasks.problems.tabular.labelled.losses import hard_loss
from tasks.problems.tabular.labelled.metrics import score_values
from tasks.problems.tabular.labelled.options import parse_options
from tests.unit.problems.tabular.labelled.homes import AS_OF, VALUE, YES_NO, dataset, homes, problem
from tests.unit.problems.tabular.labelled.test_errors import owners

LEVELS = [0.1, 0.5, 0.9]
BAND: dict[str, Any] = VALUE | {"quantiles": LEVELS}
SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [8]},
    "linear": {},
    "tabm": {"members": 3, "hidden": [8]},
    "lightgbm": {"trees": 15, "leaves": 4, "learning_rate": 0.3},
    "catboost": {"trees": 15, "depth": 3, "learning_rate": 0.3},
}


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        (VALUE, {"quantiles": [0.5]}, "quantiles: expected two increasing levels or more between 0 and 1"),
        (VALUE, {"quantiles": [0.9, 0.1]}, "quantiles: expected two increasing levels or more"),
        (VALUE, {"quantiles": [0.1, 0.1]}, "quantiles: expected two increasing levels or more"),
        (VALUE, {"quantiles": [0, 0.5]}, "quantiles: expected two increasing levels or more"),
        (YES_NO, {"quantiles": [0.1, 0.9]}, "quantiles: only a value has them; classes have chances"),
        (BAND, {"target": "p90"}, "target: the name 'p90' is taken"),
    ],
)
def test_quantiles_that_cannot_be_are_refused(options: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        problem(options, **changes)


def test_a_contract_without_quantiles_is_what_it_was() -> None:
    plain = contract_to_json(dataset().contract)
    assert "quantiles" not in plain["settings"]["options"] and "quantiles" not in plain["statistics"]
    found = dataset(BAND).contract
    assert found.output_shape == (4,) and problem(BAND).output_names == ("price", "p10", "p50", "p90")
    assert Contract.from_json(contract_to_json(found)).settings["options"]["quantiles"] == LEVELS
    odd = parse_options({**{key: BAND[key] for key in BAND if key != "kind"}, "quantiles": [0.025, 0.995]})
    assert odd.bands == ("p2.5", "p99.5")


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("metric", ["rmse", "rmsle"])
def test_quantiles_cross_in_no_model_whatever_its_weights(kind: str, metric: str) -> None:
    rows = dataset(BAND, metric=metric)
    torch.manual_seed(0)
    model: Any = build_model(Spec(kind=kind, **SMALL[kind]), rows.contract)
    if hasattr(model, "fit"):
        torch.set_num_threads(1)
        errors = model.fit(rows, rows.splits["train"], rows.splits["valid"], seed=0)
        assert len(errors) == 4, "a value and each quantile have an error of their own"
    else:
        with torch.no_grad():  # no training would come to these
            for weights in model.parameters():
                weights.add_(torch.randn(weights.shape))
    inputs = rows.inputs(rows.splits["train"])
    found = outputs(model.eval(), Batches.of(inputs))
    data = export_onnx(model, rows.contract, {name: values[:2] for name, values in inputs.items()})
    for output in (found, run_onnx(data, inputs)):
        assert (np.diff(output[:, 1:], axis=1) >= 0).all() and (output[:, 1] < output[:, 3]).any()


def test_coverage_and_pinball_are_what_they_are_by_hand() -> None:
    output = np.array([[2, 0, 2, 4], [2, 0, 2, 4], [9, 8, 9, 10]], np.float32)
    weighed = np.array([[4.0, 1], [5.0, 1], [8.5, 2]])
    score = score_values(output, weighed, "rmse", LEVELS)
    assert score.metrics["coverage"] == pytest.approx(3 / 4), "an edge of the band covers; a row counts by its weight"
    losses = [(0.4 + 1 + 0) / 3, (0.5 + 1.5 + 0.9) / 3, (0.05 + 0.25 + 0.15) / 3]
    assert score.metrics["pinball"] == pytest.approx(np.average(losses, weights=[1, 1, 2]) / 6.5)
    assert score.error == pytest.approx(score_values(output[:, :1], weighed, "rmse").error), "that of the value alone"


def test_a_band_that_is_far_too_narrow_or_crossed_is_told_by_its_coverage() -> None:
    rng = np.random.default_rng(0)
    truth, edge = rng.normal(0, 1, 2000), 1.2816

    def coverage(*edges: float) -> float:
        band = np.tile(np.array([0, *edges], np.float32), (2000, 1))
        return score_values(band, truth, "rmse", LEVELS).metrics["coverage"]

    assert coverage(-edge, 0, edge) == pytest.approx(0.8, abs=0.03)
    assert coverage(-0.1, 0, 0.1) < 0.1 and coverage(edge, 0, -edge) == 0


def fitted(kind: str, options: dict[str, Any], table: pl.DataFrame) -> tuple[Any, Floats]:
    """The test rows and what a model says of them that has learned from the others."""
    rows = dataset(options, table)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model: Any = build_model(Spec(kind=kind, **SMALL[kind]), rows.contract)
    if hasattr(model, "fit"):
        model.fit(rows, rows.splits["train"], rows.splits["valid"], seed=0)
    else:
        learn(model, rows)
    inputs = rows.inputs(rows.splits["test"])
    return rows, outputs(model.eval(), Batches.of(inputs))


def learn(model: nn.Module, rows: Any) -> None:
    train = rows.splits["train"]
    inputs = [torch.from_numpy(values) for values in rows.inputs(train).values()]
    target, loss = torch.from_numpy(rows.target(train)), hard_loss(rows.contract)
    steps = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(120):
        steps.zero_grad()
        loss(model(*inputs), target).mean().backward()  # type: ignore[no-untyped-call]
        steps.step()


@pytest.mark.parametrize("kind", ["linear", "lightgbm"])
def test_a_band_is_as_wide_as_the_noise_is(kind: str) -> None:
    """Of every second town the noise is ten times as large, which the value does not tell."""
    rng = np.random.default_rng(1)
    table = homes(1600).with_columns(town=pl.Series(rng.choice(["A", "B"], 1600)))
    noise = rng.normal(0, 1, 1600) * np.where(table["town"] == "A", 2000.0, 20_000.0)
    table = table.with_columns(price=100_000 + pl.Series(noise))
    options = BAND | {"numbers": ["rooms"], "booleans": [], "dates": []}
    rows, output = fitted(kind, options, table)
    test = rows.splits["test"]
    assert 0.7 < problem(options).score(output, rows.target(test)).metrics["coverage"] < 0.9
    wide, town = output[:, 3] - output[:, 1], rows.segments["town"][test]
    assert np.median(wide[town == "B"]) > 5 * np.median(wide[town == "A"])


def test_the_value_learns_nothing_from_its_quantiles() -> None:
    rows = dataset(BAND)
    torch.manual_seed(0)
    model = build_model(Spec(kind="linear"), rows.contract)
    output = model(*[torch.from_numpy(values) for values in rows.inputs(rows.splits["train"]).values()])
    (slope,) = torch.autograd.grad(output[:, 1:].sum(), [model.get_parameter("output.weight")])
    assert (slope[0] == 0).all() and (slope[1:] != 0).any(dim=1).all()


def test_soft_losses_see_the_teacher_s_quantiles() -> None:
    built, rows = problem(BAND), dataset(BAND)
    soft = built.strategies().soft
    assert list(soft) == ["squared", "absolute", "quantiles"] and "quantiles" not in problem().strategies().soft
    target = torch.from_numpy(rows.target(rows.splits["valid"]))
    teacher = torch.from_numpy(built.naive(rows, rows.splits["valid"]).copy())
    for kind, strategy in soft.items():
        loss = strategy().bind(rows.contract)
        assert (loss(teacher, teacher, target) == 0).all(), kind
        for place in range(4):
            other = teacher.clone()
            other[:, place] += 1000
            assert (loss(other, teacher, target) > 0).all(), f"{kind} does not see output {place}"
    spread = rows.contract.statistics["spread"]
    lower = teacher - torch.tensor([0.0, spread, 0.0, 0.0])
    by_hand = 0.1 * 2 * 0.1 / 3  # one deviation below the first of three quantiles
    np.testing.assert_allclose(soft["quantiles"]().bind(rows.contract)(lower, teacher, target), by_hand, rtol=1e-4)


@pytest.mark.parametrize("metric", ["rmse", "rmsle"])
def test_naive_quantiles_are_those_of_training(metric: str) -> None:
    built, rows = problem(BAND, metric=metric), dataset(BAND, metric=metric)
    train = rows.splits["train"]
    naive = built.naive(rows, train)
    np.testing.assert_allclose(naive[0, 1:], np.quantile(rows.target(train), LEVELS, method="inverted_cdf"), rtol=1e-3)


def test_with_a_last_label_naive_quantiles_lie_around_it_as_what_followed_did() -> None:
    options = {"numbers": ["area"], "booleans": [], "dates": [], "categories": [], "time": "listed", "group": "owner"}
    rows = dataset(BAND, owners([5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0]), **options)
    built = problem(BAND, **options)
    naive = built.naive(rows, rows.splits["train"])
    assert rows.last is not None
    known = np.isfinite(rows.last[rows.splits["train"]])
    assert naive[known][:, 0].tolist() == rows.last[rows.splits["train"]][known].tolist()
    gaps = naive[known][:, 1:] - naive[known][:, :1]
    assert (gaps == gaps[0]).all() and gaps[0, [0, 2]].tolist() == [-2, 2], "all other prices go up and down by two"


def test_scores_have_a_column_for_each_quantile_and_the_watch_counts_the_truth_within() -> None:
    built, rows = problem(BAND), dataset(BAND)
    asked = homes(8)

    class Says:
        names = tuple(rows.contract.inputs)

        def __call__(self, inputs: dict[str, Any]) -> Floats:
            return np.tile(np.array([5, 1, 5, 9], np.float32), (len(inputs["codes"]), 1))

    said = built.predict({"rows": asked.drop("price").lazy()}, AS_OF, rows.contract, Says())
    assert said.columns == ["home", "predicted", "p10", "p50", "p90"]
    prices = pl.Series("price", [0.9, 1.0, 5.0, 9.0, 9.1, 2.0, 3.0, 100.0])
    tables = {"rows": asked.with_columns(prices).lazy()}
    before = {"rows": asked.with_columns(pl.lit(None, pl.Float64).alias("price")).lazy()}
    since = Since(AS_OF, AS_OF, tables, lambda: before)
    assert built.outcomes(said, since, rows.contract).rows["inside"].to_list() == [
        False, True, True, True, False, True, True, False,
    ]  # fmt: skip
    naive = built.naive_predictions(since, rows.contract)
    assert built.outcomes(naive, since, rows.contract).rows["inside"].null_count() == 0
    former = said.select("home", "predicted")  # the champion before it had no quantiles
    assert built.outcomes(former, since, rows.contract).rows["inside"].null_count() == 8
    assert problem().outcomes(said, since, dataset().contract).rows["inside"].null_count() == 8


def test_a_champion_of_other_quantiles_is_compared_by_its_value() -> None:
    ours, plain = dataset(BAND), dataset()
    value = np.array([[3.0], [4.0]], np.float32)
    assert ours.answers(plain.contract)(value).tolist() == [[3.0] * 4, [4.0] * 4]
    band = np.array([[3.0, 0, 2, 8]], np.float32)
    assert plain.answers(ours.contract)(band).tolist() == [[3.0]]
    assert ours.answers(ours.contract)(band) is band
    wider = dataset(VALUE, quantiles=[0.05, 0.3, 0.5, 0.95])
    assert wider.answers(ours.contract)(band)[0] == pytest.approx([3, 0, 1, 2, 8])
    with pytest.raises(ValueError, match="it answers tabular"):
        ours.answers(dataset(YES_NO).contract)
    events = replace(plain.contract, settings={"options": {"entity": "home"}}, output_shape=(3,))
    with pytest.raises(ValueError, match=r"it answers tabular \(3,\), not tabular \(4,\)"):
        ours.answers(events)


def test_a_champion_without_quantiles_stands_against_candidates_that_have_them() -> None:
    plain = dataset()
    torch.manual_seed(0)
    model = build_model(Spec(kind="linear"), plain.contract).eval()
    file = export_onnx(model, plain.contract, plain.inputs(plain.splits["valid"][:2]))
    contract = json.dumps(contract_to_json(plain.contract)).encode()
    ours, theirs = (EvaluationSet(problem(options), dataset(options)) for options in (BAND, VALUE))
    found = measure_champion(1, file, contract, ours)
    assert found.note == "" and found.score is not None
    assert found.score.error == pytest.approx(theirs.score(theirs.run(file)).error)


def test_the_report_shows_how_often_the_truth_is_not_above_a_quantile() -> None:
    built, rows = problem(BAND), dataset(BAND)
    test = rows.splits["test"]
    found = built.examples(rows, test, {"candidate": built.naive(rows, test)}, 5)
    assert len(found) == 3 and found[0].dates == ("p10", "p50", "p90") and found[0].actual == (0.1, 0.5, 0.9)
    assert found[0].curves["candidate"] == pytest.approx((0.1, 0.5, 0.9), abs=0.15)
