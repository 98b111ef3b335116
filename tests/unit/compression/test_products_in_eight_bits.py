"""A large matrix can stay in eight bits: its products are computed so, and everything else is as before."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tasks.compression.export import export_onnx
from tasks.compression.integer_weights import Int8Weights
from tasks.compression.onnx_graph import to_bytes
from tasks.compression.runtime import OnnxModel
from tasks.core.config import Spec
from tasks.problems.models import build_model
from tasks.problems.ranking.dataset import HISTORY, make_contract
from tasks.problems.ranking.options import Options
from tests.unit.compression.test_weights import kernels

ITEMS, LENGTH = 500, 20
CONTRACT = make_contract(Options(history=LENGTH, top=30), [f"f{number}" for number in range(ITEMS)])
ROWS = {HISTORY: np.random.default_rng(0).integers(1, ITEMS + 1, (64, LENGTH))}


def files(width: int, step: Int8Weights, *, two_tables: bool = True) -> tuple[bytes, bytes]:
    import torch

    torch.manual_seed(0)
    model = build_model(Spec(kind="decayed-sum", width=width, two_tables=two_tables), CONTRACT).eval()
    plain = export_onnx(model, CONTRACT, ROWS)
    return plain, to_bytes(step.apply(onnx.load_model_from_string(plain), lambda _: ROWS))


@pytest.mark.parametrize("width", [8, 24, 32])
def test_products_are_computed_in_eight_bits_and_name_nearly_the_same(width: int, tmp_path: Path) -> None:
    plain, small = files(width, Int8Weights(products="int8"))
    assert len(small) < 0.45 * len(plain)
    assert "MatMulNBits" in kernels(small, tmp_path)
    was, now = OnnxModel(plain), OnnxModel(small)
    scores, rounded = was(ROWS), now(ROWS)
    assert 0 < np.abs(rounded - scores).mean() < 0.02 * np.abs(scores).mean()
    best, named = (model._session.run(["ids"], ROWS)[0][:, :10] for model in (was, now))
    shared = [len(set(one) & set(two)) for one, two in zip(best, named, strict=True)]
    assert np.mean(shared) > 9.5


def test_products_stay_in_float32_unless_it_is_asked_for(tmp_path: Path) -> None:
    _, small = files(16, Int8Weights())
    assert "MatMulNBits" not in kernels(small, tmp_path)
    assert small == files(16, Int8Weights(products="float32"))[1]


def test_a_matrix_that_is_looked_up_as_well_is_widened() -> None:
    graph = onnx.load_model_from_string(files(16, Int8Weights())[0]).graph
    table = next(node.input[0] for node in graph.node if node.op_type == "Gather")
    answers = {item.name for item in graph.initializer if tuple(item.dims) == (16, ITEMS)}
    step = Int8Weights(products="int8")
    assert answers <= step.multiplied_in_eight_bits(graph) and table not in step.multiplied_in_eight_bits(graph)
    assert all(item.data_type == TensorProto.FLOAT for item in graph.initializer if item.name in answers)
    graph.node.append(onnx.helper.make_node("Gather", [next(iter(answers)), HISTORY], ["other"]))
    assert not answers & step.multiplied_in_eight_bits(graph)
