"""This module reads the pipeline from dvc.yaml: every runner builds its tasks from it.

Standard library and PyYAML only, because the orchestrator's environment imports this module. Of DVC's templating it
understands what our dvc.yaml uses: `${a.b}` inside strings, and `foreach` over a mapping (`${key}`, `${item.x}`) or a
list (`${item}`). A test compares the result with DVC's own resolver.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from tasks.core.documents import read_mapping
from tasks.core.errors import ConfigError

CANDIDATES, REFITTED = "artifacts/candidates", "artifacts/refit"
_PLACEHOLDER = re.compile(r"\$\{\s*([\w.\-]+)\s*\}")


class GraphError(ValueError):
    """dvc.yaml cannot be read as a pipeline; the message names the stage and the key."""


@dataclass(frozen=True)
class Stage:
    """A stage is one node. `params` are (file, dotted key) pairs; `upstream` names the stages whose outputs it reads.

    `meta` is for the runners: `timeout_minutes`, and `trigger: all_done` for a stage that runs even when
    an upstream one did not finish.
    """

    name: str
    cmd: str
    deps: tuple[str, ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    outs: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    desc: str = ""
    always_changed: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def runs_always(self) -> bool:
        """Return whether it runs even when an upstream stage failed."""
        return self.meta.get("trigger") == "all_done"


@dataclass(frozen=True)
class Graph:
    """A graph holds all stages by name, upstream ones first."""

    stages: Mapping[str, Stage]

    def ancestors(self, name: str) -> tuple[str, ...]:
        """Return every stage that `name` depends on, directly or not, upstream ones first."""
        wanted: set[str] = set()
        queue = list(self.stages[name].upstream)
        while queue:
            current = queue.pop()
            if current not in wanted:
                wanted.add(current)
                queue.extend(self.stages[current].upstream)
        return tuple(stage for stage in self.stages if stage in wanted)


def refit_variables(rows: str | None) -> dict[str, Any]:
    """Return the variables of dvc.yaml that follow from a workload's `refit`: its stages, and what is judged."""
    return {"refit": [rows], "candidates": REFITTED} if rows else {"refit": [], "candidates": CANDIDATES}


def teacher_variables(kept: Mapping[str, Any], teachers: Iterable[str]) -> dict[str, Any]:
    """Return the variables of dvc.yaml that follow from `teachers.<name>.every`: the kept ones, and all others."""
    return {"kept": dict(kept), "taught": [name for name in teachers if name not in kept]}


def covers(parent: str, path: str) -> bool:
    """Return whether `path` is `parent` or lies below it."""
    above = _parts(parent)
    return _parts(path)[: len(above)] == above


@cache
def _parts(path: str) -> tuple[str, ...]:
    """Return a path's parts; a graph compares each of its paths with each output."""
    return PurePosixPath(path).parts


def load_graph(text: str, variables: Mapping[str, Any]) -> Graph:
    """Resolve the text of a dvc.yaml with the variables of a run.yaml (or of a workload's section).

    Raises GraphError on a section without teachers, an unknown variable, an unsupported construct, two stages that
    write one path, or a cycle.
    """
    if "code" not in variables and isinstance(variables.get("problem"), Mapping):
        # Only run.yaml says where the code of a kind of learning is; for a section's graph a name will do.
        code = {"problem": f"tasks/problems/{variables['problem'].get('kind')}"}
        teachers = variables.get("teachers")
        if not isinstance(teachers, Mapping) or not teachers:
            raise GraphError("dvc.yaml: the section names no `teachers`, whose stages it repeats; name at least one")
        kept = {name: None for name, item in teachers.items() if isinstance(item, Mapping) and item.get("every")}
        further = {**refit_variables(variables.get("refit")), **teacher_variables(kept, teachers)}
        variables = {**variables, "code": {**code, **further}}
    try:
        document = read_mapping(text, "dvc.yaml")
    except ConfigError as error:
        raise GraphError(str(error)) from error
    if not isinstance(document.get("stages"), Mapping):
        raise GraphError("dvc.yaml: expected a mapping `stages`")
    found = [
        _stage(name, body) for top, entry in document["stages"].items() for name, body in _expand(top, entry, variables)
    ]
    return Graph(_ordered(_linked(found)))


