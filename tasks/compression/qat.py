"""Quantization-aware training lets the network learn with the rounding that its eight-bit file will do.

During fine-tuning each linear layer sees its weights and its input rounded to 256 levels, and gradients pass the
rounding as if it were not there (the straight-through estimator). Sources: Jacob et al., Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference (2018); Krishnamoorthi, Quantizing Deep Convolutional
Networks for Efficient Inference (2018); for input ranges that are trained too: Esser et al., Learned Step Size
Quantization (2020), with the logarithm of the range as in Jain et al., Trained Quantization Thresholds (2020).

The result is exported as it was trained: QDQ pairs with the trained scales around every linear layer, both sides
unsigned for the reason given in int8.py. Embeddings and the arithmetic in between stay float32, convolutions unless
they are asked for (qat_convolutions.py).
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.compression.convolutions import convolutions, fold_norms, some_inputs
from tasks.compression.layer_inputs import layer_inputs, linear_layers
from tasks.compression.qat_convolutions import Int8Convolution, TrainedConvolution
from tasks.compression.rounded import (
    LEVELS,
    MOST_STEPS,
    StoredLevels,
    TrainedRange,
    affine,
    best_range,
    dequantize,
    levels,
    rounded,
)
from tasks.compression.step import Calibration, FineTune, TorchStep
from tasks.core.errors import ConfigError


class Int8Qat(TorchStep):
    """`samples` training rows decide where each input's range starts: at the smallest squared error.

    `convolutions`: those over all channels too, of which batch normalisation becomes a part first.
    """

    kind = "int8-qat"
    phase = "numbers"
    needs = frozenset({"float weights", "linear layers"})
    leaves = frozenset()
    epochs: int = Field(default=3, gt=0)
    samples: int = Field(default=512, gt=0)
    convolutions: bool = False

    def apply(self, model: nn.Module, tune: FineTune, calibration: Calibration) -> None:
        """Train with fake quantization, then fix weights and ranges. Raises ConfigError without linear layers."""
        layers = linear_layers(model)
        if not layers:
            raise ConfigError(
                f"step {self.kind}: model {type(model).__name__} has no linear layer to quantize; drop the step"
            )
        if self.convolutions:
            fold_norms(model)
        maps = convolutions(model) if self.convolutions else {}
        if self.convolutions and not maps:
            raise ConfigError(
                f"step {self.kind}: model {type(model).__name__} has no convolution over all channels; leave out "
                "convolutions"
            )
        rows = calibration(self.samples)
        seen, seen_maps = layer_inputs(layers, model, rows), some_inputs(maps, model, rows)
        for name, layer in layers.items():
            model.set_submodule(name, TrainedLinear(layer, *best_range(seen[name].flatten())))
        for name, convolution in maps.items():
            model.set_submodule(name, TrainedConvolution(convolution, *best_range(seen_maps[name])))
        tune(model, self.epochs, self.learning_rate_factor)
        for name in (*layers, *maps):
            trained = model.get_submodule(name)
            if isinstance(trained, TrainedConvolution):
                model.set_submodule(name, Int8Convolution(trained))
            else:
                assert isinstance(trained, TrainedLinear)
                model.set_submodule(name, Int8Linear(trained))


def weight_range(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return (low, high), each (out, 1): one range an output neuron, zero within."""
    weight = weight.detach()
    return weight.amin(1, keepdim=True).clamp(max=0), weight.amax(1, keepdim=True).clamp(min=0)


class TrainedLinear(TrainedRange, nn.Linear):
    """A TrainedLinear multiplies rounded weights and inputs. The input's range is trained as a factor."""

    def __init__(self, layer: nn.Linear, low: Tensor, high: Tensor) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.start_range(low, high)

    def forward(self, given: Tensor) -> Tensor:
        weight = rounded(self.weight, *weight_range(self.weight))
        return functional.linear(rounded(given, *self.range()), weight, self.bias)


class Int8Linear(StoredLevels, nn.Linear):
    """An Int8Linear layer has stored levels and exports as QDQ. `weight`, `bias` hold the numbers of these levels.

    In torch it computes with floats; the levels are what the file holds: (out, in) in eight bits, and the bias as
    32-bit multiples of the product of both scales, as integer kernels add it.
    """

    def __init__(self, trained: TrainedLinear) -> None:
        super().__init__(trained.in_features, trained.out_features, trained.bias is not None, device="meta")
        with torch.no_grad():
            scale, zero = affine(*trained.range())
            # A pruned neuron has a bias still: with a scale near zero it would be more steps than 32 bits can count.
            smallest = None if trained.bias is None else trained.bias.abs()[:, None] / (scale * MOST_STEPS)
            weight_scale, weight_zero = affine(*weight_range(trained.weight), smallest)
            stored = levels(trained.weight, weight_scale, weight_zero)
            self.store((scale, zero), stored, weight_scale, weight_zero, trained.bias)

    def forward(self, given: Tensor) -> Tensor:
        given = torch.fake_quantize_per_tensor_affine(given, self.scale, self.zero, 0, LEVELS)
        # Gemm, for which the exporter takes rows with a bias, adds integer biases; MatMul wants its weights turned.
        if self.bias is not None and given.dim() == 2:
            weight = dequantize(self.weight_levels, self.weight_scale, self.weight_zero, axis=0)
            bias = dequantize(self.bias_levels, self.bias_scale, None, axis=0)
            return functional.linear(given, weight, bias)
        product = given @ dequantize(self.weight_levels.t(), self.weight_scale, self.weight_zero, axis=1)
        return product if self.bias is None else product + self.bias
