"""A table of tokens' vectors is most of a bag: what narrow numbers make of it."""

import numpy as np
import onnx
import torch

from tasks.compression.export import export_onnx
from tasks.compression.integer_weights import Int4Weights, Int8Weights, IntegerWeights
from tasks.compression.onnx_graph import to_bytes
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.problems.models import build_model
from tests.unit.problems.text.letters import dataset


def test_a_table_takes_four_bits_where_it_may() -> None:
    made = dataset()
    torch.manual_seed(0)
    model = build_model(Spec(kind="bag", width=16, rows=2039), made.contract).eval()
    inputs = made.inputs(made.splits["test"], ("grams",))
    plain = export_onnx(model, made.contract, {name: values[:2] for name, values in inputs.items()})
    expected = run_onnx(plain, inputs)
    sizes, gaps = [], []
    steps: tuple[IntegerWeights, ...] = (Int8Weights(), Int4Weights(), Int4Weights(tables=True))
    for step in steps:
        data = to_bytes(
            step.apply(onnx.load_model_from_string(plain), lambda count: {"grams": inputs["grams"][:count]})
        )
        sizes.append(len(data))
        gaps.append(float(np.abs(run_onnx(data, inputs) - expected).mean() / np.abs(expected).mean()))
    numbers = 2039 * 16
    assert len(plain) > 4 * numbers > 3.5 * sizes[0]
    assert sizes[2] < 0.6 * sizes[0] and sizes[1] > 0.95 * sizes[0]
    assert gaps[0] < 0.02 and gaps[2] < 0.3
