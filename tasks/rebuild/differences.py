"""This module compares two releases by their files, but for the latency, which is measured here and now."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.core.documents import read_yaml
from tasks.pipeline.handover.plugins import named
from tasks.releases.ledger import Entry
from tasks.releases.origin import CODE, LOCK, SURROUNDINGS, changed_files, code_dependencies, lock_stages
from tasks.releases.store import MODEL, ReleaseStore
from tasks.tables.facts import FACTS, table_facts_of

REQUIREMENTS = "requirements/"
FILES_SHOWN = 12
RULE = {"batch": 1, "threads": 1, "rounds": 30}


@dataclass(frozen=True)
class Row:
    """A row is one fact of both releases; None where a release lacks it."""

    name: str
    a: Any
    b: Any
    note: str = ""

    @property
    def equal(self) -> bool:
        """Return whether both releases have the same value."""
        return bool(self.a == self.b)

    @property
    def change(self) -> float | None:
        """Return (b - a) / a of two numbers."""
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (self.a, self.b))
        return (self.b - self.a) / self.a if numbers and self.a else None


@dataclass(frozen=True)
class Differences:
    """Differences are rows by section; numbers of releases `a` and `b`."""

    workload: str
    a: int
    b: int
    sections: Mapping[str, tuple[Row, ...]]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, all rows, whether they differ or not."""
        sections = {
            name: [
                {"name": row.name, "a": row.a, "b": row.b, "equal": row.equal}
                | ({"change": row.change} if row.change is not None else {})
                | ({"note": row.note} if row.note else {})
                for row in rows
            ]
            for name, rows in self.sections.items()
        }
        return {"workload": self.workload, "a": self.a, "b": self.b, "sections": sections}


@dataclass(frozen=True)
class _Release:
    """This holds the compared files of a release; empty where the release does not have one."""

    lock: bytes
    run: Mapping[str, Any]
    snapshot: Mapping[str, Any]
    verdict: Mapping[str, Any]
    contract: Mapping[str, Any]
    surroundings: Mapping[str, Any]
    code: Mapping[str, str]
    size: int
    model: bytes

    @property
    def stages(self) -> Sequence[Mapping[str, Any]]:
        return [facts for facts in self.surroundings.get("stages", {}).values() if facts]


def compare(releases: ReleaseStore, a: Entry, b: Entry, *, latency: bool = True) -> Differences:
    """Compare release `b` with release `a`. With `latency` both models are timed side by side, which takes a second.

    Raises IntegrityError when a file does not hold, Pruned when it is gone.
    """
    before, after = _load(releases, a), _load(releases, b)
    pair = (before, after)
    sections = {
        "data": _rows([_data(one) for one in pair]),
        "code": _code(before, after),
        "params": _rows(
            [_flat(_without(one.run, "gates", "champion", "dry_run", "answer", "plugins", "code")) for one in pair]
        ),
        "libraries": _rows([_libraries(one) for one in pair]),
        "gates": _rows([_flat(one.run.get("gates", {})) for one in pair]),
        "metrics": _rows([_metrics(one) for one in pair]),
        "size": _rows([_size(one) for one in pair]),
    }
    if latency:
        sections["latency"] = _latency(before, after)
    return Differences(releases.workload, a.release, b.release, sections)


