"""This module counts a model's weights, and stores them as safetensors bytes (never pickle)."""

from safetensors.torch import load, save
from torch import nn

from tasks.core.errors import IntegrityError


def count_parameters(model: nn.Module) -> int:
    """Count the trained weights; of boosted trees, thresholds and leaf values."""
    fitted = sum(getattr(module, "fitted_numbers", 0) for module in model.modules())
    return fitted + sum(parameter.numel() for parameter in model.parameters())


def save_weights(model: nn.Module) -> bytes:
    """Return the state as safetensors; equal weights give equal bytes."""
    data: bytes = save({name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()})
    return data


def load_weights(model: nn.Module, data: bytes) -> None:
    """Put stored weights into a model of the same architecture. Raises IntegrityError when they do not fit."""
    try:
        model.load_state_dict(load(data))
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise IntegrityError(f"stored weights do not fit {type(model).__name__}: {reason}") from error
