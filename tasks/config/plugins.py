"""This module lists the other packages that each part of a run uses, with digests, and checks them later."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from tasks.compression.options import Recipe
from tasks.config.workload import Workload
from tasks.core.config import Frozen, Name
from tasks.core.distributions import distribution_digest
from tasks.core.errors import ConfigError
from tasks.core.loader import Group, Plugin, look_again, plugin
from tasks.distillation.options import Student

NUMBERS = "numbers"


class Package(Frozen):
    """A package is an installed distribution. `sha256`: over its files."""

    version: str
    sha256: str


Packages = dict[str, Package]


class Plugins(Frozen):
    """Plugins are distributions by the part of the run that uses them; each stage tracks the parts that it reads."""

    source: Packages = Field(default_factory=dict)
    problem: Packages = Field(default_factory=dict)
    teachers: dict[Name, Packages] = Field(default_factory=dict)
    students: dict[Name, Packages] = Field(default_factory=dict)
    recipes: dict[Name, Packages] = Field(default_factory=dict)
    gates: Packages = Field(default_factory=dict)


def installed(workload: Workload) -> Plugins:
    """Return the packages that a workload's parts use, as they are installed here.

    Raises ConfigError when two packages add a kind that it names, or none adds a gate: nobody should hear of that after
    hours of training.
    """
    look_again()
    for place, spec in enumerate(workload.gates.further):
        if plugin("gates", spec.kind) is None:
            raise ConfigError(f"gates.further.{place}.kind: no package that is installed here adds {spec.kind!r}")
    digests: dict[str, Package] = {}

    def packages(*users: tuple[Group, str]) -> Packages:
        return dict(_packages(workload, users, digests))

    return Plugins(
        source=packages(("sources", workload.source.kind)),
        problem=packages(("problems", workload.problem.kind)),
        teachers={name: packages(("models", teacher.model.kind)) for name, teacher in workload.teachers.items()},
        students={name: packages(*_student(student)) for name, student in workload.students.items()},
        recipes={name: packages(*_recipe(recipe)) for name, recipe in workload.recipes.items()},
        gates=packages(*(("gates", spec.kind) for spec in workload.gates.further)),
    )


def require_installed(plugins: Mapping[str, Any], tracked: Sequence[str]) -> None:
    """Compare the packages installed here with the parts `tracked` of a run's `plugins`, such as `teachers.lstm`.

    Raises ConfigError: a result of other code must not carry this run's digests.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    seen = set()
    for part in tracked:
        value: Any = plugins
        for key in part.split("."):
            value = value.get(key, {})
        for name, package in _leaves(value):
            if name in seen:
                continue
            seen.add(name)
            try:
                here = distribution(name)
            except PackageNotFoundError:
                raise ConfigError(f"plugin {name} {package['version']}: is not installed here") from None
            if (here.version, distribution_digest(here)) != (package["version"], package["sha256"]):
                raise ConfigError(
                    f"plugin {name} {package['version']}: the run was opened with other files of it than "
                    f"{here.version} that is installed here; install the same everywhere, or open another run"
                )


def _leaves(value: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, inner in value.items():
        if "sha256" in inner:
            yield name, inner
        else:
            yield from _leaves(inner)


def _packages(
    workload: Workload, users: Iterable[tuple[Group, str]], digests: dict[str, Package]
) -> Iterator[tuple[str, Package]]:
    for group, kind in users:
        found: Plugin | None = plugin(group, kind, workload.problem.kind)
        if found is None:
            continue
        name = found.distribution.name
        if name not in digests:
            digests[name] = Package(version=found.distribution.version, sha256=distribution_digest(found.distribution))
        yield name, digests[name]


def _student(student: Student) -> Iterator[tuple[Group, str]]:
    yield "models", student.model.kind
    if student.assistant is not None:
        yield "models", student.assistant.model.kind
    for loss in (*([student.soft] if student.soft else []), *student.terms):
        yield "losses", loss.kind


def _recipe(recipe: Recipe) -> Iterator[tuple[Group, str]]:
    for spec in (*recipe.steps, *(recipe.search.space if recipe.search else ())):
        names = spec.options.get("choices", ()) if spec.kind == NUMBERS else ()
        for kind in (spec.kind, *map(str, names)):
            yield "steps", kind
