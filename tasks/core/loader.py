"""This module finds a component by its kind and imports it only when a workload names it.

Ours stand in tables, kind -> `module:name`. Other packages add theirs by entry points, named by kind, of the groups
`nightstill.sources`, `.problems`, `.models`, `.losses`, `.steps` and `.gates`. In `models` and `losses` a name may
begin with the kind of learning that it fits, `tabular.acme-line`; without one it fits all.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any, Literal

from tasks.core.errors import ConfigError

Group = Literal["sources", "problems", "models", "losses", "steps", "gates"]
OURS = "Nightstill's own"


def load(reference: str) -> Any:
    """Return the object that `module:name` refers to."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


@dataclass(frozen=True)
class Plugin:
    """A plugin is a kind that an installed distribution adds to a group."""

    kind: str
    entry: EntryPoint

    @property
    def distribution(self) -> Distribution:
        """Return the installed distribution."""
        assert self.entry.dist is not None  # entries that are found by group have one
        return self.entry.dist

    def __str__(self) -> str:
        return f"{self.distribution.name} {self.distribution.version}"

    def load(self) -> Any:
        """Return the object that the entry point names. Raises ConfigError with whatever its import raised."""
        try:
            return self.entry.load()
        except Exception as error:
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            raise ConfigError(f"{self.kind!r} of {self} cannot be loaded from {self.entry.value}: {why}") from error


def plugins(group: Group, learning: str = "") -> dict[str, tuple[Plugin, ...]]:
    """Return kind -> its plugins in a group. `learning`: the kind of learning that models and losses must fit."""
    found: dict[str, tuple[Plugin, ...]] = {}
    for entry in _entries(group, tuple(sys.path)):
        fits, dot, kind = entry.name.partition(".")
        if not dot:
            kind = entry.name
        elif fits != learning:
            continue
        found[kind] = (*found.get(kind, ()), Plugin(kind, entry))
    return found


def plugin(group: Group, kind: str, learning: str = "") -> Plugin | None:
    """Return the plugin that adds a kind, None without one. Raises ConfigError when several do."""
    found = plugins(group, learning).get(kind, ())
    _one_of(group, kind, [str(each) for each in found])
    return found[0] if found else None


class Kinds(Mapping[str, Any]):
    """This maps a group's kinds to components, ours first. Looking one up imports it; listing the names imports none.

    `ours`: kind -> `module:name`, or the object itself. `base`: another package's must be a subclass of it.
    """

    def __init__(
        self, group: Group, ours: Mapping[str, Any], base: type | tuple[type, ...] = (), learning: str = ""
    ) -> None:
        self.group, self.ours, self.base, self.learning = group, ours, base, learning

    def __getitem__(self, kind: str) -> Any:
        """Return a kind's component. Raises KeyError on an unknown kind, ConfigError on a double or unusable one."""
        found = plugins(self.group, self.learning).get(kind, ())
        _one_of(self.group, kind, [*([OURS] if kind in self.ours else []), *map(str, found)])
        if kind in self.ours:
            ours = self.ours[kind]
            return load(ours) if isinstance(ours, str) else ours
        if not found:
            raise KeyError(kind)
        value = found[0].load()
        if self.base and not (isinstance(value, type) and issubclass(value, self.base)):
            bases = self.base if isinstance(self.base, tuple) else (self.base,)
            names = " or ".join(base.__name__ for base in bases)
            raise ConfigError(f"{kind!r} of {found[0]}: {found[0].entry.value} is not a subclass of {names}")
        if not self.base and not callable(value):
            raise ConfigError(f"{kind!r} of {found[0]}: {found[0].entry.value} cannot be called")
        if (own := getattr(value, "kind", kind)) != kind:
            raise ConfigError(f"{kind!r} of {found[0]}: {found[0].entry.value} calls itself {own!r}")
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.ours, *plugins(self.group, self.learning))))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, kind: object) -> bool:
        return kind in self.ours or kind in plugins(self.group, self.learning)

    def find(self, kind: str, field: str) -> Any:
        """Return a kind's component. Raises ConfigError naming the field on an unknown or unusable kind."""
        if kind not in self:
            fits = f" for {self.learning}" if self.learning else ""
            raise ConfigError(f"{field}: unknown kind {kind!r}{fits}; there are: {', '.join(self) or 'none'}")
        try:
            return self[kind]
        except ConfigError as error:
            raise ConfigError(f"{field}: {error}") from error


def look_again() -> None:
    """Forget which packages were installed: one may have come, changed or gone since."""
    _entries.cache_clear()


def _one_of(group: Group, kind: str, owners: list[str]) -> None:
    if len(owners) > 1:
        raise ConfigError(f"{kind!r} of nightstill.{group} is there more than once: {', '.join(owners)}; keep one")


@cache
def _entries(group: Group, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group, in the order of their names; read once for each `sys.path`."""
    return tuple(sorted(entry_points(group=f"nightstill.{group}"), key=lambda entry: (entry.name, entry.value)))
