"""`nightstill new` and `nightstill check --data`: a newcomer's file, and tonight's, before anything is trained."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasks.cli.console import console, errors
from tasks.core.errors import ConfigError, DataError
from tasks.core.settings import Settings
from tasks.proposal.kind import Kind

if TYPE_CHECKING:
    from tasks.config.workload import Workload


def new(  # noqa: PLR0913, PLR0917 each is an option
    workload: Annotated[str, typer.Argument(help="What to call it: lower-case letters, digits, hyphens.")],
    table: Annotated[str, typer.Option(help="Parquet or CSV file, or a folder of images by class.")],
    kind: Annotated[Kind | None, typer.Option(help="What it is for; default: guessed.")] = None,
    target: Annotated[str, typer.Option(help="The column to forecast, or of labels; default: guessed.")] = "",
    time: Annotated[str, typer.Option(help="The column that orders the rows; default: guessed.")] = "",
    series: Annotated[
        list[str] | None, typer.Option(help="A column that names series, once for each; '' : there is one series.")
    ] = None,
    horizon: Annotated[int | None, typer.Option(min=1, help="Steps ahead.")] = None,
    season: Annotated[int | None, typer.Option(min=1, help="Steps until a pattern repeats.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the section, write nothing.")] = False,
) -> None:
    """Look at a table or a folder of images, and write the section of params.yaml that fits it."""
    from tasks.config.workload import Workload
    from tasks.planning.soundness import require_sound
    from tasks.proposal.forecasting.seen import Asked
    from tasks.proposal.propose import propose
    from tasks.proposal.text import add, require_new, section_text

    settings = Settings()
    if "://" in settings.params and not dry_run:
        raise ConfigError(f"{settings.params}: new writes into folders alone; print the section with --dry-run")
    require_new(settings.params, workload)
    params = Path(settings.params)
    keys = None if not series else [name for name in series if name]
    asked = Asked(time, target, keys, horizon, season)
    found = propose(workload, Path(table), settings.project, kind, asked)
    section, comments = found.section, found.comments
    require_sound(workload, Workload.model_validate(section), settings.project)
    if dry_run:
        print(section_text(workload, section, comments), end="")
    else:
        add(params, workload, section, comments)
    for reason in found.reasons:
        errors.print(f"- {reason}", highlight=False, markup=False, soft_wrap=True)
    if not dry_run:
        day = f" --as-of {found.as_of}" if found.as_of else ""
        console.print(
            f"{params}: workloads.{workload} is written, to be changed as you like. Now:\n"
            f"  nightstill check {workload} --data{day}\n"
            f"  nightstill run {workload}{day}",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip


def check_data(settings: Settings, workload: str, section: "Workload", as_of: date) -> None:
    """Fetches and validates what a night as of a day would train on; keeps nothing. Raises DataError when it fails."""
    from tasks.cli.source import contracts_of, source_of
    from tasks.tables.validation.preview import preview

    source, contracts = source_of(settings, workload, section), contracts_of(section)
    found = preview(source, contracts, section.checks, section.source.kind, as_of, workload)
    entities = {contract.name: " and ".join(contract.entity) for contract in contracts}
    for name, facts in found.tables.items():
        of = f"{name}: " if len(found.tables) > 1 else ""
        span = f"{facts['first_date'] or 'no date'} to {facts['last_date'] or 'none'}"
        among = f", {facts['entities']:,} of {entities[name]}" if entities[name] else ""
        said = f"{workload}: {of}{facts['rows']:,} rows{among}, {span}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    for check in found.failed:
        console.print(f"  failed: {check}", highlight=False, markup=False, soft_wrap=True)
    if found.failed:
        raise DataError(f"{workload}: {len(found.failed)} of {len(found.checks)} expectations failed as of {as_of}")
    console.print(
        f"{workload}: the data are valid as of {as_of}: {len(found.checks)} expectations hold", highlight=False
    )
