"""The model that looks up past steps of alike covariates: what it weighs and leaves out, and what that is worth."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.compression.chain import parse_chain
from tasks.compression.export import export_onnx
from tasks.compression.options import Recipe
from tasks.compression.recipe import compress
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.distillation.objective import Objective
from tasks.distillation.options import Training
from tasks.distillation.trainer import TrainingData, predict, set_up, train
from tasks.problems.base import Dataset, Problem
from tasks.problems.blocks.inputs import inputs_of
from tasks.problems.forecasting.models.layout import Layout
from tasks.problems.forecasting.models.match import LagBias, Match
from tasks.problems.models import build_model
from tests.unit.problems.forecasting.models.chain import chain
from tests.unit.problems.forecasting.models.windows import CONTRACT, contract_of, forecast, model_of, windows_of


def match_of(contract: Any = CONTRACT, **options: Any) -> Match:
    """With weights that stand nowhere near where training starts."""
    model = model_of("match", contract, **options)
    assert isinstance(model, Match)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize(("context", "horizon", "season"), [(14, 5, 7), (8, 1, 3), (6, 4, 24), (9, 12, 2)])
def test_a_lag_has_one_number_and_its_place_in_the_season_another(context: int, horizon: int, season: int) -> None:
    layout = replace(Layout.of(CONTRACT), context=context, horizon=horizon, season=season)
    bias = LagBias(layout, heads=2)
    with torch.no_grad():
        for weight in (bias.lag, bias.place):
            weight.copy_(torch.randn_like(weight))
        found = bias()
        for ahead in range(horizon):
            for past in range(context):
                lag = ahead + context - past
                expected = bias.lag[:, -lag] + bias.place[:, lag % season]
                assert torch.equal(found[ahead, :, past], expected), (ahead, past)


def looked_up(model: Match, windows: dict[str, Tensor], scale: float = 15) -> Tensor:
    seen = model._seen(windows["past"], windows["future"], windows["calendar"])
    return model._look_up(seen[:, :14], seen[:, 14:], windows["units"] / scale, windows["observed"])


def plainly(model: Match, windows: dict[str, Tensor], scale: float = 15) -> Tensor:
    """What one window's heads look up, as a loop over heads and steps."""
    context, horizon, heads = model.layout.context, model.layout.horizon, model.heads
    seen = model._seen(windows["past"], windows["future"], windows["calendar"])[0]
    keys, queries = model.keys(seen), model.queries(seen).reshape(context + horizon, heads, model.width)
    bias, known, units = model.lags(), windows["observed"][0] > 0, windows["units"][0] / scale
    found = torch.zeros(horizon, 3 * heads)
    for head in range(heads):
        for ahead in range(horizon):
            scores = keys[:context] @ queries[context + ahead, head] + bias[ahead, head]
            weights = torch.softmax(scores[known], dim=0)
            mean = weights @ units[known]
            found[ahead, head] = mean
            found[ahead, heads + head] = (weights @ (units[known] - mean) ** 2).clamp(min=1e-6).sqrt()
            found[ahead, 2 * heads + head] = torch.softmax(scores, dim=0)[known].sum()
    return found


def test_heads_give_weighted_mean_and_deviation_of_what_was_observed_and_its_share() -> None:
    model, windows = match_of(), windows_of(1)
    windows["observed"][0, [2, 3, 13]] = windows["units"][0, [2, 3, 13]] = 0
    with torch.no_grad():
        torch.testing.assert_close(looked_up(model, windows)[0], plainly(model, windows), rtol=1e-3, atol=1e-3)


def test_covariates_of_steps_that_were_not_observed_change_the_share_alone() -> None:
    model, windows = match_of(kernel=1), windows_of(3)
    windows["observed"][:, 4:9] = windows["units"][:, 4:9] = 0
    other = windows["past"].clone()
    other[:, 4:9] += 1
    with torch.no_grad():
        found, changed = (looked_up(model, given) for given in (windows, {**windows, "past": other}))
    torch.testing.assert_close(found[:, :, :4], changed[:, :, :4], rtol=1e-3, atol=1e-3)
    assert found[:, :, 4:].max() < 1 and not torch.allclose(found[:, :, 4:], changed[:, :, 4:], rtol=1e-2)


def test_what_is_around_a_step_counts() -> None:
    """The day before a closed day: another step ahead changes as well."""
    model, windows = match_of(kernel=3), windows_of(2)
    other = windows["future"].clone()
    other[:, 2] += 1
    with torch.no_grad():
        same = (forecast(model, windows) == forecast(model, {**windows, "future": other})).all(dim=2).all(dim=0)
    assert same.tolist() == [True, False, False, False, True]


