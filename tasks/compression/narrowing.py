"""This module removes outputs of a network: neurons of linear layers, channels of convolutions.

Output i of every layer in `producers` is input i of every layer in `consumers`; a layer may be both, as in a residual
stream. Inputs of a consumer beyond the producers' outputs belong to others and stay.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Layer = nn.Linear | nn.Conv1d
Layers = Sequence[Layer]


def importance(producers: Layers, consumers: Layers) -> Tensor:
    """Return (outputs,) the norm of the incoming weights times the norm of the outgoing weights.

    An output's largest contribution is bounded by it (its bias counts as an input), so one whose outgoing side is zero
    is the first to go. Sources: Li et al., Pruning Filters for Efficient ConvNets (2017), extended by the outgoing
    norm; for outputs that several layers share: Fang et al., DepGraph: Towards Any Structural Pruning (2023).
    """
    incoming = [layer.weight.detach().flatten(1).square().sum(1) for layer in producers]
    incoming += [layer.bias.detach().square() for layer in producers if layer.bias is not None]
    outputs = len(incoming[0])
    outgoing = [layer.weight.detach()[:, :outputs].transpose(0, 1).flatten(1).square().sum(1) for layer in consumers]
    return torch.stack(incoming).sum(0).sqrt() * torch.stack(outgoing).sum(0).sqrt()


def keep_most_important(producers: Layers, consumers: Layers, share: float) -> None:
    """Remove, in place, all but `share` of the outputs (rounded, at least one); of equals the earlier stay."""
    scores = importance(producers, consumers)
    count = max(1, round(share * len(scores)))
    keep_outputs(producers, consumers, torch.argsort(scores, descending=True, stable=True)[:count].sort().values)


def keep_outputs(producers: Layers, consumers: Layers, kept: Tensor) -> None:
    """Keep, in place, only the outputs at the places `kept`, which rise."""
    outputs = producers[0].weight.shape[0]
    others = {layer: torch.arange(outputs, layer.weight.shape[1]) for layer in consumers}
    for layer in producers:
        layer.weight = nn.Parameter(layer.weight.detach()[kept].clone())
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.detach()[kept].clone())
        _state_width(layer)
    for layer in consumers:
        layer.weight = nn.Parameter(layer.weight.detach()[:, torch.cat([kept, others[layer]])].clone())
        _state_width(layer)


def _state_width(layer: Layer) -> None:
    outputs, inputs = layer.weight.shape[:2]
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = outputs, inputs
    else:
        layer.out_channels, layer.in_channels = outputs, inputs
