"""A model has these traits before any step."""

from torch import nn

from tasks.compression.channels import ChannelPrunable
from tasks.compression.layer_inputs import linear_layers
from tasks.compression.magnitude import prunable_weights
from tasks.compression.neurons import Prunable
from tasks.compression.step import Trait
from tasks.compression.token_vectors import TokenTable
from tasks.problems.blocks.vectors import Catalogued


def traits_of(model: nn.Module) -> frozenset[Trait]:
    """Return the traits that steps find in a model: a forest of trees has none, for it has no weights.

    A matrix that no layer of a known kind owns counts as one of a product: only the exported graph tells for sure.
    """
    found: set[Trait] = set()
    if any(weights.is_floating_point() for weights in model.parameters()):
        found |= {"float weights", "zeros"}
    if prunable_weights(model):
        found.add("dense")
    if isinstance(model, Prunable) and model.prunable():
        found.add("hidden neurons")
    if isinstance(model, ChannelPrunable) and model.channels():
        found.add("channels")
    if isinstance(model, Catalogued) and model.vectors():
        found.add("item vectors")
    if isinstance(model, TokenTable):
        found.add("token vectors")
    if linear_layers(model):
        found |= {"linear layers", "whole"}
    if any(_multiplies(module) for module in model.modules()):
        found.add("products")
    return frozenset(found)


def _multiplies(module: nn.Module) -> bool:
    if isinstance(module, nn.Embedding | nn.RNNBase | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return False
    return any(weights.dim() == 2 for weights in module.parameters(recurse=False))