def _expand(
    top: str, entry: Mapping[str, Any], variables: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if "matrix" in entry:
        raise GraphError(f"dvc.yaml: stages.{top}: matrix is not supported, use foreach")
    if "foreach" not in entry:
        yield top, _resolve(entry, variables, top)
        return
    match = _PLACEHOLDER.fullmatch(entry["foreach"]) if isinstance(entry["foreach"], str) else None
    items = _lookup(match.group(1), variables, top) if match else entry["foreach"]
    if isinstance(items, Mapping):
        for key, item in items.items():
            yield f"{top}@{key}", _resolve(entry["do"], {**variables, "key": key, "item": item}, top)
    elif isinstance(items, list) and not any(isinstance(item, Mapping | list) for item in items):
        for item in items:
            yield f"{top}@{item}", _resolve(entry["do"], {**variables, "item": item}, top)
    else:
        raise GraphError(f"dvc.yaml: stages.{top}.foreach: expected a mapping or a list of plain values")


def _resolve(value: Any, variables: Mapping[str, Any], stage: str) -> Any:
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: str(_lookup(match.group(1), variables, stage)), value)
    if isinstance(value, Mapping):
        return {_resolve(key, variables, stage): _resolve(item, variables, stage) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, variables, stage) for item in value]
    return value


def _lookup(path: str, variables: Mapping[str, Any], stage: str) -> Any:
    value: Any = variables
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise GraphError(f"dvc.yaml: stages.{stage}: unknown variable ${{{path}}}")
        value = value[part]
    return value


def _stage(name: str, body: Mapping[str, Any]) -> Stage:
    params: list[tuple[str, str]] = []
    for entry in body.get("params", ()):
        if isinstance(entry, str):
            params.append(("params.yaml", entry))
        else:
            params.extend((file, key) for file, keys in entry.items() for key in keys)
    outs = tuple(next(iter(out)) if isinstance(out, Mapping) else out for out in body.get("outs", ()))
    if not isinstance(body.get("cmd"), str):
        raise GraphError(f"dvc.yaml: stages.{name}.cmd: expected one command")
    return Stage(
        name=name,
        cmd=body["cmd"],
        deps=tuple(body.get("deps", ())),
        params=tuple(params),
        outs=outs,
        desc=body.get("desc", ""),
        always_changed=bool(body.get("always_changed", False)),
        meta=body.get("meta", {}),
    )


def _linked(stages: list[Stage]) -> dict[str, Stage]:
    writers: dict[str, str] = {}
    for stage in stages:
        for out in stage.outs:
            for other, writer in writers.items():
                if covers(out, other) or covers(other, out):
                    raise GraphError(f"dvc.yaml: stages {writer} and {stage.name} both write {out}")
            writers[out] = stage.name
    linked = {}
    for stage in stages:
        upstream = {
            writer
            for dep in stage.deps
            for out, writer in writers.items()
            if (covers(dep, out) or covers(out, dep)) and writer != stage.name
        }
        ordered = tuple(other.name for other in stages if other.name in upstream)
        linked[stage.name] = Stage(**{**stage.__dict__, "upstream": ordered})
    return linked


def _ordered(stages: dict[str, Stage]) -> dict[str, Stage]:
    done: dict[str, Stage] = {}
    while len(done) < len(stages):
        ready = [
            name
            for name, stage in stages.items()
            if name not in done and all(parent in done for parent in stage.upstream)
        ]
        if not ready:
            raise GraphError(f"dvc.yaml: these stages form a cycle: {', '.join(sorted(set(stages) - set(done)))}")
        done.update((name, stages[name]) for name in ready)
    return done
