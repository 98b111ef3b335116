"""A student's first weights can be taken from a teacher."""

import re
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from safetensors.torch import load
from torch import Tensor, nn

from tasks.core.errors import ConfigError

GATES = ("input", "forget", "cell", "output")
"""The gates of an LSTM, in the order in which torch stacks them."""
RECURRENT = re.compile(r"(^|\.)(weight|bias)_(ih|hh)_l\d+(_reverse)?$")


@runtime_checkable
class Starting(Protocol):
    """A Starting model knows how to start as a teacher of another make."""

    def start(self, teacher: Mapping[str, Tensor]) -> list[str]:
        """Take first weights from a teacher's parameters; return the names of those set, none if it knows no way."""
        ...


def needs_start(model: nn.Module) -> bool:
    """Return whether a model says by its attribute `needs_start` that it is nothing without weights of a teacher."""
    return bool(getattr(model, "needs_start", False))


def start_from(model: nn.Module, weights: bytes, layers: Mapping[str, str], gate: str | None = None) -> list[str]:
    """Put a larger network's weights (safetensors) into `model`, in place; return the names of the parameters set.

    A parameter is taken where the larger network has one of equal name and rank that is nowhere smaller: of each axis
    evenly spaced indices, floor(i * large / small), the same for every tensor of equal sizes, so that neurons stay
    whole (weight selection, Xu et al. 2024, arXiv:2311.18823). `layers` maps prefixes of the student's names to
    the teacher's; without it names must be equal, and a `Starting` model is asked first. `gate`: of the teacher's LSTM
    layers this gate's rows alone are looked at. Raises ConfigError when nothing fits, or nothing below a prefix.
    """
    source = load(weights)
    if not layers and isinstance(model, Starting) and (taken := model.start(source)):
        return taken
    if gate is not None:
        source = {name: _gate(name, value, gate) if RECURRENT.search(name) else value for name, value in source.items()}
    names = {name: source_name for name, _ in model.named_parameters() if (source_name := _renamed(name, layers))}
    parameters = dict(model.named_parameters())
    taken = [name for name, other in names.items() if other in source and _fits(parameters[name], source[other])]
    for prefix in layers or ("",):
        if not any(_below(name, prefix) for name in taken):
            what = f" below {prefix!r}" if prefix else ""
            sides = f"it has {_shapes(parameters)}; the teacher {_shapes(source)}"
            raise ConfigError(f"start_from: no parameter of the student{what} fits one of the teacher's; {sides}")
    with torch.no_grad():
        for name in taken:
            parameters[name].copy_(_selected(source[names[name]], parameters[name].shape))
    return taken


def _gate(name: str, stacked: Tensor, gate: str) -> Tensor:
    hidden = stacked.shape[1] if "weight_hh" in name else stacked.shape[0] // len(GATES)
    if stacked.shape[0] != len(GATES) * hidden:
        raise ConfigError(
            f"start_from.gate: {name} {tuple(stacked.shape)} of the teacher has no {len(GATES)} gates of an LSTM"
        )
    return stacked.chunk(len(GATES))[GATES.index(gate)]


def _below(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(prefix + ".")


def _renamed(name: str, layers: Mapping[str, str]) -> str | None:
    if not layers:
        return name
    return next((other + name.removeprefix(own) for own, other in layers.items() if _below(name, own)), None)


def _fits(small: Tensor, large: Tensor) -> bool:
    return small.ndim == large.ndim and all(
        mine <= theirs for mine, theirs in zip(small.shape, large.shape, strict=True)
    )


def _shapes(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(tensors.items()))


def _selected(large: Tensor, shape: torch.Size) -> Tensor:
    for axis, size in enumerate(shape):
        large = large.index_select(axis, torch.arange(size) * large.shape[axis] // size)
    return large
