"""Stage report writes a run's page and model card, logs it in MLflow, and brings MLflow's registry in line.

It runs however the run ended, so every input may be missing.
"""

import logging
import math
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tasks.core.documents import read_yaml
from tasks.core.errors import NightstillError
from tasks.pipeline.graph import load_graph
from tasks.pipeline.handover.locks import Lock, outputs, path_digest
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.handover.run_store import RunStore
from tasks.pipeline.handover.workspace import LOCK_FILE, PIPELINE_FILE
from tasks.releases.store import ReleaseStore
from tasks.reporting import charts
from tasks.reporting.card import model_card
from tasks.reporting.collect import Material, collect, latency_page, search_page
from tasks.reporting.facts import ReportFacts
from tasks.reporting.page import draw, render, size
from tasks.stages.context import Context
from tasks.tracking.registry import sync
from tasks.tracking.runs import Tracking, experiment_name, log_run

log = logging.getLogger(__name__)

PAGE, CARD = "report.html", "model-card.md"
PAGES_READ = (("validate", "validation.json"), ("evaluate", "latency.json"))
LIBRARIES = ("torch", "onnx", "onnxruntime", "polars", "great-expectations", "dvc", "mlflow")


def run(ctx: Context, name: str | None = None) -> None:
    """Write pages/report.html and, when there is a verdict, pages/model-card.md; then log to MLflow.

    An MLflow that fails leaves a note on the page and fails this stage, which is then tried again. Nothing but this
    stage depends on it: the ledger and the run store are the truth.
    """
    material = _material(ctx)
    facts = collect(material)
    files = {PAGE: render(facts).encode()} | _card(ctx, material)
    _write(ctx.pages, files)
    joules = {name: float(f"{value:.4g}") for name, value in facts.joules.items()}
    outcome, stage = facts.headline.outcome, facts.headline.stage or None
    ctx.summary("report", {"outcome": outcome, "stage": stage, "joules_per_thousand": joules})
    try:
        _tell_mlflow(ctx, material, facts, files)
    except NightstillError as error:
        log.warning("%s; the run store and the ledger are complete, start this stage again to make up for it", error)
        note = f"{error}. The run store and the ledger are complete; start the report stage again to make up for it."
        _write(ctx.pages, {PAGE: render(replace(facts, notes=(*facts.notes, note))).encode()})
        raise


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _material(ctx: Context) -> Material:
    """Return all readable material of this run; without a run_id only of this workspace."""
    locks = _locks(ctx.root / LOCK_FILE)
    manifests: Mapping[str, Manifest] = {}
    times = (search_page(name) if recipe.search else latency_page(name) for name, recipe in ctx.run.recipes.items())
    wanted = [*PAGES_READ, *times]
    if ctx.run_id:
        store = RunStore(ctx.settings.runs())
        manifests = store.manifests(ctx.run.workload, ctx.run_id)
        found = {key: _page_of(store, ctx, *key) for key in wanted}
    else:
        found = {key: _read(ctx.pages / key[1]) for key in wanted}
    pipeline = load_graph((ctx.root / PIPELINE_FILE).read_text(), ctx.run.model_dump(mode="json"))
    return Material(
        run=ctx.run,
        artifacts=ctx.artifacts,
        run_id=ctx.run_id,
        stages=tuple(pipeline.stages),
        manifests=manifests,
        pages={key: data for key, data in found.items() if data is not None},
        lineage=_lineage(ctx, locks, manifests),
    )


def _page_of(store: RunStore, ctx: Context, stage: str, name: str) -> bytes | None:
    return store.page(ctx.run.workload, ctx.run_id, stage, name)


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _locks(path: Path) -> Mapping[str, Lock]:
    if not path.is_file():
        return {}
    stages: Mapping[str, Lock] = read_yaml(path.read_text())["stages"]
    return stages


def _lineage(ctx: Context, locks: Mapping[str, Lock], manifests: Mapping[str, Manifest]) -> dict[str, str]:
    """Return the run's origins, as label -> value."""
    found = {"git commit": os.environ.get("NIGHTSTILL_GIT_COMMIT", ""), "seed": str(ctx.run.seed)}
    for stage, label in (("snapshot", "data"), ("features", "features")):
        found |= {f"{label} ({path})": digest for path, digest in outputs(locks.get(stage, {})).items()}
    libraries = ctx.root / "requirements" / "task.lock"
    found["locked libraries (requirements/task.lock)"] = path_digest(libraries) if libraries.is_file() else ""
    found["libraries"] = ", ".join([f"Python {platform.python_version()}", *_versions()])
    found |= {f"lock of {stage}": manifest.lock_sha256 for stage, manifest in manifests.items() if stage != "report"}
    return {label: value for label, value in found.items() if value}


