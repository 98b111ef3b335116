"""This module removes inputs of a linear layer so that its outputs change least: the inputs that stay take over.

Inputs leave one after the other, each time the one whose loss the others can best make up for (Optimal Brain Surgeon:
Hassibi and Stork, Second Order Derivatives for Network Pruning, 1993; for whole columns: Kurtic et al., ZipLM:
Inference-Aware Structured Pruning of Language Models, 2023).
"""

import torch
from torch import Tensor

DAMPING = 1e-8
"""This share of an input's mean square is added: so inputs that always move together have an inverse."""


def remove_inputs(weight: Tensor, inputs: Tensor, removable: int, count: int) -> tuple[Tensor, Tensor]:
    """Return (kept,) places of the inputs that stay, in order, and (out, kept) weights that make up for the others.

    `weight` (out, in), `inputs` (n, in): rows that the layer is given. Of the first `removable` inputs `count` stay,
    the others all do. The mean square of the outputs' changes on the rows is what is kept small.
    """
    rows, left = inputs.double(), weight.double().clone()
    squares = rows.T @ rows / len(rows)
    damping = (DAMPING * squares.diagonal().mean()).clamp(min=torch.finfo(torch.float64).tiny)
    inverse = torch.linalg.inv(squares + damping * torch.eye(len(squares), dtype=torch.float64))
    stays = torch.ones(len(squares), dtype=torch.bool)
    for _ in range(removable - count):
        loss = left.square().sum(0) / inverse.diagonal()
        loss[removable:], loss[~stays] = torch.inf, torch.inf
        gone = int(loss.argmin())
        row = inverse[gone] / inverse[gone, gone]
        left -= left[:, gone, None] * row
        inverse -= inverse[:, gone, None] * row
        stays[gone] = False
        inverse[gone, gone] = 1  # it is zero now, and asked for no more
    kept = stays.nonzero().flatten()
    return kept, left[:, kept].to(weight.dtype)
