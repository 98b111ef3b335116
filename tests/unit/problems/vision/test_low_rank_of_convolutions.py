"""Convolutions of low rank become two thinner ones, which say the same and store less."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tasks.compression.export import export_onnx
from tasks.compression.fp16 import Fp16
from tasks.compression.low_rank import LowRank
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.problems.models import build_model
from tasks.problems.vision.models.base import Normed
from tests.unit.problems.vision import shapes

ROWS = shapes.dataset(shapes.labels(60))
IMAGES = ROWS.inputs(np.arange(48))


def untuned(*_: Any, **__: Any) -> int:
    return 0


def network(rank: int | None = None, kind: str = "resnet", **options: Any) -> nn.Module:
    """A network with norms that say something, and convolutions of this rank."""
    torch.manual_seed(0)
    model = build_model(Spec(kind=kind, **(options or {"blocks": [1, 1], "width": 8})), ROWS.contract)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, nn.Conv2d) and rank is not None:
            with torch.no_grad():
                mixed = torch.randn(module.out_channels, rank) @ torch.randn(rank, module.weight[0].numel())
                module.weight.copy_(0.3 * mixed.view_as(module.weight))
    model(*(torch.from_numpy(values) for values in IMAGES.values()))  # statistics of a batch
    return model.eval()


def answers(model: nn.Module) -> torch.Tensor:
    found: torch.Tensor = model.eval()(torch.from_numpy(IMAGES["image"])).detach()
    return found


def test_convolutions_of_rank_two_are_recovered_and_the_file_says_the_same_and_is_smaller() -> None:
    model = network(rank=2)
    before, whole = answers(model), export_onnx(model, ROWS.contract, IMAGES)
    LowRank(energy=1 - 1e-9, epochs=0, convolutions=True).apply(model, untuned, lambda _: IMAGES)
    pairs = [
        part.layer for part in model.modules() if isinstance(part, Normed) and isinstance(part.layer, nn.Sequential)
    ]
    assert len(pairs) >= 4
    assert all(layer.out_channels <= 2 for pair in pairs if isinstance(layer := pair[0], nn.Conv2d))
    torch.testing.assert_close(answers(model), before, rtol=1e-3, atol=1e-3)
    data = export_onnx(model, ROWS.contract, IMAGES)
    assert len(data) < 0.7 * len(whole) and b"BatchNormalization" not in data
    np.testing.assert_allclose(run_onnx(data, IMAGES), answers(model), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("budget", [0.3, 0.6])
def test_a_budget_holds_for_each_convolution(budget: float) -> None:
    model = network()
    sizes = {name: layer.weight.numel() for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    LowRank(budget=budget, epochs=0, convolutions=True).apply(model, untuned, lambda _: IMAGES)
    shrunk = {name: layer for name in sizes if isinstance(layer := model.get_submodule(name), nn.Sequential)}
    assert len(shrunk) >= 4
    for name, pair in shrunk.items():
        first, second = (layer.weight for layer in pair if isinstance(layer, nn.Conv2d))
        smallest = first[0].numel() + len(second)
        assert first.numel() + second.numel() <= max(budget * sizes[name], smallest)


def test_what_is_cut_matters_least_to_the_outputs_of_the_rows() -> None:
    """By energy the difference of a layer's outputs is what was said, and other directions would cost more."""
    model = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.Flatten(), nn.Linear(6 * 64, 3))
    rows = {"image": np.random.default_rng(0).normal(size=(64, 1, 8, 8)).astype(np.float32)}
    layer = model[0]
    assert isinstance(layer, nn.Conv2d)
    given = torch.from_numpy(rows["image"])
    before = layer(given).detach()
    LowRank(energy=0.8, epochs=0, convolutions=True).apply(model, untuned, lambda _: rows)
    assert isinstance(model[0], nn.Sequential)
    gap = (model[0](given) - before).detach()
    spread = before - before.mean(dim=(0, 2, 3), keepdim=True)
    assert 0 < float(gap.square().sum() / spread.square().sum()) <= 0.2 + 1e-5
    torch.testing.assert_close(gap.mean(dim=(0, 2, 3)), torch.zeros(6), rtol=0, atol=1e-5)


def test_convolutions_stay_whole_unless_asked_for_and_a_model_without_any_is_refused() -> None:
    model = network(rank=2)
    LowRank(energy=0.9, epochs=0).apply(model, untuned, lambda _: IMAGES)
    assert not any(isinstance(part.layer, nn.Sequential) for part in model.modules() if isinstance(part, Normed))
    said = "step low-rank: model Sequential has no convolution over all channels; leave out convolutions"
    with pytest.raises(ConfigError, match=said):
        LowRank(energy=0.9, convolutions=True).apply(nn.Sequential(nn.Linear(2, 2)), untuned, lambda _: {})


def test_half_precision_halves_the_bytes_of_convolutions() -> None:
    import onnx

    model = network(blocks=[1, 1], width=32)
    data = export_onnx(model, ROWS.contract, IMAGES)
    half = Fp16().apply(onnx.load_model_from_string(data), lambda _: IMAGES).SerializeToString()
    assert len(half) < 0.55 * len(data)
    np.testing.assert_allclose(run_onnx(half, IMAGES), answers(model), rtol=0.01, atol=0.01)
