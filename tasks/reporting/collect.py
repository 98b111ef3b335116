"""This module gathers the facts of a run from its stages' outputs. A missing file leaves its part empty."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.config.run import Run
from tasks.pipeline.handover.manifest import Manifest
from tasks.reporting.drift import drift_table
from tasks.reporting.energy import per_thousand
from tasks.reporting.facts import (
    Check,
    Comparison,
    Compression,
    Fold,
    GateTable,
    Headline,
    LatencyRow,
    LossCurve,
    ModelFacts,
    Picture,
    ReportFacts,
    Rule,
    Search,
    Segment,
    StageRecord,
    Step,
    Student,
    Trial,
)
from tasks.tables.facts import table_facts_of


@dataclass(frozen=True)
class Material:
    """Material is all that the page can read.

    `stages`: names in pipeline order, `manifests` those of the run, `pages`: (stage, file) -> bytes of pages that
    other stages wrote; both empty outside a run. `lineage`: what the caller knows beyond the artifacts.
    """

    run: Run
    artifacts: Path
    run_id: str = ""
    stages: Sequence[str] = ()
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    pages: Mapping[tuple[str, str], bytes] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)

    @property
    def candidates(self) -> str:
        """Return the folder of the candidates that were judged, below the artifacts."""
        return PurePosixPath(self.run.code.candidates).name

    def json(self, path: str) -> Any:
        """Return JSON of a file below the artifacts, None if a stage did not write it."""
        file = self.artifacts / path
        return json.loads(file.read_text()) if file.is_file() else None

    def page(self, stage: str, name: str) -> Any:
        """Return JSON of a page, None if there is none."""
        data = self.pages.get((stage, name))
        return None if data is None else json.loads(data)


def collect(material: Material) -> ReportFacts:
    """Return all facts of a run, however far it came."""
    run = material.run
    verdict = material.json("evaluation/verdict.json") or {}
    latency = material.page("evaluate", "latency.json") or {}
    about = material.json("snapshot/about.json") or {}
    outcome = material.json("promotion/outcome.json") or {}
    quantiles = run.problem.options.get("quantiles", ())
    return ReportFacts(
        workload=run.workload,
        title=run.title,
        description=run.description,
        owner=run.owner,
        as_of=run.as_of,
        run_id=material.run_id,
        headline=headline(material, verdict, outcome),
        release=outcome.get("release"),
        champion=run.champion,
        metric=_metric(verdict),
        models=models(verdict, latency, list(run.teachers)),
        comparisons=_comparisons(verdict.get("comparison") or {}),
        gates=_gates(verdict, latency),
        pictures=_pictures(material.json("evaluation/examples.json")),
        band=f"{quantiles[-1] - quantiles[0]:.0%}" if len(quantiles) > 1 else "",
        losses=_losses(material),
        students=_students(material),
        compression=_compression(material),
        searches=_searches(material),
        data=_data(about),
        data_notes=tuple(about.get("notes", ())),
        notes=(*_labels(material), *_made_again(material), *_ended_early(material)),
        checks=_checks(material),
        segments=_segments(material.json("evaluation/segments.json")),
        drift=drift_table(material.json("evaluation/drift.json")),
        latency=_latency(latency),
        latency_note=_latency_note(latency),
        joules=per_thousand(latency, list(run.teachers), verdict.get("winner") or _first(verdict)),
        lineage=material.lineage,
        stages=_stages(material),
    )


def headline(material: Material, verdict: Mapping[str, Any], outcome: Mapping[str, Any]) -> Headline:
    """Tell how the run ended: a failure comes before everything else, then promotion's own word, then the verdict's."""
    order = [*material.stages, *sorted(set(material.manifests) - set(material.stages))]
    for stage in order:
        manifest = material.manifests.get(stage)
        if manifest and manifest.status == "failed" and stage != "report":
            return Headline("stopped", manifest.error.removeprefix(f"{stage}: "), stage)
    if outcome:
        return Headline(outcome["outcome"], outcome.get("reason", ""))
    missing = [stage for stage in order if stage != "report" and stage not in material.manifests]
    if material.manifests and missing:
        return Headline("stopped", "it left no result; the log of its task says why", missing[0])
    if verdict:
        return Headline("stopped", f"the verdict is {verdict['verdict']}: {verdict['reason']}", "promote")
    failed = [check for check in _checks(material) if not check.success]
    if failed:
        return Headline("stopped", f"{failed[0].column}: {failed[0].rule}: observed {failed[0].observed}", "validate")
    return Headline("stopped", "no stage has left a result", "")


def _metric(verdict: Mapping[str, Any]) -> str:
    name = str(verdict.get("primary_metric", "error"))
    return name.upper() if len(name) <= 5 and name != "error" else name.replace("_", " ")


def models(verdict: Mapping[str, Any], latency: Mapping[str, Any], teachers: Sequence[str]) -> tuple[ModelFacts, ...]:
    """Return every model of a verdict with its latency, as far as it was measured."""
    gated = {row["model"]: row for row in latency.get("gates", ())}
    alone = {row["model"]: row for row in latency.get("models", ()) if row["batch"] == 1}
    members = [alone[f"teacher {name}"] for name in teachers if f"teacher {name}" in alone]
    # The ensemble is its members one after the other.
    if members and len(members) == len(teachers):
        alone["ensemble"] = {"p50_us": sum(row["p50_us"] for row in members)}
    found = []
    for row in verdict.get("models", ()):
        name, role = row["name"], row["role"]
        key = {"teacher": "ensemble", "champion": "champion"}.get(role, name)
        times = gated.get(name, {}) if role == "candidate" else {}
        times = times or (alone.get(key, {}) if role in ("candidate", "teacher", "champion") else {})
        found.append(
            ModelFacts(
                name=name,
                role=role,
                error=row.get("error"),
                size=row.get("bytes"),
                parameters=row.get("parameters"),
                p50_us=times.get("p50_us"),
                p95_us=times.get("p95_us"),
                metrics=row.get("metrics") or {},
                winner=role == "candidate" and name == verdict.get("winner"),
            )
        )
    return tuple(found)


def _comparisons(found: Mapping[str, Any]) -> dict[str, Comparison]:
    return {
        opponent: Comparison(row["difference"], row["low"], row["high"], row["confidence"])
        for opponent in ("naive", "teacher", "champion")
        if (row := found.get(opponent))
    }


def _gates(verdict: Mapping[str, Any], latency: Mapping[str, Any]) -> tuple[GateTable, ...]:
    """Return a table for each candidate, the winner's first, the others in the order of consideration.

    The verdict withholds the latency ratios, because a clock's numbers must not enter a lock; they come from the page.
    """
    ratios = {
        (row["model"], f"latency/{name}"): row[f"ratio_{name}"]
        for row in latency.get("gates", ())
        for name in ("p50", "p95")
    }
    rules: dict[str, list[Rule]] = {}
    for row in verdict.get("gates", ()):
        observed = ratios.get((row["candidate"], row["gate"]), row["observed"])
        rule = Rule(row["gate"], row["rule"], observed, row["limit"], row["passed"], row.get("note", ""))
        rules.setdefault(row["candidate"], []).append(rule)
    tables = [GateTable(name, tuple(found), name == verdict.get("winner")) for name, found in rules.items()]
    return tuple(sorted(tables, key=lambda table: not table.winner))


def _pictures(examples: Any) -> tuple[Picture, ...]:
    return tuple(
        Picture(
            title=row["title"],
            labels=tuple(row["dates"]),
            past=tuple(row["past"]),
            actual=tuple(row["actual"]),
            curves={name: tuple(line) for name, line in row["curves"].items()},
            low=tuple(row["low"]),
            high=tuple(row["high"]),
            cells=tuple(tuple(line) for line in row.get("cells", ())),
            images=tuple(row.get("images", ())),
        )
        for row in examples or ()
    )


def _losses(material: Material) -> tuple[LossCurve, ...]:
    parts = [("teacher", "teachers", name) for name in material.run.teachers]
    parts += [("student", "students", name) for name in material.run.students]
    found = []
    for kind, folder, name in parts:
        history = material.json(f"{folder}/{name}/history.json")
        if history:
            label = name if name == kind else f"{kind} {name}"
            folds = history if isinstance(history, list) else [history]
            found.append(LossCurve(label, tuple(_fold(fold) for fold in folds)))
    return tuple(found)


def _fold(history: Mapping[str, Any]) -> Fold:
    return Fold(tuple(history["train"]), tuple(history["valid"]), history.get("best"))


def _students(material: Material) -> tuple[Student, ...]:
    """Return all trained students, and mark the ones from which candidates were made."""
    abouts = [material.json(f"{material.candidates}/{recipe}/about.json") or {} for recipe in material.run.recipes]
    chosen = {about.get("student") for about in abouts}
    found = []
    for name, student in material.run.students.items():
        about = material.json(f"students/{name}/about.json")
        if about:
            found.append(Student(name, about["valid_error"], student.alpha, name in chosen))
    return tuple(found)


def _labels(material: Material) -> tuple[str, ...]:
    """Say whose labels students learned from where it is not the rule: out-of-fold ones."""
    if material.run.folds > 1:
        return ()
    return (
        "Teachers were trained in one fold: their soft labels are of training rows that they have learned from, not "
        "out-of-fold.",
    )


def _made_again(material: Material) -> tuple[str, ...]:
    """Say of what was made again with newer rows what it was chosen by."""
    found = []
    for name in material.run.code.refit:
        about = material.json(f"{material.candidates}/{name}/about.json") or {}
        if rows := about.get("rows"):
            found.append(
                f"{name} is {about['of']} made again: {about['student']} learned from {rows['now']:,} rows, up to "
                f"those of the test, and from {rows['before']:,} before. Student, epochs, teachers' weights and recipe "
                f"were chosen then, on validation rows; the validation error told of {name} is that of {about['of']}."
            )
    return tuple(found)


def _ended_early(material: Material) -> tuple[str, ...]:
    """Say of a kept teacher that it was trained with tonight's rows, and why."""
    found = []
    for name in material.run.code.kept:
        kept = (material.json(f"teachers/{name}/about.json") or {}).get("kept", {})
        if why := kept.get("ended"):
            found.append(f"Teacher {name}, kept since {kept['since']}, was trained with tonight's rows: {why}.")
    return tuple(found)


