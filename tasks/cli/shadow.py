"""`nightstill shadow`: what became of the candidate that forecasts beside the champion."""

import hashlib
import json
from datetime import datetime
from functools import partial
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
    from tasks.cli.source import complete_tables
    from tasks.config.workload import load_workload
    from tasks.planning import opening
    from tasks.planning.shadowing import day_key, settle

    settings = Settings()
    section = load_workload(settings.params, workload)
    until = as_of.date() if as_of else opening.yesterday(section)
    found = settle(settings, workload, section, until, partial(complete_tables, settings, workload, section, until))
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
