"""This step prunes by structure: whole hidden neurons leave, so that the network's matrices and file really shrink."""

from typing import Protocol, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor, nn

from tasks.compression.layer_inputs import layer_inputs, linear_layers
from tasks.compression.narrowing import keep_outputs
from tasks.compression.step import ALL, Calibration, FineTune, TorchStep
from tasks.compression.surgeon import remove_inputs
from tasks.core.errors import ConfigError


@runtime_checkable
class Prunable(Protocol):
    """A Prunable model can lose hidden neurons."""

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """Return (producer, consumer) pairs: neuron i is output i of one, input i of the other, and of nothing else.

        Between them there are only functions that work on each neuron alone.
        """
        ...


class Neurons(TorchStep):
    """`keep` is the share of the hidden neurons of each layer that stays (rounded, at least one).

    Those go whose part the others can best take over on `samples` training rows (see `surgeon`).
    """

    kind = "neurons"
    phase = "structure"
    needs = frozenset({"hidden neurons", "float weights"})
    leaves = ALL - {"hidden neurons"}
    keep: float = Field(gt=0, lt=1)
    samples: int = Field(default=2048, gt=0)

    def apply(self, model: nn.Module, tune: FineTune, calibration: Calibration) -> None:
        """Remove neurons, then fine-tune the rest. Raises ConfigError if there are none."""
        pairs = model.prunable() if isinstance(model, Prunable) else []
        if not pairs:
            raise ConfigError(
                f"step neurons: model {type(model).__name__} has no hidden neurons to remove; drop the step"
            )
        rows = calibration(self.samples)
        for producer, consumer in pairs:
            names = {layer: name for name, layer in linear_layers(model).items()}
            given = layer_inputs({names[consumer]: consumer}, model, rows)[names[consumer]]
            self._narrow(producer, consumer, given)
        if self.epochs:
            tune(model, self.epochs, self.learning_rate_factor)

    def _narrow(self, producer: nn.Linear, consumer: nn.Linear, given: Tensor) -> None:
        """Take outputs from the one, and make up for them in the other's inputs. Its bias is an input of ones."""
        weight, outputs = consumer.weight.detach(), producer.out_features
        if consumer.bias is not None:
            weight = torch.cat([weight, consumer.bias.detach()[:, None]], dim=1)
            given = torch.cat([given, torch.ones(len(given), 1)], dim=1)
        kept, weight = remove_inputs(weight, given, outputs, max(1, round(self.keep * outputs)))
        keep_outputs([producer], [consumer], kept[kept < outputs])
        with torch.no_grad():
            consumer.weight.copy_(weight[:, : consumer.in_features])
            if consumer.bias is not None:
                consumer.bias.copy_(weight[:, -1])