def _compression(material: Material) -> tuple[Compression, ...]:
    found = []
    for recipe in material.run.recipes:
        about = material.json(f"{material.candidates}/{recipe}/about.json")
        if about and about.get("history"):
            history = about["history"]
            timed = (material.page(*latency_page(recipe)) or {}).get("steps") or [{}] * len(history)
            steps = tuple(
                Step(row["step"], row["error"], row["bytes"], times.get("p50_us"))
                for row, times in zip(history, timed, strict=False)
            )
            parity = (about.get("parity") or {}).get("relative")
            found.append(Compression(recipe, steps, about.get("nonzero"), about.get("parameters"), parity))
    return tuple(found)


def latency_page(recipe: str) -> tuple[str, str]:
    """Return stage and file of the times that a recipe's steps took."""
    return f"compress@{recipe}", f"compress@{recipe}.latency.json"


def search_page(recipe: str) -> tuple[str, str]:
    """Return stage and file of the times that a recipe's search measured."""
    return f"compress@{recipe}", f"compress@{recipe}.search.json"


def _searches(material: Material) -> tuple[Search, ...]:
    found = []
    for recipe in material.run.recipes:
        told = material.json(f"{material.candidates}/{recipe}/trials.json")
        if not told:
            continue
        about = material.json(f"{material.candidates}/{recipe}/about.json") or {}
        times = (material.page(*search_page(recipe)) or {}).get("trials", ())
        latency = {row["number"]: row["ratio_p50"] for row in times}
        limits: dict[str, float] = {}
        for row in told["limits"]:
            limits[row["quantity"]] = min(row["most"], limits.get(row["quantity"], row["most"]))
        trials = tuple(_trial(row, latency.get(row["number"])) for row in told["trials"])
        reason = about.get("reason", "")
        found.append(Search(recipe, told["minimise"], limits, trials, told["chosen"], reason))
    return tuple(found)


