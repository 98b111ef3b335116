"""The house: which folders of code import which, drawn from the imports themselves."""

from collections.abc import Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.unit.imports import imported_names, module_file

PROJECT = Path(__file__).parents[2]
KINDS = tuple(f"tasks/problems/{kind}" for kind in ("forecasting", "ranking", "tabular", "text", "vision"))
# What knows the interface alone.
BLIND = (
    "tasks/distillation",
    "tasks/compression",
    "tasks/gates",
    "tasks/releases",
    "tasks/pipeline",
    "tasks/stages",
    "tasks/watching",
)

Arrows = Mapping[str, frozenset[str]]


def _imports(file: Path, root: Path) -> set[Path]:
    """Files below `root` that a file imports."""
    modules = {path for name in imported_names(file) if (path := module_file(name, root))}
    packages = {path.parent for path in modules if path.name != "__init__.py"}
    # `from package.module import name` looks up the package first; an empty one is no arrow of its own.
    return {path for path in modules if path.name != "__init__.py" or path.parent not in packages}


@cache
def arrows(root: Path, tops: tuple[str, ...] = ("tasks", "serving")) -> Arrows:
    """Folder -> other folders that its modules import."""
    found: dict[str, set[str]] = {}
    for file in sorted(path for top in tops for path in (root / top).rglob("*.py")):
        here = file.parent.relative_to(root).as_posix()
        found.setdefault(here, set())
        for other in _imports(file, root):
            there = other.parent.relative_to(root).as_posix()
            if there != here:
                found[here].add(there)
    return {folder: frozenset(others) for folder, others in found.items()}


def circle(found: Arrows) -> list[str]:
    """The folders of one circle, in order; empty if all arrows point down."""
    try:
        TopologicalSorter(found).prepare()
    except CycleError as error:
        folders: list[str] = error.args[1]
        return folders
    return []


def test_no_folder_imports_what_imports_it() -> None:
    assert circle(arrows(PROJECT)) == []


@pytest.mark.parametrize("folder", BLIND)
def test_what_works_for_every_kind_of_learning_knows_none_of_them(folder: str) -> None:
    known = {other for here, others in arrows(PROJECT).items() if here.startswith(folder) for other in others}
    assert not {other for other in known if other.startswith(KINDS)}


def test_one_kind_of_learning_knows_nothing_of_another() -> None:
    for here, others in arrows(PROJECT).items():
        mine = next((kind for kind in KINDS if here.startswith(kind)), None)
        strangers = [kind for kind in KINDS if kind != mine]
        assert mine is None or not [other for other in others if other.startswith(tuple(strangers))]


def test_dags_import_nothing_that_finds_or_reads_other_packages() -> None:
    seen: set[Path] = set()
    queue = sorted((PROJECT / "dags").rglob("*.py"))
    while queue:
        current = queue.pop()
        if current not in seen:
            seen.add(current)
            queue.extend(_imports(current, PROJECT))
    assert PROJECT / "tasks" / "pipeline" / "graph.py" in seen
    assert not [path for path in seen if path.name in ("loader.py", "distributions.py", "plugins.py")]


def test_the_root_of_the_pipeline_is_tidy() -> None:
    assert {path.name for path in (PROJECT / "tasks").glob("*.py")} == {"__init__.py", "__main__.py"}


def test_a_circle_is_found(tmp_path: Path) -> None:
    for name, text in (("a/one.py", "from tasks.b.two import x\n"), ("b/two.py", "def f():\n    import tasks.a.one\n")):
        path = tmp_path / "tasks" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    found = circle(arrows(tmp_path, ("tasks",)))
    assert set(found) == {"tasks/a", "tasks/b"}
