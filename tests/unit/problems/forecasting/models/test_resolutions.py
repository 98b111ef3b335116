"""A look back in parts: averages of the right steps, in order, and parts that do not fit are refused."""

import pytest
import torch
from torch import nn

from tasks.compression.export import export_onnx
from tasks.compression.runtime import run_onnx
from tasks.core.errors import ConfigError
from tasks.problems.base import Batches
from tasks.problems.blocks.inputs import inputs_of
from tasks.problems.blocks.outputs import outputs
from tasks.problems.forecasting.models.direct import Direct
from tasks.problems.forecasting.models.resolutions import LookBack
from tests.unit.problems.forecasting.models.windows import CONTRACT, model_of, windows_of

PARTS = ((4, 1), (4, 2), (6, 3))


def test_the_newest_steps_come_last_and_as_they_are() -> None:
    look_back = LookBack(14, PARTS)
    units = torch.arange(1.0, 15).repeat(2, 1)
    assert look_back.width == 8
    assert look_back(units).tolist() == [[2, 5, 7.5, 9.5, 11, 12, 13, 14]] * 2


def test_without_parts_every_step_is_seen() -> None:
    units = torch.randn(3, 14)
    look_back = LookBack(14, ())
    assert look_back.width == 14 and torch.equal(look_back(units), units)
    assert torch.equal(look_back.gathered(units), units)


def test_gathered_weights_answer_alike_where_steps_are_alike() -> None:
    look_back, weight = LookBack(14, PARTS), torch.randn(5, 14)
    units = torch.tensor([[1.0] * 3 + [2.0] * 3 + [3.0] * 2 + [4.0] * 2 + [5.0, 6, 7, 8]])
    assert torch.allclose(look_back(units) @ look_back.gathered(weight).T, units @ weight.T, atol=1e-5)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (((7, 1),), r"model.resolutions: the parts have 7 steps, the context has 14"),
        (((4, 1), (10, 3)), r"model.resolutions: 10 steps cannot be averaged 3 by 3; take a divisor"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: tuple[tuple[int, int], ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LookBack(14, parts)


@pytest.mark.parametrize("kind", ["linear", "linear-mlp"])
def test_a_student_looks_back_in_parts_in_torch_and_as_a_file(kind: str) -> None:
    windows, whole, coarse = windows_of(64), model_of(kind), model_of(kind, resolutions=PARTS)
    assert isinstance(whole, Direct) and isinstance(coarse, Direct)
    assert isinstance(whole.skip, nn.Linear) and isinstance(coarse.skip, nn.Linear)
    assert coarse.skip.in_features == 8 < whole.skip.in_features == 14
    with torch.no_grad():  # both start as the same average of what was
        assert torch.allclose(coarse.skip.weight.sum(1), whole.skip.weight.sum(1), atol=1e-5)
    rows = {name: values.numpy() for name, values in windows.items()}
    rows = {name: rows[name] for name in inputs_of(coarse, rows)}
    file = export_onnx(coarse, CONTRACT, {name: values[:4] for name, values in rows.items()})
    assert run_onnx(file, rows) == pytest.approx(outputs(coarse, Batches.of(rows)), abs=1e-4)
