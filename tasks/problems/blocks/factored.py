"""Two thinner layers can stand for one, linear or a convolution."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn


class Factored(nn.Sequential):
    """Factored applies two linear layers in place of one."""

    first: nn.Linear
    second: nn.Linear

    def __init__(self, first: nn.Linear, second: nn.Linear) -> None:
        super().__init__(OrderedDict(first=first, second=second))
        self.in_features, self.out_features = first.in_features, second.out_features


def factored(layer: nn.Linear, rank: int, directions: Tensor | None = None, usual: Tensor | None = None) -> Factored:
    """Return the closest pair of layers of this rank: it gives the layer's own output on the first `directions`.

    `directions`: see `principal_directions`, by default those of inputs that are all alike. `usual` (in,): a mean
    input, whose output the pair gives in all directions, by its bias. Each direction's strength is shared out evenly
    between the layers, which trains best.
    """
    weight = layer.weight.detach().double()
    kept = (principal_directions(weight)[0] if directions is None else directions)[:, :rank]
    along = kept.T @ weight
    roots = along.norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny).sqrt()
    first = nn.Linear(layer.in_features, rank, bias=False)
    bias = torch.zeros(layer.out_features, dtype=torch.float64)
    if layer.bias is not None:
        bias += layer.bias.detach()
    if usual is not None:
        bias += weight @ usual - kept @ (along @ usual)
    second = nn.Linear(rank, layer.out_features, bias=usual is not None or layer.bias is not None)
    with torch.no_grad():
        first.weight.copy_(along / roots[:, None])
        second.weight.copy_(kept * roots)
        if second.bias is not None:
            second.bias.copy_(bias)
    return Factored(first, second)


def factored_convolution(layer: nn.Conv2d, rank: int, directions: Tensor, usual: Tensor) -> nn.Sequential:
    """Return a convolution to `rank` channels and one of 1 x 1 behind it: the layer's own output on its `directions`.

    `directions` (out, k): orthonormal, strongest first; `usual` (out,): mean output less the bias, which the pair gives
    in all directions. Both float64. Source: Zhang et al., Accelerating Very Deep Convolutional Networks for
    Classification and Detection (2016, arXiv:1505.06798), their linear case.
    """
    kept = directions[:, :rank]
    along = kept.T @ layer.weight.detach().double().flatten(1)
    roots = along.norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny).sqrt()
    moves: dict[str, Any] = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    first = nn.Conv2d(layer.in_channels, rank, **moves, bias=False)
    second = nn.Conv2d(rank, layer.out_channels, 1)
    bias = usual - kept @ (kept.T @ usual)
    with torch.no_grad():
        first.weight.copy_((along / roots[:, None]).view_as(first.weight))
        second.weight.copy_((kept * roots)[:, :, None, None])
        assert second.bias is not None
        second.bias.copy_(bias if layer.bias is None else bias + layer.bias.detach())
    return nn.Sequential(OrderedDict(first=first, second=second))


def principal_directions(weight: Tensor, inputs: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return (out, k) orthonormal directions of the outputs inputs @ weight.T, strongest first, and (k,) mean squares.

    `weight` (out, in) float64, `inputs` (n, in). No rank keeps more of the outputs' mean square than its first
    directions (Izenman 1975, reduced-rank regression). Without inputs each counts by itself and alike, which leaves
    the singular vectors of the weights (Eckart and Young 1936).
    """
    if inputs is not None:
        rows = inputs.double()
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        weight = weight @ (vectors * values.clamp(min=0).sqrt())
    left, strengths, _ = torch.linalg.svd(weight, full_matrices=False)
    return left, strengths.square()
