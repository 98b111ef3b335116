"""What the linear layers of a model are given: it decides how exactly each of their weights must be kept."""

import torch
from torch import Tensor, nn

from tasks.problems.base import Inputs


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Layers within the model that may be replaced, by name: they are called, and nobody reads their weights.

    A subclass may be read by its owner (attention's output projection is), so it is none of them.
    """
    return {name: layer for name, layer in model.named_modules() if name and type(layer) is nn.Linear}


def layer_inputs(layers: dict[str, nn.Linear], model: nn.Module, rows: Inputs) -> dict[str, Tensor]:
    """(n, in) of each layer when the model computes `rows`. One that is never called sees a single row of zeros."""
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}
    hooks = [
        layer.register_forward_pre_hook(lambda _, given, name=name: seen[name].append(given[0].flatten(0, -2)))
        for name, layer in layers.items()
    ]
    model.eval()
    with torch.no_grad():
        model(*(torch.from_numpy(values) for values in rows.values()))
    for hook in hooks:
        hook.remove()
    return {
        name: torch.cat(parts) if parts else torch.zeros(1, layers[name].in_features) for name, parts in seen.items()
    }
