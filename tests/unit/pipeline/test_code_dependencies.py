"""dvc.yaml must name all code that a stage runs, or an old result would be reused after a change."""

import ast
from datetime import date
from functools import cache
from pathlib import Path

import pytest

from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.pipeline.graph import Graph, covers, load_graph
from tests.unit.imports import imported_names, module_file

PROJECT = Path(__file__).parents[3]
# What only moves bytes or finds files: it cannot change what a stage computes.
PLUMBING = {
    f"tasks/{name}.py"
    for name in (
        *("__init__", "pipeline/resources", "stages/context"),
        *(
            "core/databases",
            "core/documents",
            "core/errors",
            "core/machine",
            "core/params",
            "core/redaction",
            "core/settings",
            "core/storage",
        ),
    )
}
# What checks the whole of run.yaml before a stage reads its own part, every field of which DVC compares.
CHECKED = {PROJECT / "tasks" / "stages" / "context.py", *(PROJECT / "tasks" / "config").glob("*.py")}


def _only_words(path: Path) -> bool:
    """Whether a file holds no code but a docstring."""
    return not [node for node in ast.parse(path.read_text()).body if not isinstance(node, ast.Expr)]


@cache
def imported(path: Path) -> frozenset[Path]:
    """Files of this project that `path` imports anywhere, packages' __init__ included."""
    found: set[Path] = set()
    for name in imported_names(path):
        parts = name.split(".")
        if parts[0] in ("tasks", "serving"):
            prefixes = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
            found |= {file for prefix in prefixes if (file := module_file(prefix, PROJECT))}
    return frozenset(found)


def closure(*paths: Path) -> set[Path]:
    """Every file of this project that running `path` can import."""
    seen: set[Path] = set()
    queue = [*paths]
    while queue:
        current = queue.pop()
        if current not in seen:
            seen.add(current)
            queue.extend(imported(current) if current not in CHECKED else ())
    return seen


def undeclared(deps: tuple[str, ...], *starts: Path) -> list[str]:
    """Imported files that no dependency covers."""
    files = {
        path.relative_to(PROJECT).as_posix() for path in closure(*starts) - CHECKED if not _only_words(path)
    } - PLUMBING
    return sorted(file for file in files if not any(covers(dep, file) for dep in deps))


def _graph(workload: str = "sales") -> Graph:
    section = load_workload(PROJECT / "params.yaml", workload)
    run = Run(**dict(section), workload=workload, as_of=date(2026, 1, 1), champion=0)
    return load_graph((PROJECT / "dvc.yaml").read_text(), run.model_dump(mode="json"))


STAGES = ("snapshot", "validate", "features", "teach", "distil", "compress", "evaluate", "promote")
KINDS = {
    "sales": "forecasting", "customers": "tabular", "recommendation": "ranking", "text": "text", "images": "vision",
}  # fmt: skip


def _deps(workload: str, name: str) -> tuple[str, ...]:
    return next(stage.deps for stage in _graph(workload).stages.values() if stage.name.split("@")[0] == name)


@pytest.mark.parametrize("workload", KINDS)
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_all_code_that_it_imports(workload: str, name: str) -> None:
    """A kind of learning and its models are loaded by name, so the kind's files are starts of their own."""
    deps = _deps(workload, name)
    kind = PROJECT / "tasks" / "problems" / KINDS[workload]
    loaded = [] if name == "promote" else [*kind.glob("*.py")]
    loaded += [*(kind / "models").rglob("*.py")] if name in ("teach", "distil", "compress") else []
    assert undeclared(deps, PROJECT / "tasks" / "stages" / f"{name}.py", *loaded) == []


@pytest.mark.parametrize(("workload", "other"), [("sales", "tabular"), ("customers", "forecasting")])
@pytest.mark.parametrize("name", STAGES)
def test_a_change_of_one_kind_of_learning_leaves_the_stages_of_another_alone(
    workload: str, other: str, name: str
) -> None:
    changed = f"tasks/problems/{other}/problem.py"
    assert not any(covers(dep, changed) for dep in _deps(workload, name))


def test_a_missing_declaration_is_noticed() -> None:
    locks = PROJECT / "tasks" / "pipeline" / "handover" / "locks.py"
    assert "tasks/pipeline/graph.py" in undeclared(("tasks/pipeline/handover",), locks)
