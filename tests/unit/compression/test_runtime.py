"""A file is run in parts where there are many rows, and without any where there is one: it says the same."""

import numpy as np
import torch
from torch import nn

from tasks.compression.export import export_onnx
from tasks.compression.runtime import OnnxModel
from tasks.problems.base import FeatureContract

CONTRACT = FeatureContract("any", {"x": ("float32", (6,))}, (3,))


def test_a_row_alone_is_what_it_is_among_others() -> None:
    torch.manual_seed(0)
    rows = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    model = OnnxModel(export_onnx(nn.Linear(6, 3).eval(), CONTRACT, {"x": rows[:2]}), batch=2)
    together = model({"x": rows, "y": rows})
    alone = [model({"x": rows[place : place + 1], "y": rows}) for place in range(len(rows))]
    assert all(one.shape == (1, 3) and one.dtype == np.float32 for one in alone)
    np.testing.assert_allclose(np.concatenate(alone), together, rtol=1e-6)
    turned = np.asfortranarray(np.repeat(rows[:1], 2, axis=0))[:1]
    assert not np.repeat(rows, 2, axis=1)[:1, ::2].flags.c_contiguous
    np.testing.assert_array_equal(model({"x": np.repeat(rows, 2, axis=1)[:1, ::2]}), alone[0])
    np.testing.assert_array_equal(model({"x": turned}), alone[0])
    assert model({"x": rows[:0]}).shape == (0, 3)
