"""A recipe's chain of steps is checked before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.compression.bitmask import Bitmask
from tasks.compression.channels import Channels
from tasks.compression.fp16 import Fp16
from tasks.compression.int8 import Int8Dynamic, Int8Static
from tasks.compression.integer_weights import Int4Weights, Int8Weights
from tasks.compression.item_vectors import ProductCodes, Tail
from tasks.compression.low_rank import LowRank
from tasks.compression.magnitude import Magnitude
from tasks.compression.neurons import Neurons
from tasks.compression.options import Recipe
from tasks.compression.qat import Int8Qat
from tasks.compression.step import PHASES, TRAITS, GraphStep, Step, TorchStep, Trait
from tasks.compression.token_vectors import TokenVectors
from tasks.core.config import pick
from tasks.core.errors import ConfigError
from tasks.core.loader import Kinds

OURS: dict[str, type[Step]] = {
    step.kind: step
    for step in (
        *(Neurons, Channels, Tail, TokenVectors, LowRank, ProductCodes, Magnitude),
        *(Int8Qat, Int8Dynamic, Int8Static, Int8Weights, Int4Weights, Fp16),
        Bitmask,
    )
}
Traits = frozenset[Trait]
STEPS = Kinds("steps", OURS, (TorchStep, GraphStep))
MANY = "structure"
"""Several steps of this phase may follow each other, as they remove different things; other phases have one at most."""


@dataclass(frozen=True)
class Chain:
    """A Chain holds steps in order: first they change the torch model, then the exported graph."""

    before_export: tuple[TorchStep, ...]
    after_export: tuple[GraphStep, ...]


def parse_chain(name: str, recipe: Recipe, students: Mapping[str, Traits] | None = None) -> Chain:
    """Return the chain of a recipe. `students`: the traits of each model that it may be applied to, where known.

    Raises ConfigError on an unknown kind or option, and on a step that needs what a student does not have or an
    earlier step does not leave: on a wrong order, and on two that exclude each other, such as two number formats.
    """
    steps: list[Step] = [pick(spec, STEPS, f"recipes.{name}.steps.{index}") for index, spec in enumerate(recipe.steps)]
    if odd := next((step for step in steps if step.phase not in PHASES), None):
        raise ConfigError(f"recipes.{name}.steps: {odd.kind}: phase {odd.phase!r} is none of {', '.join(PHASES)}")
    for step in steps:
        for declared in ("needs", "leaves"):
            if not set(getattr(type(step), declared, ("nothing",))) <= TRAITS.keys():
                raise ConfigError(
                    f"recipes.{name}.steps: {step.kind}: {declared} must be a set of {', '.join(TRAITS)}; its class "
                    "declares them"
                )
    for index, step in enumerate(steps):
        _check(f"recipes.{name}.steps", steps[:index], step)
        for student, traits in (students or {}).items():
            if missing := _first(step.needs - traits):
                raise ConfigError(
                    f"recipes.{name}.steps: {step.kind} needs {TRAITS[missing]}, which students.{student} has not; "
                    "drop the step, or give that student another model"
                )
    return Chain(
        tuple(step for step in steps if isinstance(step, TorchStep)),
        tuple(step for step in steps if isinstance(step, GraphStep)),
    )


def _check(where: str, earlier: Sequence[Step], step: Step) -> None:
    """Raise ConfigError naming the last earlier step that does not leave a trait `step` needs, and the way out."""
    for before in reversed(earlier):
        missing = _first(step.needs - before.leaves)
        if missing is None:
            continue
        if PHASES.index(before.phase) < PHASES.index(step.phase):
            alike = [kind for kind, other in OURS.items() if other.phase == before.phase]
            others = [kind for kind in alike if step.needs <= OURS[kind].leaves]
            way_out = f"take {' or '.join(others)} in its place, or drop {step.kind}" if others else "drop one of them"
        else:
            way_out = f"the order is {order()}, each at most once"
        what = f"which does not leave {TRAITS[missing]}"
        raise ConfigError(f"{where}: {step.kind} cannot follow {before.kind}, {what}; {way_out}")


def _first(missing: Traits) -> Trait | None:
    return next((trait for trait in TRAITS if trait in missing), None)


def order() -> str:
    """Return all of our steps in the order in which they may follow each other, as people read it."""
    kinds = [[kind for kind, step in OURS.items() if step.phase == phase] for phase in PHASES]
    return ", then ".join(
        f"one of {', '.join(some)}" if len(some) > 1 and phase != MANY else " and ".join(some)
        for phase, some in zip(PHASES, kinds, strict=True)
    )
