"""A booster as a module: LightGBM's own answers, in torch and in ONNX, and how many numbers it has learned."""

from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
import torch

from tasks.compression.export import export_onnx
from tasks.compression.runtime import run_onnx
from tasks.problems.base import FeatureContract, Floats
from tasks.problems.blocks.trees import Trees, ensemble_attributes
from tasks.problems.blocks.weights import count_parameters

SETTINGS = {"objective": "regression", "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 1, "deterministic": True}


def booster_of(x: Floats, y: Floats, trees: int, **settings: Any) -> lightgbm.Booster:
    return lightgbm.train({**SETTINGS, **settings}, lightgbm.Dataset(x, y), trees)


def exported(booster: lightgbm.Booster, features: int, outputs: int = 1) -> bytes:
    contract = FeatureContract("trees", {"x": ("float32", (features,))}, (outputs,))
    return export_onnx(Trees(booster), contract, {"x": np.zeros((2, features), np.float32)})


def own(booster: lightgbm.Booster, x: Floats) -> Floats:
    return np.asarray(booster.predict(x.astype(np.float64)), dtype=np.float32)[:, None]


@pytest.fixture(scope="module")
def x() -> Floats:
    return np.random.default_rng(0).normal(0, 100, (2000, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def booster(x: Floats) -> lightgbm.Booster:
    y = np.where(x[:, 0] > 20, 50, 10) + 0.1 * x[:, 1] + np.abs(x[:, 2])
    return booster_of(x, y.astype(np.float32), 30, num_leaves=15)


def test_the_file_gives_what_lightgbm_gives(booster: lightgbm.Booster, x: Floats) -> None:
    data, expected = exported(booster, 5), own(booster, x)
    assert expected.std() > 10
    np.testing.assert_allclose(run_onnx(data, {"x": x}), expected, rtol=1e-5)
    np.testing.assert_allclose(run_onnx(data, {"x": x[:1]}), expected[:1], rtol=1e-5)
    with torch.no_grad():
        assert np.array_equal(Trees(booster)(torch.from_numpy(x)).numpy(), expected)
    kinds = [(node.domain, node.op_type) for node in onnx.load_model_from_string(data).graph.node]
    assert kinds == [("ai.onnx.ml", "TreeEnsembleRegressor")]


def test_a_value_between_two_neighbours_of_float32_decides_alike_in_both() -> None:
    """LightGBM cuts just above the middle of two neighbours: rounded to float32, that is the upper one itself."""
    low = np.float32(1)
    high = np.nextafter(low, np.float32(2))
    x = np.repeat(np.array([low, high]), 50)[:, None]
    booster = booster_of(x, (x[:, 0] == high).astype(np.float32), 1, learning_rate=1.0)
    threshold = booster.dump_model()["tree_info"][0]["tree_structure"]["threshold"]
    assert low < np.float64(threshold) < high and np.float32(threshold) == high, "rounding sends both to the left"
    expected = own(booster, np.array([[low], [high]]))
    assert expected.ravel().tolist() == pytest.approx([0, 1])
    assert np.array_equal(run_onnx(exported(booster, 1), {"x": np.array([[low], [high]])}), expected)


@pytest.mark.parametrize(
    ("threshold", "stored"),
    [
        (0.5, 0.5),
        (0.1, np.nextafter(np.float32(0.1), np.float32(0))),  # float32 has 0.100000001
        (-0.1, np.float32(-0.1)),  # float32 has -0.100000001
        (1e300, np.finfo(np.float32).max),
    ],
)
def test_a_stored_threshold_is_the_largest_float32_that_is_not_above(threshold: float, stored: float) -> None:
    split = {"split_feature": 0, "threshold": threshold, "missing_type": "None", "left_child": {"leaf_value": 1.0}}
    dump = {"tree_info": [{"tree_structure": {**split, "right_child": {"leaf_value": 2.0}}}]}
    found = ensemble_attributes(dump)
    assert found["nodes_values_f"][0] == float(stored) <= threshold
    assert found["nodes_modes_s"] == ["BRANCH_LEQ", "LEAF", "LEAF"]
    assert (found["nodes_truenodeids_i"][0], found["nodes_falsenodeids_i"][0]) == (1, 2)
    assert dict(zip(found["target_nodeids_i"], found["target_weights_f"], strict=True)) == {1: 1.0, 2: 2.0}


def test_a_threshold_a_split_and_a_value_a_leaf_are_counted(booster: lightgbm.Booster, x: Floats) -> None:
    one = booster_of(x, (x[:, 0] > 0).astype(np.float32), 1, num_leaves=2)
    assert count_parameters(Trees(one)) == 1 + 2
    attributes = ensemble_attributes(booster.dump_model())
    assert count_parameters(Trees(booster)) == len(attributes["nodes_modes_s"]) > 30 * 3
    constant = booster_of(x, np.ones(len(x), np.float32), 3)
    assert count_parameters(Trees(constant)) == 1, "a tree without a split is one value"
    assert run_onnx(exported(constant, 5), {"x": x[:3]}).tolist() == [[1.0]] * 3


@pytest.mark.parametrize("settings", [{}, {"objective": "multiclass", "num_class": 3}], ids=["value", "classes"])
def test_missing_values_go_where_lightgbm_sends_them(x: Floats, settings: dict[str, Any]) -> None:
    """Where training saw them, to the better side, which is now one and now the other; elsewhere as 0."""
    rng = np.random.default_rng(1)
    holed = x.copy()
    holed[rng.random(x.shape) < [0.3, 0.3, 0.3, 0, 0]] = np.nan
    y = np.select([np.isnan(holed[:, 0]), holed[:, 1] > 20], [30.0, 50.0], 10) + np.nan_to_num(holed[:, 2], nan=-90) / 5
    y += x[:, 3] / 10
    label = np.digitize(y, [5, 30]) if settings else y
    booster = booster_of(holed, label.astype(np.float32), 20, num_leaves=15, **settings)
    attributes = ensemble_attributes(booster.dump_model())
    splits = {
        (feature, left)
        for feature, left, mode in zip(
            attributes["nodes_featureids_i"],
            attributes["nodes_missing_value_tracks_true_i"],
            attributes["nodes_modes_s"],
            strict=True,
        )
        if mode != "LEAF"
    }
    assert {(0, 0), (0, 1), (3, 0), (3, 1)} <= splits, "not all that there is, so little is shown"
    given = holed.copy()
    given[rng.random(x.shape) < 0.2] = np.nan
    given[:5] = np.nan
    expected = np.asarray(booster.predict(given.astype(np.float64), raw_score=True)).reshape(len(given), -1)
    found = run_onnx(exported(booster, 5, expected.shape[1]), {"x": given})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert not np.allclose(found, run_onnx(exported(booster, 5, expected.shape[1]), {"x": np.nan_to_num(given)}))
