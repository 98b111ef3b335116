"""A recipe's chain of steps, checked before anything is trained."""

from dataclasses import dataclass
from itertools import pairwise

from pydantic import ValidationError

from tasks.compression.fp16 import Fp16
from tasks.compression.int8 import Int8Dynamic, Int8Static
from tasks.compression.magnitude import Magnitude
from tasks.compression.neurons import Neurons
from tasks.compression.step import PHASES, GraphStep, Step, TorchStep
from tasks.config import Recipe
from tasks.errors import ConfigError

STEPS: dict[str, type[Step]] = {
    "neurons": Neurons,
    "magnitude": Magnitude,
    "int8-dynamic": Int8Dynamic,
    "int8-static": Int8Static,
    "fp16": Fp16,
}


@dataclass(frozen=True)
class Chain:
    """Steps in order: those that change the torch model, then those that change the exported graph."""

    before_export: tuple[TorchStep, ...]
    after_export: tuple[GraphStep, ...]


def parse_chain(name: str, recipe: Recipe) -> Chain:
    """The chain of a recipe.

    Raises ConfigError on an unknown kind or option, and on an order that cannot work: neurons, then magnitude, then
    one change of number format (int8-dynamic, int8-static or fp16).
    """
    steps = [
        _parse(f"recipes.{name}.steps.{index}", spec.kind, spec.options) for index, spec in enumerate(recipe.steps)
    ]
    for before, after in pairwise(steps):
        if PHASES.index(before.phase) >= PHASES.index(after.phase):
            raise ConfigError(
                f"recipes.{name}.steps: {after.kind} cannot follow {before.kind}; the order is neurons, magnitude, "
                "then one of int8-dynamic, int8-static, fp16"
            )
    return Chain(
        tuple(step for step in steps if isinstance(step, TorchStep)),
        tuple(step for step in steps if isinstance(step, GraphStep)),
    )


def _parse(where: str, kind: str, options: dict[str, object]) -> Step:
    if kind not in STEPS:
        raise ConfigError(f"{where}.kind: unknown kind {kind!r}; there are: {', '.join(STEPS)}")
    try:
        return STEPS[kind].model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join([where, *map(str, first["loc"])])
        raise ConfigError(f"{field}: {first['msg']}, got {first['input']!r:.80}") from error
