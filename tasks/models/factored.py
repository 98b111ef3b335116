"""A linear layer as two thinner ones."""

from collections import OrderedDict

import torch
from torch import nn


class Factored(nn.Sequential):
    """Two linear layers in place of one."""

    first: nn.Linear
    second: nn.Linear

    def __init__(self, first: nn.Linear, second: nn.Linear) -> None:
        super().__init__(OrderedDict(first=first, second=second))
        self.in_features, self.out_features = first.in_features, second.out_features


def factored(layer: nn.Linear, rank: int) -> Factored:
    """The closest pair of layers of this rank; the singular values are shared out evenly, which trains best."""
    left, values, right = torch.linalg.svd(layer.weight.detach().double(), full_matrices=False)
    roots = values[:rank].sqrt()
    first = nn.Linear(layer.in_features, rank, bias=False)
    second = nn.Linear(rank, layer.out_features, bias=layer.bias is not None)
    with torch.no_grad():
        first.weight.copy_(roots[:, None] * right[:rank])
        second.weight.copy_(left[:, :rank] * roots)
        if layer.bias is not None:
            second.bias.copy_(layer.bias)
    return Factored(first, second)
