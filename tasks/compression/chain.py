"""A recipe's chain of steps, checked before anything is trained."""

from dataclasses import dataclass
from itertools import pairwise

from tasks.compression.bitmask import Bitmask
from tasks.compression.channels import Channels
from tasks.compression.fp16 import Fp16
from tasks.compression.int8 import Int8Dynamic, Int8Static
from tasks.compression.integer_weights import Int4Weights, Int8Weights
from tasks.compression.low_rank import LowRank
from tasks.compression.magnitude import Magnitude
from tasks.compression.neurons import Neurons
from tasks.compression.options import Recipe
from tasks.compression.qat import Int8Qat
from tasks.compression.step import PHASES, GraphStep, Step, TorchStep
from tasks.core.config import pick
from tasks.core.errors import ConfigError
from tasks.core.loader import Kinds

OURS: dict[str, type[Step]] = {
    step.kind: step
    for step in (
        *(Neurons, Channels, LowRank, Magnitude),
        *(Int8Qat, Int8Dynamic, Int8Static, Int8Weights, Int4Weights, Fp16),
        Bitmask,
    )
}
STEPS = Kinds("steps", OURS, (TorchStep, GraphStep))
MANY = "structure"
"""The phase whose steps go together, because they remove different things; of the others one step is enough."""


@dataclass(frozen=True)
class Chain:
    """Steps in order: those that change the torch model, then those that change the exported graph."""

    before_export: tuple[TorchStep, ...]
    after_export: tuple[GraphStep, ...]


def parse_chain(name: str, recipe: Recipe) -> Chain:
    """The chain of a recipe.

    Raises ConfigError on an unknown kind or option, on steps in an order that cannot work (see `PHASES`), and on two
    that exclude each other, such as two number formats.
    """
    steps: list[Step] = [pick(spec, STEPS, f"recipes.{name}.steps.{index}") for index, spec in enumerate(recipe.steps)]
    if odd := next((step for step in steps if step.phase not in PHASES), None):
        raise ConfigError(f"recipes.{name}.steps: {odd.kind}: phase {odd.phase!r} is none of {', '.join(PHASES)}")
    for before, after in pairwise(steps):
        if not _may_follow(before, after):
            raise ConfigError(
                f"recipes.{name}.steps: {after.kind} cannot follow {before.kind}; the order is {order()}, "
                "each at most once"
            )
    dense = next((step.kind for step in steps if not step.packable), None)
    if dense and any(isinstance(step, Bitmask) for step in steps):
        raise ConfigError(
            f"recipes.{name}.steps: bitmask cannot leave out zeros that {dense} stores; use int8-weights or fp16, "
            "or drop bitmask"
        )
    if len({step.kind for step in steps}) < len(steps):
        raise ConfigError(f"recipes.{name}.steps: each kind may stand there once; the order is {order()}")
    return Chain(
        tuple(step for step in steps if isinstance(step, TorchStep)),
        tuple(step for step in steps if isinstance(step, GraphStep)),
    )


def order() -> str:
    """All of our steps in the order in which they may follow each other, as people read it."""
    kinds = [[kind for kind, step in OURS.items() if step.phase == phase] for phase in PHASES]
    return ", then ".join(
        f"one of {', '.join(some)}" if len(some) > 1 and phase != MANY else " and ".join(some)
        for phase, some in zip(PHASES, kinds, strict=True)
    )


def _may_follow(before: Step, after: Step) -> bool:
    if before.phase == after.phase == MANY:
        return before.kind != after.kind
    return PHASES.index(before.phase) < PHASES.index(after.phase)
