"""Convolutions trained with their rounding: an integer file of a quarter of the bytes, which says what torch says."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from tasks.compression.convolutions import SEEN_VALUES, convolutions, fold_norms, some_inputs
from tasks.compression.export import export_onnx
from tasks.compression.low_rank import LowRank
from tasks.compression.qat import Int8Qat
from tasks.compression.qat_convolutions import Int8Convolution, TrainedConvolution
from tasks.compression.runtime import run_onnx
from tasks.core.errors import ConfigError
from tasks.distillation.options import Student
from tasks.distillation.student import fine_tuning, fine_tuning_objective
from tests.unit.problems.vision import shapes
from tests.unit.problems.vision.test_low_rank_of_convolutions import IMAGES, ROWS, answers, network, untuned

TRAINING = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-7, "muon": 0.1}


@pytest.mark.parametrize(
    ("kind", "options"),
    [("resnet", {"blocks": [1, 1], "width": 8}), ("fast", {"widths": [8, 16]}), ("separable", {"widths": [8, 16]})],
)
def test_batch_normalisation_becomes_part_of_convolutions_and_the_answers_stay(kind: str, options: Any) -> None:
    model = network(kind=kind, **options)
    before = answers(model)
    fold_norms(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    torch.testing.assert_close(answers(model), before, rtol=1e-4, atol=1e-4)
    model.train()
    torch.testing.assert_close(
        model(torch.from_numpy(IMAGES["image"])).detach(), before, rtol=1e-4, atol=1e-4, msg="in training too"
    )


def test_of_convolutions_of_low_rank_the_norm_becomes_part_of_the_second() -> None:
    model = network(rank=2)
    LowRank(energy=0.99, epochs=0, convolutions=True).apply(model, untuned, lambda _: IMAGES)
    before = answers(model)
    fold_norms(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    torch.testing.assert_close(answers(model), before, rtol=1e-4, atol=1e-4)


def test_ranges_are_of_all_places_and_of_few_values() -> None:
    """Each column has a number of its own; a step of the width's multiples would see one alone."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1))
    layer = model[0]
    assert isinstance(layer, nn.Conv2d)
    columns = np.arange(32, dtype=np.float32)
    rows = {"image": np.tile(columns, (4096, 1, 32, 1))}
    seen = some_inputs({"0": layer}, model, rows)["0"]
    found = torch.bincount(seen.long(), minlength=32)
    assert len(seen) <= SEEN_VALUES and seen.untyped_storage().nbytes() <= 4 * SEEN_VALUES
    assert float(found.min()) > 0.9 * len(seen) / 32, found


def test_the_file_is_integer_smaller_and_says_what_torch_says() -> None:
    model = network(blocks=[1, 1], width=16)
    before, whole = answers(model), export_onnx(model, ROWS.contract, IMAGES)
    Int8Qat(epochs=1, convolutions=True).apply(model, untuned, lambda _: IMAGES)
    data = export_onnx(model, ROWS.contract, IMAGES)
    assert len(data) < 0.45 * len(whole)
    stored = {tensor.name: tensor for tensor in onnx.load_model_from_string(data).graph.initializer}
    wide = [each.name for each in stored.values() if each.data_type == TensorProto.FLOAT and len(each.dims) == 4]
    assert not wide, "no convolution is left in float32"
    layers = [module for module in model.modules() if isinstance(module, Int8Convolution)]
    levels = [numpy_helper.to_array(each) for each in stored.values() if len(each.dims) == 4]
    assert len(layers) == 6 == len(levels) and {array.dtype for array in levels} == {np.dtype(np.uint8)}
    expected = answers(model).numpy()
    gap = np.abs(run_onnx(data, IMAGES) - expected).mean() / np.abs(expected).mean()
    assert gap < 5e-3, "a number at the edge of two levels may fall to the other"
    assert float((answers(model) - before).abs().mean() / before.abs().mean()) < 0.1


def test_training_with_the_rounding_brings_answers_back() -> None:
    """Weights that were moved by chance answer otherwise; steps through the rounding win most of it back."""
    teacher = answers(network(blocks=[1], width=8))

    def gap(steps: int) -> float:
        model = network(blocks=[1], width=8)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                with torch.no_grad():
                    module.weight += 0.3 * module.weight.std() * torch.randn_like(module.weight)

        def tune(model: nn.Module, *_: Any, **__: Any) -> int:
            weights = [each for each in model.parameters() if each.requires_grad]
            assert sum(isinstance(module, TrainedConvolution) for module in model.modules()) == 3
            optimizer = torch.optim.Adam(weights, 0.01)
            for _step in range(steps):
                optimizer.zero_grad()
                torch.autograd.backward((model(torch.from_numpy(IMAGES["image"])) - teacher).square().mean())
                optimizer.step()
            return 1

        Int8Qat(epochs=1, convolutions=True).apply(model, tune, lambda _: IMAGES)
        return float((answers(model) - teacher).square().mean())

    assert gap(12) < 0.3 * gap(0)


@pytest.mark.parametrize("folded", [False, True])
def test_muon_trains_filters_further_if_a_normalisation_is_behind_them(folded: bool) -> None:
    """It gives each filter a norm of its own, which would be another network where the norm was folded."""
    model = network(kind="fast", widths=[8, 16])
    if folded:
        fold_norms(model)
    before = {name: layer.weight.detach().clone() for name, layer in convolutions(model).items()}
    student = Student.model_validate({"model": {"kind": "fast"}, "training": TRAINING, "alpha": 1.0})
    tune = fine_tuning(
        ROWS,
        shapes.problem(),
        student.training,
        lambda: fine_tuning_objective(ROWS, shapes.problem(), student, None),
        0,
    )
    tune(model, 1, 0.1, after_step=lambda _: None)
    same = [torch.allclose(layer.weight, before[name], atol=1e-4) for name, layer in convolutions(model).items()]
    assert same == [folded] * len(before)


def test_convolutions_stay_float_unless_asked_for_and_a_model_without_any_is_refused() -> None:
    model = network()
    Int8Qat(epochs=1).apply(model, untuned, lambda _: IMAGES)
    assert not any(isinstance(module, Int8Convolution) for module in model.modules())
    said = "step int8-qat: model Sequential has no convolution over all channels; leave out convolutions"
    with pytest.raises(ConfigError, match=said):
        Int8Qat(convolutions=True).apply(nn.Sequential(nn.Linear(2, 2)), untuned, lambda _: {})
