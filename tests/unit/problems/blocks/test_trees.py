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


def exported(booster: lightgbm.Booster, features: int) -> bytes:
    contract = FeatureContract("trees", {"x": ("float32", (features,))}, (1,))
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
    split = {"split_feature": 0, "threshold": threshold, "left_child": {"leaf_value": 1.0}}
    dump = {"tree_info": [{"tree_structure": {**split, "right_child": {"leaf_value": 2.0}}}]}
    with np.errstate(over="ignore"):
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
