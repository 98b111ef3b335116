"""This module removes outputs of a network: neurons of linear layers, channels of convolutions.

Output i of every layer in `producers` is input i of every layer in `consumers`; a layer may be both, as in a residual
stream. Inputs of a consumer beyond the producers' outputs belong to others and stay. Among the producers may be a batch
normalisation of the outputs, which loses the same ones.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Layer = nn.Linear | nn.Conv1d | nn.Conv2d
Layers = Sequence[Layer]
Norm = nn.BatchNorm2d
Producers = Sequence[Layer | Norm]


def importance(producers: Producers, consumers: Layers) -> Tensor:
    """Return (outputs,) the norm of the incoming weights times the norm of the outgoing weights.

    An output's largest contribution is bounded by it (its bias counts as an input), so one whose outgoing side is zero
    is the first to go. Sources: Li et al., Pruning Filters for Efficient ConvNets (2017), extended by the outgoing
    norm; for outputs that several layers share: Fang et al., DepGraph: Towards Any Structural Pruning (2023).
    """
    layers = [layer for layer in producers if not isinstance(layer, Norm)]
    incoming = [layer.weight.detach().flatten(1).square().sum(1) for layer in layers]
    incoming += [layer.bias.detach().square() for layer in layers if layer.bias is not None]
    for norm in (layer for layer in producers if isinstance(layer, Norm)):  # as if it were part of the layer before it
        assert norm.running_var is not None
        factor = norm.weight.detach().square() / (norm.running_var + norm.eps)
        incoming = [factor * torch.stack(incoming).sum(0), norm.bias.detach().square()]
    outputs = len(incoming[0])
    outgoing = [layer.weight.detach()[:, :outputs].transpose(0, 1).flatten(1).square().sum(1) for layer in consumers]
    return torch.stack(incoming).sum(0).sqrt() * torch.stack(outgoing).sum(0).sqrt()


def keep_most_important(producers: Producers, consumers: Layers, share: float) -> None:
    """Remove, in place, all but `share` of the outputs (rounded, at least one); of equals the earlier stay."""
    scores = importance(producers, consumers)
    count = max(1, round(share * len(scores)))
    keep_outputs(producers, consumers, torch.argsort(scores, descending=True, stable=True)[:count].sort().values)


def keep_outputs(producers: Producers, consumers: Layers, kept: Tensor) -> None:
    """Keep, in place, only the outputs at the places `kept`, which rise."""
    outputs = producers[0].weight.shape[0]
    others = {layer: torch.arange(outputs, layer.weight.shape[1]) for layer in consumers}
    for layer in producers:
        if isinstance(layer, Norm):
            _keep_normed(layer, kept)
            continue
        layer.weight = nn.Parameter(layer.weight.detach()[kept].clone())
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.detach()[kept].clone())
        _state_width(layer)
    for layer in consumers:
        layer.weight = nn.Parameter(layer.weight.detach()[:, torch.cat([kept, others[layer]])].clone())
        _state_width(layer)


def _keep_normed(norm: Norm, kept: Tensor) -> None:
    for name in ("weight", "bias"):
        own = getattr(norm, name)
        setattr(norm, name, nn.Parameter(own.detach()[kept].clone(), requires_grad=own.requires_grad))
    for name in ("running_mean", "running_var"):
        setattr(norm, name, getattr(norm, name)[kept].clone())
    norm.num_features = len(kept)


def _state_width(layer: Layer) -> None:
    outputs, inputs = layer.weight.shape[:2]
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = outputs, inputs
    else:
        layer.out_channels, layer.in_channels = outputs, inputs
