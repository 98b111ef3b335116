"""Steps find a model's convolutions here, fold the norms behind them, and measure what goes in and comes out."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tasks.problems.base import Batches, Inputs
from tasks.problems.blocks.outputs import outputs

SEEN_VALUES = 2**20
"""About so many values of a layer's inputs are kept at most."""
WATCHED_ROWS = 256
"""So many rows go through a model at once: their maps are far larger than their images."""


@runtime_checkable
class Normalised(Protocol):
    """A Normalised part of a model passes what its `layer` puts out to its `norm`, and nobody else reads it.

    `layer`: a convolution, or the pair of them that `low-rank` makes of one. In training there may be a maximum before
    the norm, with which a norm of positive factors can change places.
    """

    layer: nn.Module
    norm: nn.Module


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """Return by name the plain convolutions in two dimensions whose outputs read all channels: none of groups."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if name and type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros"
    }


def fold_norms(model: nn.Module) -> None:
    """Make batch normalisations part of the convolutions before them, in place: the answers in evaluation stay."""
    model.eval()
    for part in list(model.modules()):
        if not isinstance(part, Normalised) or not isinstance(part.norm, nn.BatchNorm2d):
            continue
        pair = part.layer if isinstance(part.layer, nn.Sequential) else None
        last = part.layer if pair is None else pair[-1]
        if type(last) is not nn.Conv2d:
            continue
        folded = fuse_conv_bn_eval(last, part.norm).requires_grad_(True)
        if pair is None:
            part.layer = folded
        else:
            pair[-1] = folded
        part.norm = nn.Identity()


def output_moments(layers: dict[str, nn.Conv2d], model: nn.Module, rows: Inputs) -> dict[str, tuple[Tensor, Tensor]]:
    """Return (out,) mean and (out, out) covariance of each layer's outputs less its bias, over rows and places.

    Float64; zeros if the layer is never called.
    """
    found = {
        name: [torch.zeros(1).double(), torch.zeros(out := layer.out_channels).double(), torch.zeros(out, out).double()]
        for name, layer in layers.items()
    }

    def keep(name: str) -> Callable[..., None]:
        def hook(layer: nn.Conv2d, _: Any, maps: Tensor) -> None:
            values = maps.detach().transpose(0, 1).flatten(1).double()
            if layer.bias is not None:
                values = values - layer.bias.detach().double()[:, None]
            count, total, squares = found[name]
            count += values.shape[1]
            total += values.sum(1).cpu()
            squares += (values @ values.T).cpu()

        return hook

    _watch(layers, model, rows, keep)
    result = {}
    for name, (count, total, squares) in found.items():
        mean = total / count.clamp(min=1)
        result[name] = (mean, squares / count.clamp(min=1) - torch.outer(mean, mean))
    return result


def some_inputs(layers: dict[str, nn.Conv2d], model: nn.Module, rows: Inputs) -> dict[str, Tensor]:
    """Return (n,) values of each layer's inputs on these rows, evenly chosen; a zero if the layer is never called.

    The step from one chosen value to the next divides no row's values, or it would see a few columns of maps alone.
    """
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}
    count = len(next(iter(rows.values()), ()))

    def keep(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, given: tuple[Tensor, ...], __: Tensor) -> None:
            values = given[0].detach()
            step = -(-count * values[0].numel() // SEEN_VALUES)
            while math.gcd(step, values[0].numel()) > 1:
                step += 1
            seen[name].append(values.flatten()[::step].clone())  # a view would hold all of them

        return hook

    _watch(layers, model, rows, keep)
    return {name: torch.cat(parts) if parts else torch.zeros(1) for name, parts in seen.items()}


def _watch(layers: dict[str, nn.Conv2d], model: nn.Module, rows: Inputs, keep: Callable[[str], Any]) -> None:
    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.register_forward_hook(keep(name)).remove)
        outputs(model, Batches.of(rows, most=WATCHED_ROWS))