def test_covariates_known_of_the_past_alone_are_seen_there() -> None:
    """Three known ahead, two of the past alone, two of the calendar."""
    contract = replace(CONTRACT, inputs={**CONTRACT.inputs, "past": ("float32", (14, 7))})
    model, windows = match_of(contract), windows_of(4, contract)
    other = {**windows, "past": windows["past"] + torch.tensor([0.0, 0, 0, 1, 0, 0, 0])}
    with torch.no_grad():
        expected = forecast(model, windows)
        assert not torch.equal(forecast(model, other), expected)
    inputs = {name: values.numpy() for name, values in windows.items()}
    data = export_onnx(model, contract, {name: values[:2] for name, values in inputs.items()})
    for rows in (1, 4):
        found = run_onnx(data, {name: values[:rows] for name, values in inputs.items()})
        torch.testing.assert_close(torch.from_numpy(found), expected[:rows], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("place", [True, False])
def test_where_in_the_season_the_forecast_begins_can_be_left_out(place: bool) -> None:
    model, windows = match_of(place=place), windows_of(2)
    later, elsewhere = (windows["static"] + torch.tensor(changed) for changed in ([3, 0, 0], [0, 1, 0]))
    with torch.no_grad():
        found, *others = (
            forecast(model, {**windows, "static": codes}) for codes in (windows["static"], later, elsewhere)
        )
    assert torch.equal(others[0], found) != place and not torch.equal(others[1], found)


def test_no_window_makes_a_factor_without_bound() -> None:
    model, windows = match_of(contract_of(positive=False)), windows_of(2)
    with torch.no_grad():
        model.output.bias.fill_(1e4)
        assert forecast(model, windows).isfinite().all()


CHAINS: dict[str, list[dict[str, Any]]] = {
    "neurons": [{"kind": "neurons", "keep": 0.5, "epochs": 0}],
    "low-rank": [{"kind": "low-rank", "budget": 0.7, "epochs": 0}],
    "sparse": [{"kind": "magnitude", "sparsity": 0.5, "epochs": 0}, {"kind": "bitmask"}],
    "int8-static": [{"kind": "int8-static"}],
    "int8-qat": [{"kind": "int8-qat", "epochs": 1}],
    "chain": [{"kind": "neurons", "keep": 0.5, "epochs": 0}, {"kind": "int4-weights"}],
}


@pytest.fixture(scope="module")
def sold() -> tuple[Problem, Dataset]:
    return chain(stores=40, days=300, horizon=14, context=42, stride=3)


@pytest.mark.parametrize("name", CHAINS)
def test_it_is_compressed_like_the_others(name: str, sold: tuple[Problem, Dataset]) -> None:
    problem, dataset = sold
    torch.manual_seed(0)
    model = build_model(Spec(kind="match", heads=3), dataset.contract)
    names, valid = inputs_of(model, dataset.contract.inputs), dataset.splits["valid"]
    found = compress(
        model,
        parse_chain(name, Recipe(steps=tuple(Spec(**step) for step in CHAINS[name]))),
        dataset.contract,
        valid=dataset.batches(valid, names),
        error=lambda output: problem.score(output, dataset.target(valid)).error,
        calibration=lambda count: dataset.inputs(dataset.splits["train"][:count], names),
        tune=lambda *_, **__: 0,
        rounds=0,
    )
    first, *_, last = found.history
    assert last.error < 1.5 * first.error and found.parity.relative < 0.03
    assert last.bytes < first.bytes or name in ("int8-static", "int8-qat")


TRAINING = Training(epochs=4, batch_size=64, learning_rate=0.01, batches_per_epoch=40, patience=4)


def learned(kind: str, sold: tuple[Problem, Dataset], **options: Any) -> float:
    """Error on the test rows after a short training."""
    problem, dataset = sold
    threads = torch.get_num_threads()
    set_up(seed=0, threads=1)
    try:
        model = build_model(Spec(kind=kind, **options), dataset.contract)
        train(
            model,
            TrainingData(
                dataset,
                dataset.splits["train"],
                dataset.splits["valid"],
                lambda output, target: problem.score(output, target).error,
            ),
            Objective(dataset, problem.hard_loss(dataset.contract)),
            TRAINING,
            seed=0,
        )
        rows = dataset.splits["test"]
        return problem.score(predict(model, dataset, rows), dataset.target(rows)).error
    finally:
        torch.set_deterministic_debug_mode("default")
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trees(sold: tuple[Problem, Dataset]) -> dict[bool, tuple[Any, float]]:
    """Whether they see past covariates -> fitted trees and their error on the test rows."""
    problem, dataset = sold
    test, found = dataset.splits["test"], dict[bool, tuple[Any, float]]()
    for past in (False, True):
        options = {"trees": 40, "leaves": 15, "learning_rate": 0.15, "samples": 10_000, "past": past}
        model: Any = build_model(Spec(kind="lightgbm", **options), dataset.contract).eval()
        model.fit(dataset, dataset.splits["train"], dataset.splits["valid"], seed=0)
        found[past] = model, problem.score(predict(model, dataset, test), dataset.target(test)).error
    return found


def test_a_model_that_sees_when_past_covariates_were_is_clearly_better_where_they_matter(
    sold: tuple[Problem, Dataset], trees: dict[bool, tuple[Any, float]]
) -> None:
    plain, seeing, match = learned("linear-mlp", sold), learned("linear-mlp", sold, past=True), learned("match", sold)
    assert match < 0.8 * plain and seeing < 0.9 * plain, (plain, seeing, match)
    _, error = trees[True]
    assert match < 1.05 * error, "within five percent of trees that see the same"


def test_trees_gain_from_past_steps_of_alike_covariates(
    sold: tuple[Problem, Dataset], trees: dict[bool, tuple[Any, float]]
) -> None:
    _, dataset = sold
    (_, without), (model, error) = trees[False], trees[True]
    assert error < 0.95 * without
    test = dataset.splits["test"]
    inputs = dataset.inputs(test[:20], inputs_of(model, dataset.contract.inputs))
    data = export_onnx(model, dataset.contract, {name: values[:2] for name, values in inputs.items()})
    np.testing.assert_allclose(run_onnx(data, inputs), predict(model, dataset, test[:20]), rtol=1e-3, atol=1e-2)
