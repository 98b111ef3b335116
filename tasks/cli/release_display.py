"""This module prints releases on the command line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.cli.console import plain
from tasks.core.errors import UsageError
from tasks.releases import manifest
from tasks.releases.ledger import Entry
from tasks.releases.standing import marks, named, pruned
from tasks.releases.store import ReleaseStore

if TYPE_CHECKING:
    from tasks.rebuild.differences import Differences, Row
    from tasks.rebuild.reproduction import Reproduction
    from tasks.releases.pruning import Pruning

QUIET = ("code", "params", "gates", "libraries")
STYLES = {"equal": "green", "pulled": "green", "differs": "red", "failed": "red", "not rebuilt": "yellow"}


def list_releases(console: Console, workload: str, entries: Sequence[Entry]) -> None:
    """Print the ledger, newest last; the entry that made a release also shows the release's present status."""
    table = Table()
    for column in ("entry", "kind", "release", "now", "as of", "created (UTC)", "run", "model", "reason"):
        table.add_column(
            column, overflow="fold", no_wrap=column in ("entry", "kind", "as of", "created (UTC)", "model")
        )
    found = marks(entries)
    for entry in entries:
        now = ", ".join(found[entry.release]) if entry.kind == "promote" else ""
        table.add_row(
            str(entry.seq),
            entry.kind,
            str(entry.release),
            now,
            str(entry.as_of),
            plain(entry.created[:16].replace("T", " ")),
            entry.run_id,
            entry.model_sha256[:12],
            plain(entry.reason + _more(entry)),
        )
    console.print(table if entries else f"{workload}: no release yet")


def _more(entry: Entry) -> str:
    approved = f" (approved by {entry.approved_by}: {entry.approved_why})" if entry.approved_by else ""
    return approved + (f" (removed: {named(entry.pruned)})" if entry.pruned else "")


def show_release(console: Console, releases: ReleaseStore, number: int) -> None:
    """Print one entry, its release's present status, and its files. Raises UsageError on an unknown number."""
    entries = releases.ledger.entries()
    if not 0 < number <= len(entries):
        raise UsageError(f"{releases.workload}: no ledger entry {number}; there are {len(entries)}")
    entry = entries[number - 1]
    now = ", ".join(marks(entries)[entry.release]) or "replaced"
    console.print(f"ledger entry {entry.seq} ({entry.kind}); release {entry.release} is now: {now}", highlight=False)
    console.print_json(entry.to_bytes().decode())
    if prune := pruned(entries).get(entry.release):
        console.print(plain(f"its files were removed by ledger entry {prune.seq} ({prune.reason})"), highlight=False)
        return
    table = Table(title=plain(releases.url(entry)), title_justify="left")
    for column in ("file", "bytes", "SHA-256"):
        table.add_column(column, justify="right" if column == "bytes" else "left")
    files = releases.files(entry)
    listing = manifest.Listed.of(releases.read(entry, manifest.NAME))
    for name, listed in (*sorted(files.items()), (manifest.NAME, listing)):
        table.add_row(name, f"{listed.size:,}", listed.sha256)
    console.print(table)


def show_differences(console: Console, found: "Differences") -> None:
    """Print a table for each section; of facts that seldom change, only the changed ones."""
    for name, rows in found.sections.items():
        shown = [row for row in rows if not row.equal or name not in QUIET]
        same = len(rows) - len(shown)
        title = name + (f" ({same} equal)" if same else "")
        if not shown:
            console.print(f"{title}: {'no difference' if rows else 'not known'}", highlight=False)
            continue
        table = Table(title=title, title_justify="left")
        notes = any(row.note for row in shown)
        for column in ("", f"release {found.a}", f"release {found.b}", "change", *(("which",) if notes else ())):
            table.add_column(column, justify="right" if column.startswith(("release", "change")) else "left")
        for row in shown:
            cells = (row.name, _value(row.a), _value(row.b), _change(row), *((row.note,) if notes else ()))
            table.add_row(*map(plain, cells))
        console.print(table)


def show_pruning(console: Console, workload: str, found: "Pruning", *, dry_run: bool) -> None:
    """Print which releases were removed, or would be, and which stay."""
    does = "would remove" if dry_run else "removed"
    console.print(f"{workload}: {does} {found.files:,} files", highlight=False)
    console.print(f"  releases {named(found.releases) if found.releases else 'none'}", highlight=False)
    for folder in found.orphans:
        console.print(plain(f"  orphaned {folder}"), highlight=False)
    console.print(f"  kept     {named(found.kept)}", highlight=False)


def show_reproduction(console: Console, found: "Reproduction") -> None:
    """Print every stage with its outputs, then the model, then the verdict."""
    table = Table(title=f"{found.workload} release {found.release}: {found.code}", title_justify="left")
    for column in ("stage", "result", "outputs that differ", "why", "seconds"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for stage in found.stages:
        differ = [
            output.path + (f": {', '.join(output.files)}" if output.files else "")
            for output in stage.outputs
            if not output.equal
        ]
        result = Text(stage.status, STYLES[stage.status])
        seconds = f"{stage.seconds:.1f}" if stage.seconds else ""
        table.add_row(
            stage.stage, result, *(Text("\n").join(map(plain, lines)) for lines in (differ, stage.why)), seconds
        )
    console.print(table)
    for line in found.surroundings:
        console.print(f"surroundings: {line}", highlight=False)
    same = found.model == found.released_model
    rebuilt = (found.model or "none was rebuilt")[:16]
    console.print(f"{manifest.MODEL}: released {found.released_model[:16]}, rebuilt {rebuilt}", highlight=False)
    if found.equal:
        console.print(Text.assemble(("bit-equal", "bold green"), f": release {found.release} and what was rebuilt"))
        return
    console.print(Text.assemble(("differs", "bold red"), ": but the model is bit-equal" if same else ""))
    for line in found.reasons:
        console.print(f"  {line}", highlight=False)


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _change(row: "Row") -> str:
    return "" if row.change is None or row.equal else f"{row.change:+.1%}"
