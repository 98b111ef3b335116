"""dvc.yaml must name all code that a stage runs, or an old result would be reused after a change."""

import ast
from datetime import date
from functools import cache
from pathlib import Path

import pytest

from tasks.config import Run, load_workload
from tasks.graph import Graph, covers, load_graph

PROJECT = Path(__file__).parents[2]
# What only moves bytes or finds files: it cannot change what a stage computes.
PLUMBING = {f"tasks/{name}.py" for name in ("__init__", "errors", "resources", "settings", "storage", "stages/context")}


def _module_file(name: str) -> Path | None:
    base = PROJECT.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _only_words(path: Path) -> bool:
    """Whether a file holds no code but a docstring."""
    return not [node for node in ast.parse(path.read_text()).body if not isinstance(node, ast.Expr)]


@cache
def imported(path: Path) -> frozenset[Path]:
    """Files of this project that `path` imports anywhere, packages' __init__ included."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] == "tasks":
                parts = name.split(".")
                prefixes = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
                found |= {file for prefix in prefixes if (file := _module_file(prefix))}
    return frozenset(found)


def closure(path: Path) -> set[Path]:
    """Every file of this project that running `path` can import."""
    seen: set[Path] = set()
    queue = [path]
    while queue:
        current = queue.pop()
        if current not in seen:
            seen.add(current)
            queue.extend(imported(current))
    return seen


def undeclared(start: Path, deps: tuple[str, ...]) -> list[str]:
    """Imported files that no dependency covers."""
    files = {path.relative_to(PROJECT).as_posix() for path in closure(start) if not _only_words(path)} - PLUMBING
    return sorted(file for file in files if not any(covers(dep, file) for dep in deps))


def _graph(workload: str = "sales") -> Graph:
    section = load_workload(PROJECT / "params.yaml", workload)
    run = Run(**dict(section), workload=workload, as_of=date(2026, 1, 1), champion=0)
    return load_graph((PROJECT / "dvc.yaml").read_text(), run.model_dump(mode="json"))


@pytest.mark.parametrize(
    "name", ["snapshot", "validate", "features", "teach", "distil", "compress", "evaluate", "promote"]
)
def test_a_stage_declares_all_code_that_it_imports(name: str) -> None:
    stage = next(stage for stage in _graph().stages.values() if stage.name.split("@")[0] == name)
    assert undeclared(PROJECT / "tasks" / "stages" / f"{name}.py", stage.deps) == []


def test_a_missing_declaration_is_noticed() -> None:
    assert "tasks/graph.py" in undeclared(PROJECT / "tasks" / "handover" / "locks.py", ("tasks/handover",))