def _trial(row: Mapping[str, Any], latency: float | None) -> Trial:
    steps = [" ".join([step["kind"], *(f"{k} {v}" for k, v in step.items() if k != "kind")]) for step in row["steps"]]
    return Trial(
        number=row["number"],
        steps=" + ".join(steps) or "as it is",
        numbers=row["numbers"],
        error=row["error"],
        size=row["bytes"],
        epochs=row["epochs"],
        feasible=row["feasible"],
        pruned=row["state"] == "pruned",
        latency=latency,
    )


def _data(about: Mapping[str, Any]) -> dict[str, str]:
    if not about:
        return {}
    data = {"source": str(about["source"])}
    tables = table_facts_of(about)
    for name, facts in tables.items():
        prefix = f"{name}: " if len(tables) > 1 else ""
        data[f"{prefix}rows"] = f"{facts['rows']:,}"
        if facts.get("entities"):
            data[f"{prefix}entities"] = f"{facts['entities']:,}"
        if facts.get("first_date"):
            data[f"{prefix}days"] = f"{facts['first_date']} to {facts['last_date']}"
        if facts.get("mean_target") is not None:
            data[f"{prefix}mean target"] = f"{facts['mean_target']:,.4g}"
        if facts.get("unreadable"):
            data[f"{prefix}unreadable"] = str(facts["unreadable"])
    if about.get("shift_weeks") is not None:
        data["replay"] = f"dates are moved by {about['shift_weeks']} whole weeks"
    return data


