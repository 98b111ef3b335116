"""Whole recipes on a known network: bytes, parity, reproducibility."""

import copy
import hashlib
from typing import Any

import numpy as np
import onnx
import pytest

from tasks.compression.chain import parse_chain
from tasks.compression.options import Recipe
from tasks.compression.parity import parity
from tasks.compression.recipe import Compressed, compress
from tasks.compression.runtime import run_onnx
from tasks.core.errors import ConfigError
from tasks.problems.base import Batches
from tasks.problems.blocks.outputs import outputs

STEPS: dict[str, list[dict[str, object]]] = {
    "fp32": [],
    "magnitude": [{"kind": "magnitude", "sparsity": 0.5, "epochs": 1}],
    "neurons": [{"kind": "neurons", "keep": 0.5, "epochs": 1}],
    "int8-dynamic": [{"kind": "int8-dynamic"}],
    "int8-static": [{"kind": "int8-static", "samples": 64}],
    "fp16": [{"kind": "fp16"}],
    "low-rank": [{"kind": "low-rank", "budget": 0.5, "epochs": 1}],
    "int8-qat": [{"kind": "int8-qat", "epochs": 1, "samples": 64}],
    "int8-weights": [{"kind": "int8-weights"}],
    "int4-weights": [{"kind": "int4-weights"}],
    "packed": [{"kind": "magnitude", "sparsity": 0.5, "epochs": 1}, {"kind": "fp16"}, {"kind": "bitmask"}],
    "chain": [
        {"kind": "neurons", "keep": 0.75, "epochs": 1},
        {"kind": "magnitude", "sparsity": 0.3, "epochs": 1},
        {"kind": "int8-static", "samples": 64},
    ],
}


@pytest.fixture
def apply(network: Any, contract: Any, rows: Any, error: Any, tuner: Any, calibration: Any) -> Any:
    def run(name: str, rounds: int = 0) -> Compressed:
        chain = parse_chain(name, Recipe.model_validate({"steps": STEPS[name]}))
        return compress(
            copy.deepcopy(network), chain, contract, Batches.of(rows), error, calibration, tuner, rounds=rounds
        )

    return run


@pytest.mark.parametrize("name", STEPS)
def test_every_recipe_gives_equal_bytes_twice_and_tells_the_truth_about_them(
    apply: Any, rows: Any, error: Any, name: str
) -> None:
    first, second = apply(name), apply(name)
    assert hashlib.sha256(first.model).hexdigest() == hashlib.sha256(second.model).hexdigest()
    about = first.about()
    assert about["bytes"] == len(first.model) == about["history"][-1]["bytes"]
    assert about["sha256"] == hashlib.sha256(first.model).hexdigest()
    assert about["valid_error"] == pytest.approx(error(run_onnx(first.model, rows)))
    assert [item["step"] for item in about["history"]] == ["student", *(step["kind"] for step in STEPS[name])]
    graph = onnx.load_model_from_string(first.model).graph
    assert [value.name for value in graph.input] == ["x"]
    assert [(value.name, value.type.tensor_type.elem_type) for value in graph.output] == [
        ("output", onnx.TensorProto.FLOAT)
    ]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("fp32", 0, 1e-6), ("fp16", 1e-6, 1e-3), ("int8-static", 1e-4, 0.01), ("int8-dynamic", 1e-4, 0.01)],
)
def test_parity_is_measured_against_torch_before_the_numbers_got_narrower(
    apply: Any, name: str, low: float, high: float
) -> None:
    assert low <= apply(name).parity.relative <= high


def test_bytes_against_the_exported_student(apply: Any) -> None:
    sizes = {name: len(apply(name).model) for name in STEPS}
    assert sizes["magnitude"] == sizes["fp32"], "dense ONNX keeps its zeros"
    assert sizes["neurons"] < 0.65 * sizes["fp32"]
    assert sizes["fp16"] < 0.65 * sizes["fp32"]
    assert sizes["int8-dynamic"] < 0.65 * sizes["fp32"]
    assert sizes["low-rank"] < 0.65 * sizes["fp32"]
    assert max(sizes["int8-weights"], sizes["int4-weights"], sizes["int8-qat"]) < 0.5 * sizes["fp32"]
    assert sizes["packed"] < 0.85 * sizes["fp16"]


def test_nonzero_weights_are_counted(apply: Any) -> None:
    assert (apply("fp32").parameters, apply("fp32").nonzero) == (1750, 1750)
    assert (apply("magnitude").parameters, apply("magnitude").nonzero) == (1750, 1750 - 856)


def test_fp16_keeps_weights_that_half_precision_cannot_hold(network: Any, apply: Any) -> None:
    network.skip.weight.data[0, 0] = 1e6
    result = apply("fp16")
    assert result.parity.relative < 1e-3
    types = {tensor.name: tensor.data_type for tensor in onnx.load_model_from_string(result.model).graph.initializer}
    assert sorted(types.values()).count(onnx.TensorProto.FLOAT16) == 2


def test_quantizing_a_graph_without_products_is_a_configuration_error(
    contract: Any, rows: Any, error: Any, tuner: Any
) -> None:
    import torch
    from torch import nn

    class FirstSix(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x, dim=1)[:, :6]

    for name in ("int8-dynamic", "int8-static"):
        chain = parse_chain(name, Recipe.model_validate({"steps": STEPS[name]}))
        with pytest.raises(ConfigError, match=f"step {name}: the graph has no matrix product to quantize"):
            compress(FirstSix(), chain, contract, Batches.of(rows), error, lambda count: rows, tuner)


def test_every_step_is_timed_and_no_time_enters_the_lock(apply: Any) -> None:
    timed, untimed = apply("chain", rounds=5), apply("chain")
    assert timed.about() == untimed.about() and "us" not in str(timed.about())
    figures = timed.latency()
    assert [row["step"] for row in figures["steps"]] == ["student", "neurons", "magnitude", "int8-static"]
    assert all(row["p95_us"] >= row["p50_us"] > 0 and row["batch"] == 1 for row in figures["steps"])
    assert len({row["reference_p50_us"] for row in figures["steps"]}) == 1, "measured in turn with one reference"
    assert untimed.timings == () and untimed.latency()["steps"] == []


def test_parity_figures() -> None:
    onnx_side = np.array([[1.0, 2.0], [3.0, 4.5]], np.float32)
    torch_side = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    assert parity(onnx_side, torch_side).to_json() == {"max_abs": 0.5, "mean_abs": 0.125, "relative": 0.05}
    assert parity(onnx_side * np.nan, torch_side).to_json()["relative"] is None
    with pytest.raises(ValueError, match=r"ONNX output has shape \(2, 2\), torch output \(1, 2\)"):
        parity(onnx_side, torch_side[:1])


def test_outputs_do_not_depend_on_batches(network: Any, rows: Any) -> None:
    np.testing.assert_allclose(
        outputs(network, Batches.of(rows, most=7)), outputs(network, Batches.of(rows)), atol=1e-6
    )
