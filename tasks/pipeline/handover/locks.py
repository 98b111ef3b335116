"""This module holds the inputs of a stage: read from its lock, foretold before it runs, and compared in words.

Digests are DVC's own: MD5 of a file's bytes; for a folder, MD5 of the JSON list of its files' digests and relative
paths, with the suffix `.dir`. A test holds them against what DVC writes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, IntegrityError
from tasks.pipeline.graph import Graph, Stage, covers
from tasks.pipeline.handover import plugins

Lock = Mapping[str, Any]
Tree = list[dict[str, str]]
IGNORED = ("__pycache__", "*.pyc", ".*_cache", ".DS_Store")


@dataclass(frozen=True)
class StageInputs:
    """These inputs decide a stage's outputs. `deps`: path -> digest; `params`: `file:key` -> value."""

    cmd: str
    params: Mapping[str, Any]
    deps: Mapping[str, str]

    @property
    def key(self) -> str:
        """Return SHA-256 of the canonical form: equal inputs, equal key."""
        text = json.dumps([self.cmd, self.params, self.deps], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def project_files(root: Path) -> list[Path]:
    """Return the files below `root` (or `root` itself), without the names in .dvcignore, sorted."""
    if root.is_file():
        return [root]
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not any(fnmatch(part, rule) for part in path.relative_to(root).parts for rule in IGNORED)
    )


def tree_digest(tree: Tree) -> str:
    """Return DVC's digest of a folder from its files: `md5` and `relpath` of each."""
    entries = sorted(tree, key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def path_digest(path: Path) -> str:
    """Return DVC's digest of a file or folder on this disk. Raises ConfigError when there is none."""
    if not path.exists():
        raise ConfigError(f"dvc.yaml: dependency {path} does not exist; is NIGHTSTILL_PROJECT the project's folder?")

    def md5(file: Path) -> str:
        return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()

    if path.is_file():
        return md5(path)
    return tree_digest([{"md5": md5(f), "relpath": f.relative_to(path).as_posix()} for f in project_files(path)])


def outputs(lock: Lock) -> dict[str, str]:
    """Return path -> digest of each output of the stage."""
    return {entry["path"]: entry["md5"] for entry in lock.get("outs", ())}


def output_entries(lock: Lock) -> dict[str, Mapping[str, Any]]:
    """Return path -> `md5`, `size` in bytes and, of a folder, `nfiles` of each output of the stage."""
    return {entry["path"]: entry for entry in lock.get("outs", ())}


def from_lock(lock: Lock) -> StageInputs:
    """Return the inputs that a finished stage really had."""
    return StageInputs(
        cmd=lock["cmd"],
        params={f"{file}:{key}": value for file, keys in lock.get("params", {}).items() for key, value in keys.items()},
        deps={entry["path"]: entry["md5"] for entry in lock.get("deps", ())},
    )


def foretell(
    stage: Stage,
    graph: Graph,
    upstream: Mapping[str, Lock],
    files: Mapping[str, Mapping[str, Any]],
    project: Path,
    read_tree: Callable[[str], Tree],
) -> StageInputs:
    """Return the inputs that `stage` would have now.

    `upstream`: locks by stage name. `files`: parsed parameter files by name. `read_tree`: the file list of a folder's
    digest, from the DVC remote (a dependency may span several stages' outputs).
    """
    written = {path: digest for name in stage.upstream for path, digest in outputs(upstream[name]).items()}
    deps = {}
    for dep in stage.deps:
        inner = {out: digest for out, digest in written.items() if covers(dep, out)}
        if dep in written:
            deps[dep] = written[dep]
        elif inner:
            deps[dep] = tree_digest(
                [entry for out, digest in inner.items() for entry in _below(dep, out, digest, read_tree)]
            )
        elif any(covers(out, dep) for other in graph.stages.values() for out in other.outs):
            raise ConfigError(f"dvc.yaml: stages.{stage.name}: depend on the whole output, not on {dep} inside it")
        else:
            deps[dep] = path_digest(project / dep)
    return StageInputs(
        cmd=stage.cmd,
        params=tracked(stage, files),
        deps=deps,
    )


def tracked(stage: Stage, files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the parameters of a stage, by `file:key`. Raises ConfigError naming one that is missing."""
    return {f"{file}:{key}": _value(files[file], key, file) for file, key in stage.params}


def _below(dep: str, out: str, digest: str, read_tree: Callable[[str], Tree]) -> Tree:
    inner = out[len(dep) :].strip("/")
    if not digest.endswith(".dir"):
        return [{"md5": digest, "relpath": inner}]
    return [{"md5": entry["md5"], "relpath": f"{inner}/{entry['relpath']}"} for entry in read_tree(digest)]


def _value(data: Mapping[str, Any], key: str, file: str) -> Any:
    value: Any = data
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise ConfigError(f"{file}: {key}: missing, but dvc.yaml tracks it")
        value = value[part]
    return value


def differences(before: StageInputs, now: StageInputs, produced: set[str]) -> list[str]:
    """Return the changes in words. `produced`: dependencies that other stages wrote (data, the rest is code)."""
    found = []
    if before.cmd != now.cmd:
        found.append(f"command: {before.cmd} -> {now.cmd}")
    found.extend(
        f"{'data' if path in produced else 'code'} {path} changed"
        for path in sorted(set(before.deps) | set(now.deps))
        if before.deps.get(path) != now.deps.get(path)
    )
    for key in sorted(set(before.params) | set(now.params)):
        if key.startswith(plugins.PREFIX):
            lines = plugins.changes(before.params.get(key), now.params.get(key))
            found.extend(line for line in lines if line not in found)
        elif before.params.get(key) != now.params.get(key):
            found.extend(_changed(key, before.params.get(key), now.params.get(key)))
    return found


def _changed(key: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return [
            line
            for inner in sorted(set(before) | set(now))
            if before.get(inner) != now.get(inner)
            for line in _changed(f"{key}.{inner}", before.get(inner), now.get(inner))
        ]
    return [f"param {key}: {before} -> {now}"]


def check_lock(lock: Lock, expected: StageInputs, stage: str) -> None:
    """Refuse a lock whose inputs differ from the foretold ones (a file changed while the stage ran)."""
    found = differences(expected, from_lock(lock), set())
    if found:
        raise IntegrityError(f"{stage}: its inputs changed while it ran: {'; '.join(found)}; start it again")
