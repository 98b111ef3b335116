"""The closing table of workloads: what each one's last promoted night was, from its manifests and its release.

    python -m bench.closing price churn

Prints a line of Markdown for each; of a release whose files are pruned, what its night measured alone. Errors are of
test rows; teachers are the ensemble; bytes and weights stand beside those of the teachers; p50 is a ratio to the gate's
reference model; minutes are of a processor, over all stages.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from bench.processes import program
from tasks.core.errors import UsageError
from tasks.core.settings import Settings
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.handover.run_store import RunStore
from tasks.releases.standing import Pruned
from tasks.releases.store import ReleaseStore

HEAD = (
    "| workload | error | rows | naive | teachers | twin | student | released "
    "| bytes | the teachers' | weights | the teachers' | p50 | minutes |\n" + "|---" * 14 + "|"
)
ROLES = ("naive", "teacher", "twin", "student")


def main(workloads: Annotated[list[str], typer.Argument(help="Each has been promoted here.")]) -> None:
    """Print a line for each workload."""
    settings = Settings()
    print(HEAD)
    for workload in workloads:
        manifests = last_promoted(RunStore(settings.runs()), workload)
        releases = ReleaseStore(settings.releases(), workload)
        print(line(manifests, verdict_of(releases, manifests["promote"].summary["release"])))


def last_promoted(runs: RunStore, workload: str) -> Mapping[str, Manifest]:
    """Return the manifests of a workload's last promoted night. Raises UsageError if there is none."""
    for info in reversed(runs.runs(workload)):
        manifests = runs.manifests(workload, info["run_id"])
        if "promote" in manifests and manifests["promote"].summary.get("outcome") == "promoted":
            return manifests
    raise UsageError(f"{workload}: no night of it was promoted here; start one (`nightstill run {workload}`)")


def verdict_of(releases: ReleaseStore, number: int) -> Mapping[str, Any]:
    """Return a release's verdict; nothing when its files are pruned."""
    try:
        found: Mapping[str, Any] = json.loads(releases.read(releases.release(number), "verdict.json"))
    except Pruned:
        return {}
    return found


def line(manifests: Mapping[str, Manifest], verdict: Mapping[str, Any]) -> str:
    """Return a line of the table; a number that nobody measured, or that is pruned, is a dash."""
    models: dict[str, Mapping[str, Any]] = {}
    for model in verdict.get("models", ()):  # the first of a role: the ensemble, and the student that competed
        released = model["role"] == "candidate" and model["name"] == verdict["winner"]
        models.setdefault("released" if released else model["role"], model)
    chosen, teacher = models.get("released", {}), models.get("teacher", {})
    evaluated = manifests["evaluate"].summary
    numbers = [
        verdict.get("primary_metric", "–"),
        _whole(manifests["snapshot"].summary.get("rows")),
        *(_short(models.get(role, {}).get("error")) for role in (*ROLES, "released")),
        *(_whole(one.get(key)) for key in ("bytes", "parameters") for one in (chosen, teacher)),
        _short(evaluated.get("latency_ratio"), "{:.1f}"),
        _short(minutes(manifests.values()), "{:.1f}"),
    ]
    return "| " + " | ".join([f"`{manifests['evaluate'].workload}`", *numbers]) + " |"


def minutes(manifests: Iterable[Manifest]) -> float | None:
    """Return the minutes of a processor that all stages took; None where one was reused or not measured."""
    seconds = [found.cpu_seconds if found.status == "done" else 0.0 for found in manifests]
    return sum(seconds) / 60 if all(seconds) else None


def _whole(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _short(value: float | None, form: str = "{:.4g}") -> str:
    return "–" if value is None else form.format(value)


if __name__ == "__main__":
    program(main)
