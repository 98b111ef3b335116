"""`nightstill registry` brings MLflow's registry in line with the ledger."""

from typing import Annotated

import typer

from tasks.cli.console import console
from tasks.core.errors import UsageError
from tasks.core.settings import Settings

registry_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="MLflow's registry of models. It follows the ledger and decides nothing.",
)


@registry_app.callback()
def _group() -> None:
    """Keep `sync` a command name of its own."""


@registry_app.command("sync")
def registry_sync(
    workload: Annotated[str, typer.Argument(help="A section of params.yaml or workloads/.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Make versions, tags and the alias `champion` agree with the ledger. Prints what was done: nothing if all fits."""
    from tasks.config.workload import load_workloads
    from tasks.releases.store import ReleaseStore
    from tasks.tracking.registry import sync

    settings = Settings()
    releases = ReleaseStore(settings.releases(), workload)
    if releases.champion() is None and workload not in (known := load_workloads(settings.params)):
        raise UsageError(f"no workload {workload!r}; there are: {', '.join(sorted(known))}")
    for done in sync(settings.tracking_uri, releases, workload, dry_run=dry_run):
        said = f"would be done: {done}" if dry_run else done
        console.print(f"{workload}: {said}", highlight=False, soft_wrap=True)
