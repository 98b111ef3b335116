"""Structured pruning: whole hidden neurons leave the network, so that its matrices and its file really shrink.

A neuron's importance is the norm of what goes in times the norm of what goes out: by it the neuron's largest
contribution is bounded (its bias counts as an input), so a neuron whose outgoing side is zero is the first to go.
Source: Li et al., Pruning Filters for Efficient ConvNets (2017), extended by the outgoing norm.
"""

from typing import Protocol, runtime_checkable

import torch
from pydantic import Field
from torch import nn

from tasks.compression.step import FineTune, TorchStep
from tasks.errors import ConfigError


@runtime_checkable
class Prunable(Protocol):
    """A model that can lose hidden neurons."""

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """(producer, consumer) pairs: neuron i is output i of the one and input i of the other, and of nothing else.

        Between them there are only functions that work on each neuron alone.
        """
        ...


class Neurons(TorchStep):
    """`keep`: share of the hidden neurons of each layer that stays (rounded, at least one)."""

    kind = "neurons"
    phase = "structure"
    keep: float = Field(gt=0, lt=1)

    def apply(self, model: nn.Module, tune: FineTune) -> None:
        """Remove the least important neurons, then fine-tune what is left. Raises ConfigError if there are none."""
        pairs = model.prunable() if isinstance(model, Prunable) else []
        if not pairs:
            raise ConfigError(
                f"step neurons: model {type(model).__name__} has no hidden neurons to remove; drop the step"
            )
        for producer, consumer in pairs:
            remove(
                producer, consumer, most_important(producer, consumer, max(1, round(self.keep * producer.out_features)))
            )
        if self.epochs:
            tune(model, self.epochs, self.learning_rate_factor)


def most_important(producer: nn.Linear, consumer: nn.Linear, count: int) -> torch.Tensor:
    """Indices, ascending, of the `count` neurons that matter most."""
    incoming = producer.weight.detach()
    if producer.bias is not None:
        incoming = torch.cat([incoming, producer.bias.detach()[:, None]], dim=1)
    importance = incoming.norm(dim=1) * consumer.weight.detach().norm(dim=0)
    return torch.argsort(importance, descending=True, stable=True)[:count].sort().values


def remove(producer: nn.Linear, consumer: nn.Linear, kept: torch.Tensor) -> None:
    """Keep only the neurons `kept`, in place."""
    producer.weight = nn.Parameter(producer.weight.detach()[kept].clone())
    if producer.bias is not None:
        producer.bias = nn.Parameter(producer.bias.detach()[kept].clone())
    consumer.weight = nn.Parameter(consumer.weight.detach()[:, kept].clone())
    producer.out_features = consumer.in_features = len(kept)
