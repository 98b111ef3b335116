"""This module prints runs on the command line: rich tables of gates, models and stages."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tasks.cli.console import plain
from tasks.core.documents import read_yaml
from tasks.core.settings import Settings
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.handover.queries import read_outcome, read_verdict
from tasks.pipeline.handover.run_store import RunStore
from tasks.planning.run_all import Observer
from tasks.reporting.collect import models
from tasks.reporting.facts import ModelFacts

OUTCOMES = {"promoted": "green", "unchanged": "green", "dry-run": "yellow", "held": "yellow"}


@contextmanager
def progress(console: Console, total: int) -> Iterator[Observer]:
    """Show a progress bar over stages, and print a line for each stage that ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    running: list[str] = []
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=total)

        def observe(stage: str, event: str, manifest: Manifest | None) -> None:
            if event == "started":
                running.append(stage)
            else:
                running.remove(stage)
                bar.advance(task)
                detail = (manifest.error or manifest.reason) if manifest else "left no manifest; see its log"
                seconds = f"{manifest.seconds:6.1f} s" if manifest else ""
                console.print(f"  {event:8} {stage:24} {seconds}  {detail}", highlight=False)
            bar.update(task, description=", ".join(running) or "waiting")

        yield observe


def show_run(console: Console, settings: Settings, workload: str, run_id: str) -> None:
    """Print the verdict first, then gates, models, stages, and the addresses of the pages."""
    store = RunStore(settings.runs())
    info = store.run_info(workload, run_id)
    manifests = store.manifests(workload, run_id)
    verdict = read_verdict(settings, workload, run_id)
    outcome = read_outcome(settings, workload, run_id)
    console.rule(f"{workload} · as of {info['as_of']} · run {run_id}", align="left")
    failed = [manifest for manifest in manifests.values() if manifest.status == "failed"]
    for manifest in sorted(failed, key=lambda manifest: manifest.started):
        console.print(Text.assemble(("STOPPED", "bold red"), f" at {manifest.stage}: ", plain(manifest.error)))
    if outcome:
        style = OUTCOMES.get(outcome["outcome"], "red")
        console.print(Text.assemble((outcome["outcome"].upper(), f"bold {style}"), " ", plain(outcome["reason"])))
    if verdict:
        console.print(_gates_table(verdict))
        page = store.page(workload, run_id, "evaluate", "latency.json")
        teachers = read_yaml(store.run_yaml(workload, run_id))["teachers"]
        console.print(_models_table(models(verdict, json.loads(page or b"{}"), teachers), verdict["primary_metric"]))
        if verdict["comparison"]:
            console.print(_comparison_table(verdict["comparison"], verdict["primary_metric"]))
    console.print(_stages_table(list(manifests.values())))
    report = manifests.get("report")
    if report and report.pages_uri:
        console.print(f"Report   {report.pages_uri}/report.html", soft_wrap=True, highlight=False)
    console.print(f"Run      {store.store.url(store.key(workload, run_id))}", soft_wrap=True, highlight=False)
    console.print(f"Releases {settings.release_store}", soft_wrap=True, highlight=False)
    console.print(f"MLflow   {settings.tracking_uri}", soft_wrap=True, highlight=False)


def _gates_table(verdict: dict[str, Any]) -> Table:
    shown = verdict["winner"] or next((gate["candidate"] for gate in verdict["gates"]), None)
    table = Table(title=f"Gates of {shown}", title_justify="left")
    for column in ("gate", "passed", "observed", "limit", "rule"):
        table.add_column(column, justify="right" if column in ("observed", "limit") else "left")
    for gate in verdict["gates"]:
        if gate["candidate"] == shown:
            passed = Text("yes", "green") if gate["passed"] else Text("NO", "red")
            rule = gate["rule"] + (f" ({gate['note']})" if gate.get("note") else "")
            table.add_row(gate["gate"], passed, _number(gate["observed"]), _number(gate["limit"]), plain(rule))
    return table


def _models_table(models: Sequence[ModelFacts], metric: str) -> Table:
    metrics = sorted({name for model in models for name in model.metrics})
    table = Table(title="Errors on the evaluation set", title_justify="left")
    for column in ("model", "role"):
        table.add_column(column, no_wrap=True)
    for column in (metric, *metrics, "parameters", "bytes", "p50 µs"):
        table.add_column(column, justify="right")
    for model in models:
        numbers = [model.error, *(model.metrics.get(name) for name in metrics), model.parameters, model.size]
        speed = "–" if model.p50_us is None else f"{model.p50_us:.0f}"
        table.add_row(model.name, model.role, *map(_number, numbers), speed)
    return table


def _comparison_table(comparison: dict[str, Any], metric: str) -> Table:
    table = Table(title=f"{comparison['candidate']} against the others, on the same rows", title_justify="left")
    for column in ("opponent", metric, "difference", "interval"):
        table.add_column(column, justify="left" if column == "opponent" else "right")
    for opponent in ("teacher", "naive", "champion"):
        if found := comparison[opponent]:
            measured = found["low"] is not None and found["high"] is not None
            interval = f"{_relative(found['low'])} to {_relative(found['high'])}" if measured else "–"
            table.add_row(opponent, _number(found["error"]), _relative(found["difference"]), interval)
        else:
            table.add_row(opponent, "–", "–", "none yet" if opponent == "champion" else "not measured")
    return table


def _stages_table(manifests: Sequence[Manifest]) -> Table:
    table = Table(title="Stages", title_justify="left")
    for column in ("stage", "status", "seconds", "peak MB", "why"):
        table.add_column(column, justify="right" if column in ("seconds", "peak MB") else "left")
    for manifest in sorted(manifests, key=lambda manifest: manifest.started):
        why = manifest.reason or manifest.error
        row = (manifest.stage, manifest.status, f"{manifest.seconds:.1f}", f"{manifest.peak_memory_mb:.0f}", plain(why))
        table.add_row(*row)
    return table


def _relative(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2%}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def list_runs(console: Console, settings: Settings, workload: str) -> None:
    """Print all runs of a workload, oldest first."""
    table = Table()
    for column in ("run", "as of", "opened", "outcome"):
        table.add_column(column)
    for info in RunStore(settings.runs()).runs(workload):
        outcome = read_outcome(settings, workload, info["run_id"])
        table.add_row(info["run_id"], info["as_of"], info["created"], outcome["outcome"] if outcome else "–")
    console.print(table)
