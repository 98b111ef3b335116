"""A CatBoost model as a module: CatBoost's own answers, in torch and in ONNX, and how many numbers it has learned."""

from typing import Any

import catboost
import numpy as np
import onnx
import pytest
import torch

from tasks.compression.export import export_onnx
from tasks.compression.runtime import run_onnx
from tasks.problems.base import FeatureContract, Floats
from tasks.problems.blocks.oblivious import ObliviousTrees, dump
from tasks.problems.blocks.weights import count_parameters


def fitted(x: Floats, y: Any, **settings: Any) -> catboost.CatBoost:
    fixed = {"iterations": 20, "depth": 4, "learning_rate": 0.3, "thread_count": 1, "random_seed": 0}
    model = catboost.CatBoost({**fixed, "allow_writing_files": False, "logging_level": "Silent", **settings})
    return model.fit(x, y)


def exported(model: catboost.CatBoost, features: int, outputs: int) -> bytes:
    contract = FeatureContract("trees", {"x": ("float32", (features,))}, (outputs,))
    return export_onnx(ObliviousTrees(model), contract, {"x": np.zeros((2, features), np.float32)})


@pytest.fixture(scope="module")
def x() -> Floats:
    return np.random.default_rng(0).normal(0, 100, (1000, 5)).astype(np.float32)


@pytest.mark.parametrize(
    ("loss", "outputs"), [("RMSE", 1), ("Logloss", 1), ("MultiClass", 3)], ids=["value", "yes-no", "classes"]
)
def test_the_file_gives_what_catboost_gives(loss: str, outputs: int, x: Floats) -> None:
    y = np.where(x[:, 0] > 20, 50, 10) + 0.1 * x[:, 1] + np.abs(x[:, 2])
    label = y if loss == "RMSE" else np.searchsorted(np.quantile(y, [0.3, 0.6][: max(1, outputs - 1)]), y)
    model = fitted(x, label, loss_function=loss)
    expected = np.asarray(model.predict(x, prediction_type="RawFormulaVal"), np.float32).reshape(len(x), -1)
    assert expected.shape == (1000, outputs) and expected.std() > 0.1
    data = exported(model, 5, outputs)
    np.testing.assert_allclose(run_onnx(data, {"x": x}), expected, rtol=1e-5, atol=1e-5)
    # On a border itself, and one step of float32 beside it, both decide alike.
    split = dump(model)["oblivious_trees"][0]["splits"][0]
    border = np.float32(split["border"])
    edges = np.repeat(x[:1], 3, axis=0)
    edges[:, split["float_feature_index"]] = [np.nextafter(border, np.float32(s)) for s in (-np.inf, border, np.inf)]
    there = np.asarray(model.predict(edges, prediction_type="RawFormulaVal"), np.float32).reshape(3, -1)
    np.testing.assert_allclose(run_onnx(data, {"x": edges}), there, rtol=1e-5, atol=1e-5)
    assert np.array_equal(there[0], there[1]) and not np.array_equal(there[1], there[2])
    with torch.no_grad():
        assert np.array_equal(ObliviousTrees(model)(torch.from_numpy(x)).numpy(), expected)
    kinds = [(node.domain, node.op_type) for node in onnx.load_model_from_string(data).graph.node]
    assert kinds == [("ai.onnx.ml", "TreeEnsembleRegressor")]


def test_missing_values_go_the_same_way_in_columns_with_and_without_them_in_training(x: Floats) -> None:
    rng = np.random.default_rng(1)
    some = np.where(rng.random(x.shape) < [0.4, 0, 0, 0, 0], np.nan, x).astype(np.float32)
    label = np.where(np.isnan(some[:, 0]), 300, 0) + np.abs(x[:, 1])
    model = fitted(some, label, loss_function="RMSE", nan_mode="Min")
    asked = np.where(rng.random(x.shape) < 0.3, np.nan, x).astype(np.float32)
    expected = np.asarray(model.predict(asked), np.float32)[:, None]
    assert np.ptp(expected) > 100
    np.testing.assert_allclose(run_onnx(exported(model, 5, 1), {"x": asked}), expected, rtol=1e-5, atol=1e-4)


def test_thresholds_and_leaves_count_as_parameters(x: Floats) -> None:
    model = fitted(x, x[:, 0], iterations=3, depth=2, loss_function="RMSE")
    assert count_parameters(ObliviousTrees(model)) == 3 * (2 + 4)
