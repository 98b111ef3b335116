"""A search's space says which steps it tries, in which order, with which values; every point is a chain of steps."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import field_validator
from torch import nn

from tasks.compression.chain import OURS, STEPS, Traits, parse_chain
from tasks.compression.channels import ChannelPrunable
from tasks.compression.neurons import Prunable
from tasks.compression.options import Recipe
from tasks.core.config import Frozen, Spec, pick
from tasks.core.errors import ConfigError

LEVELS = 20
"""A range is cut into so many equal parts: values stay readable, and equal points are recognised."""
NUMBERS = "numbers"
NONE = "none"
ENERGIES = [0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 1.0]
"""These are even steps of the loss, not of the kept share: most of a layer's output lies in a few directions."""
UNCHANGED = {"keep": 1.0, "energy": 1.0, "budget": 1.0, "sparsity": 0.0}
"""A step changes nothing at this value of its option: there the step is left out."""

Point = Mapping[str, int]
"""A point maps a dimension's name to the index of one of its values."""


class Numbers(Frozen):
    """`choices` are number formats by the names of their steps, and `none` for float32."""

    choices: tuple[str, ...]

    @field_validator("choices")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        steps = {kind: STEPS[kind] for kind in (*OURS, *value) if kind in STEPS}  # no other is imported
        formats = [NONE, *(kind for kind, step in steps.items() if step.phase == "numbers")]
        if not value or set(value) - set(formats) or len(set(value)) < len(value):
            raise ValueError(f"expected some of {', '.join(formats)}, each once")
        return value


@dataclass(frozen=True)
class Dimension:
    """A Dimension has `values` in order of size where `ordered`, else a choice."""

    name: str
    values: tuple[Any, ...]
    ordered: bool = False


@dataclass(frozen=True)
class Space:
    """A Space has `specs`, the steps with their fixed options in the chain's order, and `dimensions` to search."""

    specs: tuple[Spec, ...] = ()
    dimensions: tuple[Dimension, ...] = ()

    def steps(self, point: Point) -> tuple[Spec, ...]:
        """Return the steps at a point, without steps that would change nothing."""
        values = {item.name: item.values[point[item.name]] for item in self.dimensions}
        found = []
        for spec in self.specs:
            if spec.kind == NUMBERS:
                found += [] if values[NUMBERS] == NONE else [Spec(kind=values[NUMBERS])]
                continue
            options = {name: values.get(f"{spec.kind}.{name}", value) for name, value in spec.options.items()}
            if not any(UNCHANGED.get(name) == value for name, value in options.items()):
                found.append(Spec(kind=spec.kind, **options))
        return tuple(found)

    def openers(self) -> list[dict[str, int]]:
        """Return parts of points to begin with: each number format alone, wherever the other steps can be left out.

        Most need no fine-tuning, and they tell what each format costs and saves.
        """
        gentle = {
            item.name: item.values.index(unchanged)
            for item in self.dimensions
            if (unchanged := UNCHANGED.get(item.name.rpartition(".")[2])) in item.values
        }
        formats = next((len(item.values) for item in self.dimensions if item.name == NUMBERS), 0)
        found = [gentle | {NUMBERS: index} for index in range(formats)] or [gentle]
        return [point for point in found if point]


def default_space(model: nn.Module) -> tuple[Spec, ...]:
    """Return the steps that can be applied to `model`: fewer channels and neurons, lower rank, narrower numbers."""
    linear = any(name and isinstance(layer, nn.Linear) for name, layer in model.named_modules())
    offers = (
        (isinstance(model, ChannelPrunable), Spec(kind="channels", keep=[0.1, 1.0])),
        (isinstance(model, Prunable) and bool(model.prunable()), Spec(kind="neurons", keep=[0.1, 1.0])),
        (linear, Spec(kind="low-rank", energy=ENERGIES)),
    )
    formats = [NONE, "fp16", "int8-weights", *(["int4-weights", "int8-dynamic", "int8-static"] if linear else [])]
    return (*(spec for fits, spec in offers if fits), Spec(kind=NUMBERS, choices=formats))


def parse_space(name: str, specs: Sequence[Spec], students: Mapping[str, Traits] | None = None) -> Space:
    """Return the space of recipe `name`; `students` as for `parse_chain`.

    Raises ConfigError naming the field on an unknown kind, option or value, and on an order that no chain may have.
    """
    where = f"recipes.{name}.search.space"
    if repeated := {spec.kind for spec in specs if [other.kind for other in specs].count(spec.kind) > 1}:
        raise ConfigError(f"{where}: {', '.join(sorted(repeated))} stands there twice; write one entry for each kind")
    parts = [_dimensions(f"{where}.{index}", spec) for index, spec in enumerate(specs)]
    space = Space(tuple(specs), tuple(itertools.chain.from_iterable(parts)))
    for kind in next((item.values for item in space.dimensions if item.name == NUMBERS), (NONE,)):
        steps = space.steps({item.name: _changing(item, kind) for item in space.dimensions})
        try:
            parse_chain(name, Recipe(steps=steps), students)
        except ConfigError as error:
            raise ConfigError(str(error).replace(f"recipes.{name}.steps", where)) from error
    return space


def _dimensions(where: str, spec: Spec) -> list[Dimension]:
    """Return the searched dimensions of one entry, each value of them checked by the step itself."""
    if spec.kind == NUMBERS:
        return [Dimension(NUMBERS, pick(spec, {NUMBERS: Numbers}, where).choices)]
    found = [
        _dimension(f"{where}.{name}", f"{spec.kind}.{name}", value, whole=_whole(spec.kind, name))
        for name, value in spec.options.items()
        if isinstance(value, list | tuple)
    ]
    usual = {item.name.removeprefix(f"{spec.kind}."): item.values[_changing(item)] for item in found}
    fixed = {**spec.options, **usual}
    pick(Spec(kind=spec.kind, **fixed), STEPS, where)
    for item in found:
        name = item.name.removeprefix(f"{spec.kind}.")
        for value in item.values:
            if UNCHANGED.get(name) != value:
                pick(Spec(kind=spec.kind, **{**fixed, name: value}), STEPS, where)
    return found


def _dimension(where: str, name: str, value: Sequence[Any], *, whole: bool) -> Dimension:
    """Make a range of two numbers, a choice of any other list: of steps of a scale, if they are numbers that rise."""
    numbers = [item for item in value if isinstance(item, int | float) and not isinstance(item, bool)]
    if len(value) != 2 or len(numbers) != 2:
        if not value:
            raise ConfigError(f"{where}: expected [low, high] or a list of values, got []")
        return Dimension(name, tuple(value), ordered=numbers == list(value) == sorted(set(numbers)))
    low, high = numbers
    if not low < high:
        raise ConfigError(f"{where}: expected [low, high] with low < high, got {list(value)}")
    grid = [low + (high - low) * part / LEVELS for part in range(LEVELS + 1)]
    return Dimension(name, tuple(dict.fromkeys(round(item, None if whole else 6) for item in grid)), ordered=True)


def _whole(kind: str, option: str) -> bool:
    """Return whether the step wants an integer there."""
    field = STEPS[kind].model_fields.get(option) if kind in STEPS else None
    return field is not None and int in (field.annotation, *get_args(field.annotation))


def _changing(item: Dimension, numbers: str = NONE) -> int:
    """Return a value at which the step is not left out; of the number formats the one named."""
    if item.name == NUMBERS:
        return item.values.index(numbers)
    unchanged = UNCHANGED.get(item.name.rpartition(".")[2])
    return next((index for index, value in enumerate(item.values) if value != unchanged), 0)
