"""This module writes the model card of a release, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.config.run import Run
from tasks.tables.facts import table_facts_of


def model_card(
    run: Run,
    verdict: Mapping[str, Any],
    snapshot: Mapping[str, Any],
    contract: Mapping[str, Any],
    lineage: Mapping[str, str],
) -> str:
    """Return Markdown text, its sections after Mitchell et al., "Model Cards for Model Reporting", 2019.

    Equal arguments give equal text. `verdict`, `snapshot`, `contract`: verdict.json, the snapshot's about.json,
    contract.json. `lineage`: the model's origins, as label -> value. A value that was not measured shows as a dash.
    """
    candidate = verdict.get("winner")
    title = candidate or "no candidate"
    parts = [
        f"# {run.title}: {title}, as of {run.as_of}",
        run.description,
        "## Intended use",
        f"Scoring of the `{run.workload}` table ({run.problem.kind}) with the feature code of this project, under the "
        f"feature contract below; {_retrained(run)}. Owner: {run.owner}. "
        "It is not meant for entities, columns or periods outside its data, nor for decisions about single persons.",
        "## Data",
        _bullets(_data(snapshot)),
        "## Inputs and output",
        _bullets([*_inputs(contract), f"output: float32, batch × {_shape(contract.get('output_shape', ()))}"]),
        "## Metrics",
        f"On {_number(verdict.get('rows'))} rows that neither training nor the choice of the candidate has seen, "
        f"computed with ONNX Runtime. Primary error: {verdict.get('primary_metric', '–')}; lower is better.",
        _models(verdict),
        "## Gates",
        f"Verdict: **{verdict.get('verdict')}** — {verdict.get('reason', '')}",
        _gates(verdict, candidate),
        "## Limits",
        _bullets(_limits(run)),
        "## Lineage",
        _bullets(f"{label}: {value}" for label, value in lineage.items() if value),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _retrained(run: Run) -> str:
    return f"retrained on the schedule `{run.schedule}` ({run.timezone})" if run.schedule else "retrained by hand"


def _data(snapshot: Mapping[str, Any]) -> list[str]:
    lines = [f"source: {snapshot.get('source', '–')}"]
    tables = table_facts_of(snapshot)
    for name, facts in tables.items():
        prefix = f"{name}: " if len(tables) > 1 else ""
        lines.append(f"{prefix}{_number(facts.get('rows'))} rows, {_number(facts.get('entities'))} entities")
        lines.append(f"{prefix}{facts.get('first_date')} to {facts.get('last_date')}, as of {snapshot.get('as_of')}")
    if "shift_weeks" in snapshot:
        lines.append(f"a replay: the source's days are shown {snapshot['shift_weeks']} weeks later than they were")
    return [*lines, *snapshot.get("notes", ())]


def _inputs(contract: Mapping[str, Any]) -> list[str]:
    inputs: Mapping[str, Sequence[Any]] = contract.get("inputs", {})
    names = contract.get("order", list(inputs))
    return [f"`{name}`: {inputs[name][0]}, batch × {_shape(inputs[name][1])}" for name in names]


def _models(verdict: Mapping[str, Any]) -> str:
    models: Sequence[Mapping[str, Any]] = verdict.get("models", ())
    metrics = sorted({name for model in models for name in model.get("metrics") or {}})
    header = ["model", "role", str(verdict.get("primary_metric", "error")), *metrics, "parameters", "bytes"]
    rows = [
        [
            f"**{model['name']}**" if model["name"] == verdict.get("winner") else str(model["name"]),
            str(model["role"]),
            _number(model.get("error")),
            *(_number((model.get("metrics") or {}).get(name)) for name in metrics),
            _number(model.get("parameters")),
            _number(model.get("bytes")),
        ]
        for model in models
    ]
    return _table(header, rows)


def _gates(verdict: Mapping[str, Any], candidate: str | None) -> str:
    rows = [
        [
            str(gate["gate"]),
            "yes" if gate["passed"] else "**no**",
            _number(gate.get("observed")),
            _number(gate.get("limit")),
            str(gate["rule"]) + (f" ({gate['note']})" if gate.get("note") else ""),
        ]
        for gate in verdict.get("gates", ())
        if candidate in (None, gate["candidate"])
    ]
    return _table(["gate", "passed", "observed", "limit", "rule"], rows)


def _limits(run: Run) -> list[str]:
    lines = [
        f"It has seen nothing after {run.as_of}: later changes (new entities, assortments) are unknown to it.",
        "Entities that are new since then get the contract's code for unknown ones, and poorer results.",
        "Errors are averages over the evaluation rows; single entities can be far worse: see segments.json of the run.",
    ]
    if run.problem.options.get("calibrate"):
        lines.append(
            "Its outputs are calibrated on validation rows, within its own graph. That holds as far as later rows are "
            "like them; over time they change."
        )
    declared = ", ".join(f"{item.kind} {item.level:g}" for item in run.gates.robustness)
    if declared:
        lines.append(f"Its robustness was measured under these disturbances only: {declared}.")
    return lines


def _bullets(lines: Any) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "1"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