def _versions() -> Iterator[str]:
    for library in LIBRARIES:
        try:
            yield f"{library} {version(library)}"
        except PackageNotFoundError:
            continue


def _card(ctx: Context, material: Material) -> dict[str, bytes]:
    verdict = material.json("evaluation/verdict.json")
    if verdict is None:
        return {}
    snapshot, contract = material.json("snapshot/about.json") or {}, material.json("features/contract.json") or {}
    lineage = {"run": ctx.run_id, **material.lineage}
    return {CARD: model_card(ctx.run, verdict, snapshot, contract, lineage).encode()}


def _tell_mlflow(ctx: Context, material: Material, facts: ReportFacts, files: Mapping[str, bytes]) -> None:
    uri, workload = ctx.settings.tracking_uri, ctx.run.workload
    if ctx.run_id:
        log_run(
            Tracking(uri, ctx.settings.tracking_artifacts),
            experiment_name(workload),
            ctx.run_id,
            # MLflow's names have no "@", those of a stage in `resources` do.
            params={name.replace("@", ":"): value for name, value in _flat(ctx.run.model_dump(mode="json"))},
            metrics=_metrics(facts),
            curves=_curves(facts),
            artifacts={**files, **_evidence(ctx, material), **_plots(facts)},
            tags=_tags(facts),
        )
    for done in sync(uri, ReleaseStore(ctx.settings.releases(), workload), workload):
        log.info("MLflow: %s", done)


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested parameters as dotted names."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        yield from _flat(dict(enumerate(value)), prefix)
    else:
        yield prefix, str(value)


def _metrics(facts: ReportFacts) -> dict[str, float]:
    """Return numbers of every model, of the chosen candidate once more without its name, and of every stage."""
    found: dict[str, float | None] = {}
    primary = facts.metric.lower().replace(" ", "_")
    for model in facts.models:
        numbers = {primary: model.error, **model.metrics, "bytes": model.size, "parameters": model.parameters}
        numbers["p50_us"] = model.p50_us
        label = {"candidate": model.name, "baseline": f"baseline.{_allowed(model.name)}"}.get(model.role, model.role)
        found |= {f"{label}/{name}": value for name, value in numbers.items()}
        if model is facts.chosen:
            found |= numbers
    for stage in facts.stages:
        label = stage.stage.replace("@", ".")  # MLflow allows no @
        found |= {f"seconds/{label}": stage.seconds, f"peak_memory_mb/{label}": stage.memory_mb}
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def _allowed(name: str) -> str:
    """Return a name in the characters that MLflow allows in a metric's; a slash of it would be a folder."""
    return re.sub(r"[^\w .:-]", "_", name, flags=re.ASCII)


def _curves(facts: ReportFacts) -> dict[str, list[float]]:
    """Return loss and validation error by epoch of every training."""
    lines = {
        f"{kind}/{curve.name}{f' fold {number}' if len(curve.folds) > 1 else ''}": line
        for curve in facts.losses
        for number, fold in enumerate(curve.folds, 1)
        for kind, line in (("train_loss", fold.train), ("valid_error", fold.valid))
    }
    return {name: charts.known(line) for name, line in lines.items() if line}


def _evidence(ctx: Context, material: Material) -> dict[str, bytes]:
    """Return files that explain the run to someone who sees MLflow alone."""
    paths = {
        "run.yaml": ctx.root / "run.yaml",
        "dvc.lock": ctx.root / LOCK_FILE,
        "verdict.json": material.artifacts / "evaluation" / "verdict.json",
    }
    return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}


def _plots(facts: ReportFacts) -> dict[str, bytes]:
    """Return the page's charts as SVG files."""
    drawn = {f"losses-{curve.name.replace(' ', '-')}": charts.losses(curve) for curve in facts.losses}
    drawn |= {f"forecast-{number}": draw(picture) for number, picture in enumerate(facts.pictures, 1)}
    drawn |= {f"search-{found.recipe}": charts.search(found, facts.metric, size) for found in facts.searches}
    drawn["pareto"] = charts.pareto(facts.on_pareto, facts.metric, size)
    return {f"plots/{name}.svg": charts.standalone(chart).encode() for name, chart in drawn.items() if chart}


def _tags(facts: ReportFacts) -> dict[str, str]:
    tags = {
        "outcome": facts.headline.outcome,
        "reason": facts.headline.reason,
        "as_of": facts.as_of.isoformat(),
        "release": "" if facts.release is None else str(facts.release),
        **{
            f"lineage.{label}".replace("(", "").replace(")", "").replace("@", "."): v
            for label, v in facts.lineage.items()
        },
    }
    return {name: value[:5000] for name, value in tags.items() if value}
