"""A released file gives a user's vector and those of the items, for an index elsewhere."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bench.ranking.vectors import BIAS, ITEMS, USER, opened
from tasks.compression.export import export_onnx
from tasks.compression.integer_weights import Int8Weights
from tasks.compression.onnx_graph import to_bytes
from tasks.core.config import Spec
from tasks.problems.models import build_model
from tasks.problems.ranking.dataset import HISTORY, make_contract
from tasks.problems.ranking.options import Options


def run(model: bytes, names: list[str], history: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(names, {HISTORY: history})
    return found


def test_the_product_of_both_is_the_score_of_floats_and_of_integers() -> None:
    contract = make_contract(Options(history=6), [str(number) for number in range(40)])
    torch.manual_seed(0)
    model = build_model(Spec(kind="decayed-sum", width=32), contract).eval()
    with torch.no_grad():
        model.bias.copy_(torch.randn(40))  # type: ignore[operator]
    history = np.array([[0, 0, 3, 9, 1, 40], [0, 0, 0, 0, 0, 7]])
    floats = export_onnx(model, contract, {HISTORY: history})
    integers = to_bytes(Int8Weights().apply(onnx.load_model_from_string(floats), lambda _: {HISTORY: history}))
    for data in (floats, integers):
        (expected,) = run(data, ["output"], history)
        user, vectors, bias = run(opened(data), [USER, ITEMS, BIAS], history)
        assert user.shape == (2, 32) and vectors.shape == (32, 40) and bias.shape[-1] == 40
        np.testing.assert_allclose(user @ vectors + bias, expected, atol=1e-4)
    other = onnx.load_model_from_string(floats)
    next(node for node in other.graph.node if node.output[0] == "output").op_type = "Sub"
    with pytest.raises(ValueError, match="output: expected the product of a user's vector"):
        opened(other.SerializeToString())
