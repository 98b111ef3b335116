"""Channels within the blocks of a residual network leave, with their batch normalisation."""

import pytest
import torch
from torch import nn

from tasks.compression.channels import Channels
from tasks.compression.traits import traits_of
from tasks.core.config import Spec
from tasks.problems.models import build_model
from tasks.problems.vision.models.resnet import ResNet
from tests.unit.problems.vision import shapes


@pytest.mark.parametrize("bottleneck", [False, True])
def test_channels_that_say_nothing_leave_first_and_change_nothing(bottleneck: bool) -> None:
    contract = shapes.problem().draft_contract()
    torch.manual_seed(0)
    model = build_model(Spec(kind="resnet", blocks=[1, 1], width=8, bottleneck=bottleneck), contract)
    assert isinstance(model, ResNet) and "channels" in traits_of(model)
    images = torch.randint(0, 256, (16, 8, 8, 1), dtype=torch.uint8)
    model(images)  # statistics of the batch, and last normalisations that say something
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    for producers, _ in model.channels():
        for norm in (layer for layer in producers if isinstance(layer, nn.BatchNorm2d)):
            with torch.no_grad():
                norm.weight[1::2], norm.bias[1::2] = 0, 0
    before = model.eval()(images)
    count = sum(each.numel() for each in model.parameters())
    Channels(keep=0.5, epochs=0).apply(model, lambda *_, **__: 0, lambda _: {})
    assert sum(each.numel() for each in model.parameters()) < 0.7 * count
    torch.testing.assert_close(model.eval()(images), before, rtol=1e-5, atol=1e-5)
