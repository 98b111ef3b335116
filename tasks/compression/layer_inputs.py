"""The inputs of a model's linear layers are recorded here: they decide how exactly each weight must be kept."""

import torch
from torch import Tensor, nn

from tasks.problems.base import Batches, Inputs
from tasks.problems.blocks.outputs import outputs


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Return by name the layers within the model that may be replaced: they are called, and nobody reads their weights.

    A subclass may be read by its owner (attention's output projection is), so it is none of them.
    """
    return {name: layer for name, layer in model.named_modules() if name and type(layer) is nn.Linear}


class _Recorder(nn.Module):
    """It stands in for a layer and keeps its inputs. A hook would miss owners that take a plain layer's weights."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.seen: list[Tensor] = []

    def forward(self, given: Tensor) -> Tensor:
        self.seen.append(given.flatten(0, -2))
        result: Tensor = self.layer(given)
        return result


def layer_inputs(layers: dict[str, nn.Linear], model: nn.Module, rows: Inputs) -> dict[str, Tensor]:
    """Return (n, in) inputs of each of `linear_layers(model)` as it computes `rows`; zeros (1, in) if never called."""
    recorders = {name: _Recorder(layer) for name, layer in layers.items()}
    for name, recorder in recorders.items():
        model.set_submodule(name, recorder)
    try:
        outputs(model, Batches.of(rows))
    finally:
        for name, layer in layers.items():
            model.set_submodule(name, layer)
    return {
        name: torch.cat(recorder.seen) if recorder.seen else torch.zeros(1, recorder.in_features)
        for name, recorder in recorders.items()
    }