def _load(releases: ReleaseStore, entry: Entry) -> _Release:
    listed = releases.files(entry)

    def data(name: str) -> bytes:
        return releases.read(entry, name) if name in listed else b""

    def document(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(data(name) or b"{}")
        return found

    return _Release(
        lock=data(LOCK),
        run=read_yaml(data("run.yaml")) or {},
        snapshot=document("snapshot.json"),
        verdict=document("verdict.json"),
        contract=document("contract.json"),
        surroundings=document(SURROUNDINGS),
        code=document(CODE),
        size=listed[MODEL].size,
        model=data(MODEL),
    )


def _rows(values: Sequence[Mapping[str, Any]]) -> tuple[Row, ...]:
    a, b = values
    return tuple(Row(name, a.get(name), b.get(name)) for name in dict.fromkeys((*a, *b)))


def _without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested values by dotted name."""
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, Mapping) else None
    if items is None or not value:
        return {prefix: value} if prefix else {}
    found: dict[str, Any] = {}
    for name, inner in items:
        found |= _flat(inner, f"{prefix}.{name}" if prefix else str(name))
    return found


def _data(one: _Release) -> dict[str, Any]:
    outs = lock_stages(one.lock).get("snapshot", {}).get("outs", ())
    tables = table_facts_of(one.snapshot)
    facts: dict[str, Any] = dict(tables) if len(tables) > 1 else dict(next(iter(tables.values()), {}))
    return (
        _flat(_without(one.snapshot, "tables", *FACTS))
        | _flat(facts)
        | {f"digest of {out['path']}": out["md5"] for out in outs}
    )


def _code(a: _Release, b: _Release) -> tuple[Row, ...]:
    files = changed_files(a.code, b.code) if a.code and b.code else []
    rows = [Row("git commit", a.surroundings.get("git_commit"), b.surroundings.get("git_commit"))]
    digests = [_code_digests(one) for one in (a, b)]
    for row in _rows(digests):
        mine = [file for file in files if file.split(" ")[0] == row.name or file.startswith(f"{row.name}/")]
        more = f" and {len(mine) - FILES_SHOWN} more" if len(mine) > FILES_SHOWN else ""
        rows.append(Row(row.name, row.a, row.b, "; ".join(mine[:FILES_SHOWN]) + more))
    return tuple(rows)


def _code_digests(one: _Release) -> dict[str, str]:
    found = code_dependencies(one.lock)
    return {path: found[path] for path in sorted(found) if not path.startswith(REQUIREMENTS)}


def _libraries(one: _Release) -> dict[str, Any]:
    locks = {
        path: digest for path, digest in sorted(code_dependencies(one.lock).items()) if path.startswith(REQUIREMENTS)
    }
    versions: dict[str, set[str]] = {}
    for facts in one.stages:
        for name, version in {"python": facts.get("python", ""), **facts.get("libraries", {})}.items():
            versions.setdefault(name, set()).add(version)
    packages = {f"plugin {name}": _package(*found) for name, found in sorted(named(one.run.get("plugins")).items())}
    return locks | packages | {name: ", ".join(sorted(found)) for name, found in sorted(versions.items())}


def _package(version: str, sha256: str) -> str:
    return f"{version} ({sha256[:12]})"


def _metrics(one: _Release) -> dict[str, Any]:
    verdict = one.verdict
    rows = {model["name"]: model for model in verdict.get("models", ())}
    winner = rows.get(verdict.get("winner"), {})
    metric = verdict.get("primary_metric", "error")
    found = {
        metric: winner.get("error"),
        **(winner.get("metrics") or {}),
        "validation error": winner.get("valid_error"),
    }
    others = {
        f"{metric} of the {model['role']}": model.get("error")
        for model in rows.values()
        if model.get("role") in ("teacher", "naive")
    }
    return found | others | {"evaluated rows": verdict.get("rows")} if verdict else {}


def _size(one: _Release) -> dict[str, Any]:
    rows = {model["name"]: model for model in one.verdict.get("models", ())}
    return {"bytes": one.size, "parameters": rows.get(one.verdict.get("winner"), {}).get("parameters")}


def _latency(a: _Release, b: _Release) -> tuple[Row, ...]:
    """Time both models in the same rounds, on inputs under their contract, by the settings of `b`'s gates."""
    from tasks.compression.timing import machine, measure_all

    rule = RULE | {name: value for name, value in b.run.get("gates", {}).get("latency", {}).items() if name in RULE}
    same = a.contract.get("inputs") == b.contract.get("inputs")
    try:
        inputs = [_inputs(one.contract, rule["batch"]) for one in (a, b)]
        first, second = (
            measure_all([a.model, b.model], inputs[0], **rule)
            if same
            else (measure_all([one.model], given, **rule)[0] for one, given in zip((a, b), inputs, strict=True))
        )
    except Exception as error:  # noqa: BLE001 the runtime's own: a model that cannot be run has no latency
        return (Row("p50 µs", None, None, f"cannot be measured: {' '.join(str(error).split())[:200]}"),)
    here = machine()
    note = f"batch {rule['batch']}, {rule['threads']} threads, {here['processor']}, ONNX Runtime {here['onnxruntime']}"
    note += "" if same else "; one after the other, as their inputs differ: compare the ratios"
    return (
        Row("p50 µs", round(first.p50_us, 2), round(second.p50_us, 2), note),
        Row("p95 µs", round(first.p95_us, 2), round(second.p95_us, 2)),
        Row("p50 / reference model's", round(first.ratio_p50, 4), round(second.ratio_p50, 4)),
        Row("p95 / reference model's", round(first.ratio_p95, 4), round(second.ratio_p95, 4)),
    )


def _inputs(contract: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Return some valid inputs: normal numbers, and code 0 of every category."""
    import numpy as np

    random = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for name, (dtype, shape) in contract.get("inputs", {}).items():
        number = np.issubdtype(np.dtype(dtype), np.floating)
        size = (rows, *shape)
        found[name] = random.standard_normal(size).astype(dtype) if number else np.zeros(size, dtype)
    return found
