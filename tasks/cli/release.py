"""`nightstill release` lists, checks, compares, rolls back, pins, prunes and rebuilds releases."""

import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasks.cli import key as key_cli
from tasks.cli.console import console, errors
from tasks.core.errors import UsageError
from tasks.core.reason import checked
from tasks.core.settings import Settings

if TYPE_CHECKING:
    from tasks.releases.ledger import Entry
    from tasks.releases.store import ReleaseStore

DIFFERS = 76

release_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Releases: list, compare, verify, pin, go back, rebuild, tidy up. A release's number is that of the ledger "
    "entry which made it; `list` shows all.",
)

WorkloadArgument = Annotated[str, typer.Argument(help="A section of params.yaml or workloads/.")]
Number = Annotated[int, typer.Argument(min=1, help="A release's number.")]
Reason = Annotated[str, typer.Option(help="Why, for the ledger: one line of 8 to 500 signs.", callback=checked)]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


@release_app.command("list")
def release_list(workload: WorkloadArgument) -> None:
    """Show the ledger, newest last. Says what each release is now: champion, pinned, rolled back, pruned."""
    from tasks.cli import release_display as shown

    shown.list_releases(console, workload, _releases(workload).ledger.entries())


@release_app.command("show")
def release_show(workload: WorkloadArgument, number: Number) -> None:
    """Show one ledger entry and its release's files."""
    from tasks.cli import release_display as shown

    shown.show_release(console, _releases(workload), number)


@release_app.command("diff")
def release_diff(
    workload: WorkloadArgument,
    a: Number,
    b: Number,
    as_json: AsJson = False,
    latency: Annotated[bool, typer.Option(help="Time both models.")] = True,
) -> None:
    """Compare two releases. Data, code, params, libraries, gates, metrics, size; both are timed side by side, now."""
    from tasks.cli import release_display as shown
    from tasks.rebuild.differences import compare

    releases = _releases(workload)
    found = compare(releases, releases.release(a), releases.release(b), latency=latency)
    if as_json:
        print(json.dumps(found.to_json(), indent=1))
    else:
        shown.show_differences(console, found)


@release_app.command("verify")
def release_verify(
    workload: WorkloadArgument,
    number: Annotated[int | None, typer.Argument(min=1, help="One release; default: all.")] = None,
) -> None:
    """Check the ledger and every digest. The first entry or file that does not hold is named: exit code 76."""
    from tasks.releases.verification import verify

    releases = _releases(workload)
    releases.release()  # nothing at all is more likely the wrong store than a sound one
    console.print(f"{workload}: {verify(releases, number)}", highlight=False)


@release_app.command("rollback")
def release_rollback(
    workload: WorkloadArgument,
    reason: Reason,
    to: Annotated[int | None, typer.Option(min=1, help="Default: the champion before the present one.")] = None,
    run_id: Annotated[str, typer.Option(help="A name for this rollback: what has it already is not done again.")] = "",
) -> None:
    """Make an earlier release champion again. By a new ledger entry, once its digests hold."""
    _tell(workload, _releases(workload).rollback(to, reason, run_id), "champion again")


@release_app.command("approve")
def release_approve(
    workload: WorkloadArgument,
    run_id: Annotated[str, typer.Argument(help="A run that ended as held.")],
    reason: Reason,
    by: Annotated[str, typer.Option(help="Who approves; default: the user of this system.")] = "",
) -> None:
    """Release a candidate that is held. If nobody changed the ledger since it was compared; a pin ends with it."""
    from tasks.planning.approving import approve, report_again

    settings = Settings()
    entry = approve(settings, workload, run_id, _person(by), reason)
    _tell(workload, entry, f"champion, approved by {entry.approved_by}")
    if lost := report_again(settings, workload, run_id):
        errors.print(lost, highlight=False, markup=False)


@release_app.command("pin")
def release_pin(workload: WorkloadArgument, reason: Reason) -> None:
    """Keep the present champion. Nights that pass end as `held`, a night under way as `superseded`."""
    from tasks.releases.pins import pin

    _tell(workload, pin(_releases(workload), reason), "pinned")


@release_app.command("unpin")
def release_unpin(workload: WorkloadArgument, reason: Reason) -> None:
    """Let nights replace the champion again."""
    from tasks.releases.pins import unpin

    _tell(workload, unpin(_releases(workload), reason), "pinned no longer")


@release_app.command("prune")
def release_prune(
    workload: WorkloadArgument,
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest releases stay.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the ledger; default: how many stay.")] = "",
) -> None:
    """Remove the files of old releases. The champion, pinned or not, and the one a rollback goes back to stay."""
    from tasks.cli import release_display as shown
    from tasks.releases.pruning import prune, what_goes

    said = checked(reason) if reason else ""
    releases = _releases(workload)
    found = what_goes(releases, keep) if dry_run else prune(releases, keep, reason=said)
    shown.show_pruning(console, workload, found, dry_run=dry_run)


@release_app.command("reproduce")
def release_reproduce(
    workload: WorkloadArgument,
    number: Number,
    jobs: Annotated[int, typer.Option(min=1, help="Stages side by side.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Keep the rebuilt run here; default: nowhere.")] = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild a release and compare. Exit code 0 if it is bit-equal, or 76 and what differs. Publishes nothing."""
    from tasks.cli import release_display as shown
    from tasks.cli.display import progress
    from tasks.rebuild.reproduction import prepare

    releases = _releases(workload)
    with prepare(Settings(), releases, releases.release(number), out) as rebuild:
        errors.print(f"{workload} release {number}: {rebuild.about}", highlight=False)
        with progress(errors, len(rebuild.stages)) as observe:
            found = rebuild.run(jobs=jobs, observe=observe)
    if as_json:
        print(json.dumps(found.to_json(), indent=1))
    else:
        shown.show_reproduction(console, found)
    raise SystemExit(0 if found.equal else DIFFERS)


release_app.command("keygen")(key_cli.keygen)
release_app.command("sign")(key_cli.sign)


def _person(by: str) -> str:
    """Return who approves: `by`, or the user of this system. Raises UsageError when neither is a name."""
    from pydantic import TypeAdapter

    from tasks.core.approval import Person
    from tasks.core.config import explained

    if not by:
        try:
            by = getpass.getuser()
        except (KeyError, OSError):
            raise UsageError("--by: this system does not know its user; name who approves") from None
    with explained("--by", raises=UsageError):
        return TypeAdapter(Person).validate_python(by)


def _tell(workload: str, entry: "Entry", what: str) -> None:
    console.print(f"{workload}: ledger entry {entry.seq}: release {entry.release} is {what}", highlight=False)


def _releases(workload: str) -> "ReleaseStore":
    """Return the workload's releases. Raises UsageError, which lists the known names, on an unknown workload."""
    from tasks.config.workload import load_workloads
    from tasks.releases.signing import load_keys
    from tasks.releases.store import ReleaseStore

    settings = Settings()
    keys = load_keys(trusted_keys=settings.trusted_keys)
    found = ReleaseStore(settings.releases(), workload, keys)
    there = "://" in settings.params or Path(settings.params).is_file()
    # The ledger first: whatever is wrong with somebody's section keeps nobody from going back to a former release.
    if there and found.ledger.get(1) is None and workload not in (known := load_workloads(settings.params)):
        raise UsageError(f"no workload {workload!r}; there are: {', '.join(sorted(known))}")
    return found
