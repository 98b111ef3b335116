"""This step prunes single weights: the smallest in magnitude become zero, over the whole network at once.

Source: Han et al., Learning both Weights and Connections (2015); schedule: Zhu and Gupta, To Prune, or Not to Prune
(2017). A dense ONNX file keeps its zeros, so bytes stay as they are: the number of nonzero weights is what shrinks.
Bytes shrink when step `bitmask` follows, which says why ONNX's own sparse tensors are not used.
"""

from functools import partial

import torch
from pydantic import Field
from torch import nn

from tasks.compression.step import NETWORK, AfterStep, Calibration, FineTune, TorchStep

Masks = dict[str, torch.Tensor]


class Magnitude(TorchStep):
    """`sparsity` is the share of linear and convolutional layers' weights that ends as zero, exactly (rounded)."""

    kind = "magnitude"
    phase = "sparsity"
    needs = frozenset({"float weights", "dense"})
    leaves = NETWORK - {"dense"}
    sparsity: float = Field(gt=0, lt=1)

    def apply(self, model: nn.Module, tune: FineTune, calibration: Calibration) -> AfterStep:
        """Prune a little more before each epoch of fine-tuning; pruned weights stay zero after every step."""
        for epoch in range(max(1, self.epochs)):
            masks = smallest(model, scheduled(self.sparsity, epoch + 1, max(1, self.epochs)))
            mask(model, masks)
            if self.epochs:
                tune(model, 1, self.learning_rate_factor, partial(mask, masks=masks))
                mask(model, masks)
        return partial(mask, masks=masks)


def scheduled(sparsity: float, step: int, steps: int) -> float:
    """Return the sparsity of the cubic schedule of Zhu and Gupta: s (1 - (1 - t/n)^3), early steps prune most."""
    return sparsity * (1 - (1 - step / steps) ** 3)


def prunable_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return weights of linear and convolutional layers by name; biases, embeddings and norms are few and matter."""
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
    }


def smallest(model: nn.Module, sparsity: float) -> Masks:
    """Return masks (1 keep, 0 prune) that prune round(sparsity x count) weights; ties go to the earlier weight."""
    weights = prunable_weights(model)
    magnitudes = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    flat = torch.ones_like(magnitudes)
    flat[torch.argsort(magnitudes, stable=True)[: round(sparsity * len(magnitudes))]] = 0
    parts = torch.split(flat, [weight.numel() for weight in weights.values()])
    return {name: part.view_as(weight) for (name, weight), part in zip(weights.items(), parts, strict=True)}


def mask(model: nn.Module, masks: Masks) -> None:
    """Set the weights that the masks prune to zero, in place."""
    weights = prunable_weights(model)
    with torch.no_grad():
        for name, keep in masks.items():
            weights[name].mul_(keep)
