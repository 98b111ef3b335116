"""airbench's parts: whitened patches, the mirror image in the file, smoothed labels."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tasks.compression.export import export_onnx
from tasks.compression.low_rank import LowRank
from tasks.compression.qat import Int8Qat
from tasks.compression.qat_convolutions import Int8Convolution
from tasks.compression.runtime import OnnxModel
from tasks.core.config import Spec
from tasks.problems.models import build_model
from tasks.problems.vision.models.fast import Fast, Step, Whitened
from tasks.problems.vision.problem import Vision
from tests.unit.problems.vision import shapes

ROWS = shapes.dataset(shapes.labels())


def whitening(model: Fast) -> Whitened:
    assert isinstance(model.stem, Whitened)
    return model.stem


def built(**options: object) -> Fast:
    torch.manual_seed(2)
    model = build_model(Spec.model_validate({"kind": "fast", "widths": [6, 8], **options}), ROWS.contract)
    assert isinstance(model, Fast)
    return model


def test_whitened_patches_are_uncorrelated_and_of_variance_one() -> None:
    model = built(whiten=True)
    assert not whitening(model).layer.weight.any()
    model.begin(ROWS, ROWS.splits["train"])
    images = model.standardise(torch.from_numpy(ROWS.inputs(ROWS.splits["train"])["image"]))
    maps = model.stem(images).detach().transpose(0, 1).flatten(1)
    first, opposite = maps[:4], maps[4:]
    assert torch.allclose(first @ first.T / first.shape[1], torch.eye(4), atol=0.02)
    assert torch.allclose(first, -opposite, atol=1e-5)


def test_whitening_is_not_trained_and_not_computed_twice() -> None:
    model = built(whiten=True)
    model.begin(ROWS, ROWS.splits["train"])
    before = whitening(model).layer.weight.clone()
    model.begin(ROWS, ROWS.splits["valid"])
    assert torch.equal(before, whitening(model).layer.weight)
    assert [each.requires_grad for each in whitening(model).layer.parameters()] == [False, True]


def test_whitening_is_left_whole_by_low_rank_and_quantized_by_int8_qat() -> None:
    model = built(whiten=True)
    model.begin(ROWS, ROWS.splits["train"])
    before, images = whitening(model).layer.weight.clone(), ROWS.inputs(np.arange(24))

    def tune(model: nn.Module, *_: Any, **__: Any) -> int:
        assert isinstance(model, Fast)
        model.begin(ROWS, ROWS.splits["train"])  # as each training does
        return 1

    LowRank(budget=0.4, convolutions=True).apply(model, tune, lambda _: images)
    assert torch.equal(before, whitening(model).layer.weight)
    assert any(isinstance(module.layer, nn.Sequential) for module in model.modules() if isinstance(module, Step))
    Int8Qat(epochs=1, convolutions=True).apply(model, tune, lambda _: images)
    assert isinstance(whitening(model).layer, Int8Convolution)
    torch.testing.assert_close(whitening(model).layer.weight, before, rtol=0, atol=float(before.abs().max()) / 200)


def test_the_file_answers_the_mean_over_the_mirror_image() -> None:
    model, plain = built(mirror=True).eval(), built().eval()
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), plain.parameters(), strict=True))
    images = ROWS.inputs(np.arange(6))
    turned = {"image": np.ascontiguousarray(images["image"][:, :, ::-1])}
    one, two = (plain(torch.from_numpy(each["image"])).detach().numpy() for each in (images, turned))
    assert np.abs(one - two).max() > 1e-4, "the mirror image must matter"
    found = OnnxModel(export_onnx(model, ROWS.contract, images))(images)
    np.testing.assert_allclose(found, (one + two) / 2, atol=1e-5)
    model.train(), plain.train()
    image = torch.from_numpy(images["image"])
    assert torch.equal(model(image), plain(image)), "in training there is one image"


def test_smoothed_labels_are_spread_over_all_classes() -> None:
    options = {key: value for key, value in shapes.OPTIONS.items() if key != "kind"}
    output, target = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    chances = functional.log_softmax(output, dim=1)[0]
    expected = -(0.7 * chances[0] + 0.1 * chances.sum())
    found = Vision({**options, "smoothing": 0.3}).hard_loss(ROWS.contract)(output, target)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert "smoothing" not in Vision(options).options.model_dump()
