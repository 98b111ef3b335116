"""`nightstill shadow`: what became of the candidate that forecasts beside the champion."""

import hashlib
import json
from datetime import datetime
from typing import Annotated

import typer

from tasks.cli.console import console, plain
from tasks.core.settings import Settings

PAST = {
    "in-shadow": "goes on",
    "promoted": "is champion",
    "held": "waits for approval",
    "rejected": "is refused",
    "superseded": "is superseded",
}


def shadow(
    workload: Annotated[str, typer.Argument(help="A section of params.yaml or workloads/.")],
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last day of truth; default: yesterday."),
    ] = None,
) -> None:
    """Judge the candidate in shadow by what came of its forecasts; release or refuse it once its nights are over."""
    from tasks.config.workload import load_workload
    from tasks.planning import opening
    from tasks.planning.shadowing import day_key, settle
    from tasks.problems import get_problem
    from tasks.scoring import raw
    from tasks.tables.sources import get_source
    from tasks.tables.table import in_zone

    settings = Settings()
    section = load_workload(settings.params, workload)
    until = as_of.date() if as_of else opening.yesterday(section)

    def read() -> raw.Raw:
        contracts = in_zone(get_problem(section.problem).tables(), section.timezone)
        source = get_source(section.source, contracts, workload, settings.project)
        return raw.of_source(source, until, raw.Complete(contracts, section.checks))

    found = settle(settings, workload, section, until, read)
    console.rule(f"{workload} · truth up to {until}", align="left")
    for note in found.notes:
        console.print(plain(note), soft_wrap=True)
    said = f"The candidate of run {found.run_id} {PAST[found.outcome]} ({found.nights} of {found.of} nights)"
    console.print(plain(f"{said}: {found.reason}"), soft_wrap=True)
    runs, key = settings.runs(), day_key(workload, until)
    data = runs.read(key)
    told = json.loads(data)["summary"]
    print(
        json.dumps({"uri": runs.url(key), "sha256": hashlib.sha256(data).hexdigest(), "status": "done", **told}),
        flush=True,
    )