def _checks(material: Material) -> tuple[Check, ...]:
    """Return the checks of the snapshot. A failed stage has no outputs, but its pages are kept."""
    result = material.json("validation/result.json") or material.page("validate", "validation.json") or {}
    return tuple(
        Check(
            column=str(row["column"]),
            rule=str(row["rule"]),
            expected=str(row["expected"]),
            observed=str(row["observed"]),
            success=bool(row["success"]),
            count=int(row["count"] or 0),
            sample=tuple({key: str(value) for key, value in line.items()} for line in row["sample"]),
        )
        for row in result.get("checks", ())
    )


def _segments(rows: Any) -> tuple[Segment, ...]:
    return tuple(
        Segment(
            column=row["column"],
            value=row["value"],
            rows=row["rows"],
            error=row["error"],
            champion=row["champion"],
            change=row["change"],
            passed=row["passed"],
        )
        for row in rows or ()
    )


def _first(verdict: Mapping[str, Any]) -> str:
    """Return the first candidate in order of choice that could be run; empty if there is none."""
    rows = (row for row in verdict.get("models", ()) if row["role"] == "candidate" and row.get("error") is not None)
    return next((str(row["name"]) for row in rows), "")


def _latency(latency: Mapping[str, Any]) -> tuple[LatencyRow, ...]:
    return tuple(
        LatencyRow(row["model"], row["batch"], row["p50_us"], row["p95_us"], row.get("ratio_p50"), row.get("ratio_p95"))
        for row in latency.get("models", ())
    )


def _latency_note(latency: Mapping[str, Any]) -> str:
    if not latency:
        return ""
    machine = latency["machine"]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, ONNX Runtime {machine['onnxruntime']}"
    )
    return f"Measured on {where}, with {latency['threads']} thread{'s' if latency['threads'] != 1 else ''}."


def _stages(material: Material) -> tuple[StageRecord, ...]:
    if not material.manifests:
        return ()
    order = [*material.stages, *sorted(set(material.manifests) - set(material.stages))]
    return tuple(_stage(name, material.manifests.get(name)) for name in order if name != "report")


def _stage(name: str, manifest: Manifest | None) -> StageRecord:
    if manifest is None:
        return StageRecord(name, "missing")
    return StageRecord(
        stage=name,
        status=manifest.status,
        seconds=manifest.seconds,
        memory_mb=manifest.peak_memory_mb,
        joules=manifest.joules if manifest.energy else None,
        energy=manifest.energy,
        note=manifest.error or manifest.reason,
    )
