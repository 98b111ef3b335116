"""This writes the benchmark's page: `python -m bench.report --results DIR --scale DIR --out docs/benchmarks`."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from bench import curve, hours, pairs, records, targets
from bench.processes import program
from bench.records import OURS, Record, by_peer, error, interval, metric, paired, sets_of
from tasks.compression.timing import machine
from tasks.core.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

ERRORS = {
    "wape": ("wape", "wql", "rmsse", "coverage"),
    "wql": ("wql", "wape", "rmsse", "coverage"),
    "mse": ("mse", "mae"),
}
INTRODUCTION = """\
Made by `make bench`. Every competitor gets the same rows, the same split and settings chosen on validation windows
alone: test values are sealed until the scorer sees the forecasts. Peers choose theirs at one seed, and the time of
that counts for each; then, on sets scored by WAPE or WQL, they are fitted again with the validation windows, the newest
before the test; of the product's models those do so whose settings say it (`refit`). Medians over seeds, ± half the
spread (largest minus smallest). `released` is the exact ONNX file that would be released. Seconds are of the processor,
so that other work on the machine does not count; those of a teacher, a student and its file include what came before
them. ONNX Runtime was timed afterwards, all models in turn. The product takes each set as a user's table, through
source, snapshot and validation.

Where a target is missed, [what was tried, and what stands in the way](missed.md) is told apart.

What was measured stands in [records](records). `make bench` measures everything anew, below `.nightstill`, and replaces
them; with `RESULTS=docs/benchmarks/records SIZES=docs/benchmarks/records/scale` it measures only what is missing there.
"""
PLACES: tuple[tuple[tuple[float, float], Literal["left", "center", "right"]], ...] = (
    ((0, -14), "center"),
    ((0, 7), "center"),
    ((8, -1), "left"),
    ((-8, -1), "right"),
)
"""A point's name may stand at these places: points of text from it, and the side that is aligned."""
PAIRED = """\
Error of `released` over the peer's, less one; below zero the released file is better. The interval is that of the
gates (tasks/gates/comparison.py): both on the same windows, series and blocks of time drawn again. Errors are averaged
over seeds.
"""
PUBLISHED = Path(__file__).with_name("published.json")


def main(
    results: Annotated[Path, typer.Option(help="Folder with the records of peers and product.")],
    scale: Annotated[Path, typer.Option(help="Folder with the records of growing sizes.")] = Path("none"),
    out: Annotated[Path, typer.Option(help="Folder of the page and its plots.")] = Path("docs/benchmarks"),
) -> None:
    """Write README.md, one plot a set, that of the sizes, and beside them the records that they were made of.

    Raises UsageError, and writes nothing, where there are no records.
    """
    measured, stopped = records.read(results)
    if not measured and not stopped:
        raise UsageError(f"--results: there is no record in {results}; name the folder of `make bench`")
    sizes = curve.read(scale)
    out.mkdir(parents=True, exist_ok=True)
    _keep(results, out / "records")
    _keep(scale, out / "records" / "scale")
    (out / "README.md").write_text(page(measured, stopped, sizes, machine()))
    for name in sets_of(measured):
        plot([record for record in measured if record["set"] == name], out / f"{name}.png")
    if sizes:
        curve.plot(sizes, out / "scale.png")


def _keep(records: Path, folder: Path) -> None:
    """Copy records to the folder, replacing its own, unless they lie there themselves."""
    if records.resolve() == folder.resolve():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    for new in records.glob("*.json"):
        shutil.copy(new, folder)


def page(measured: Sequence[Record], stopped: Sequence[Record], sizes: Sequence[Record], where: dict[str, Any]) -> str:
    """Return the whole page as Markdown."""
    parts = [
        "# Benchmark\n",
        INTRODUCTION,
        "Machine: " + ", ".join(f"{key} {value}" for key, value in where.items()) + ".\n",
        hours.line(measured, stopped),
        "## Targets\n",
        targets.section(measured, sizes),
        "## Student against teacher and twin\n",
        _ratios(measured),
        _published(None),
        _against_peers(measured),
    ]
    for name in sets_of(measured):
        mine = [record for record in measured if record["set"] == name]
        parts += [f"## {name}\n", f"![error against bytes]({name}.png)\n", _table(mine)]
        unfinished = [record for record in stopped if record["set"] == name]
        parts += [_stopped(unfinished), _notes([*mine, *unfinished]), _published(name)]
    return "\n".join(part for part in [*parts, curve.section(sizes) if sizes else ""] if part)


def _table(measured: Sequence[Record]) -> str:
    errors = ERRORS[metric(measured)]
    head = ["seeds", *errors, "parameters", "bytes", "training, CPU s", "rows/s, 1", "rows/s, all"]
    head += ["scoring, CPU s", "peak MB"]
    lines = ["| | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    for peer, found in by_peer(measured).items():
        cells = [str(len({record["seed"] for record in found}))]
        cells += [_spread([record["errors"].get(name) for record in found]) for name in errors]
        cells += [
            _count([record["parameters"] for record in found]),
            _count([record["bytes"] for record in found]),
            _count([record["train_seconds"] for record in found]),
            _count([record["rows_per_second"]["batch_1"] for record in found]),
            _count([record["rows_per_second"]["full"] for record in found]),
            _spread([record["predict_seconds"] for record in found], digits=2),
            _count([record["peak_memory_mb"] for record in found]),
        ]
        label = f"**{peer}**" if peer in OURS else peer
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _ratios(measured: Sequence[Record]) -> str:
    """Return one line a set: the targets' ratios, medians over seeds paired by seed."""
    head = [
        "error, student / teacher",
        "error, released / teacher",
        "error, student / twin (95 % interval)",
        "weights",
        "bytes",
        "time of a call",
        "µs a call over the runtime's floor",
        "ms, 30,490 rows at most",
    ]
    lines = ["| | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    for name in sets_of(measured):
        peers = by_peer([record for record in measured if record["set"] == name])
        if not all(model in peers for model in OURS):
            continue
        teacher, twin, student, released = (peers[model] for model in OURS)
        cells = [
            _spread(paired(error, student, teacher)),
            _spread(paired(error, released, teacher)),
            _interval(paired(error, student, twin)),
            "1/" + _count(paired(lambda record: record["parameters"], teacher, released)),
            "1/" + _count(paired(lambda record: record["bytes"], teacher, released)),
        ]
        if all("onnx_us" in record for record in [*teacher, *released]):
            cells += [
                "1/" + _count(paired(lambda record: record["onnx_us"], teacher, released)),
                _spread([record["onnx_us"] - record["onnx_floor_us"] for record in released], digits=1),
                _spread([record["onnx_many_ms"] for record in released], digits=1),
            ]
        cells += ["–"] * (len(head) - len(cells))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _against_peers(measured: Sequence[Record]) -> str:
    """Return the section of the released file against each peer; sets whose records hold no cells are named."""
    head = "| | peer | difference of the error | 95 % interval | groups of series × blocks of time | seeds |"
    lines, missing = [head, "|---|---|---:|---:|---:|---:|"], []
    for name in sets_of(measured):
        kept = by_peer([record for record in measured if record["set"] == name and "cells" in record])
        ours = [record["cells"] for record in kept.get("released", [])]
        peers = {peer: [record["cells"] for record in found] for peer, found in kept.items() if peer not in OURS}
        if not ours or not peers:
            missing.append(name)
            continue
        for peer, theirs in peers.items():
            found = pairs.paired(ours, theirs)
            cells = [f"{found.difference:+.2%}", f"{found.low:+.2%} … {found.high:+.2%}"]
            cells += [f"{found.groups} × {found.blocks}", f"{len(ours)}, {len(theirs)}"]
            lines.append(f"| {name} | {peer} | {' | '.join(cells)} |")
    parts = ["## Released file against each peer\n", PAIRED]
    parts += ["\n".join(lines) + "\n"] if len(lines) > 2 else []
    parts += [f"Not measured anew since records hold such errors: {', '.join(missing)}.\n"] if missing else []
    return "\n".join(parts)


def _stopped(found: Sequence[Record]) -> str:
    names = [f"{record['peer']} after {record['stopped_after_minutes']:g} minutes" for record in found]
    return f"Stopped, unfinished: {'; '.join(sorted(set(names)))}.\n" if names else ""


def _notes(found: Sequence[Record]) -> str:
    """Return the records' own notes, such as their origin."""
    noted: dict[str, list[str]] = {}
    for record in found:
        if "note" in record:
            noted.setdefault(record["note"], []).append(f"{record['peer']} (seed {record['seed']})")
    return "".join(f"Note on {', '.join(who)}: {note}.\n" for note, who in noted.items())


def _published(name: str | None) -> str:
    """Return published figures of a set, or of none in particular."""
    figures = [figure for figure in json.loads(PUBLISHED.read_text())["figures"] if figure["set"] == name]
    if not figures:
        return ""
    shown = "; ".join(
        f"{figure['model']} {figure['metric']} {figure['value']}{'' if figure['checked'] else '*'} ({figure['source']})"
        for figure in figures
    )
    unchecked = "" if all(figure["checked"] for figure in figures) else " (* not compared with its source.)"
    return f"Published, not measured here, with other windows or look-backs in part: {shown}.{unchecked}\n"


def _spread(values: Sequence[float | None], digits: int = 4) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    half = (max(known) - min(known)) / 2
    return f"{median(known):.{digits}f}" + (f" ± {half:.{digits}f}" if len(known) > 1 else "")


def _interval(ratios: Sequence[float]) -> str:
    """Return the mean and 95 % interval of paired ratios over seeds."""
    mean, low, high = interval(ratios)
    return f"{mean:.4f}" + (f" ({low:.4f} … {high:.4f})" if np.isfinite(low) else "")


def _count(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known):,.0f}" if known else "–"


def plot(measured: Sequence[Record], path: Path) -> None:
    """Plot error against bytes, both medians over seeds: ours filled, peers hollow, a model without bytes a line."""
    from matplotlib.figure import Figure

    name = metric(measured)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    points = {
        peer: (median(record["bytes"] for record in found), median(record["errors"][name] for record in found))
        for peer, found in by_peer(measured).items()
    }
    names: list[Annotation] = []
    for peer, (x, y) in sorted(points.items(), key=lambda point: point[1]):
        if not x:
            axes.axhline(y, color="#555555", linestyle="--", linewidth=1)
            left, name_above = ("axes fraction", "data"), (4, 3)
            axes.annotate(peer, (0, y), xycoords=left, xytext=name_above, textcoords="offset points", fontsize=8)
            continue
        ours = peer in OURS
        axes.scatter(
            x, y, s=46, color="#0b6e4f" if ours else "white", edgecolors="#0b6e4f" if ours else "#555555", zorder=3
        )
        names.append(axes.annotate(peer, (x, y), xytext=PLACES[0][0], textcoords="offset points", fontsize=8))
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.15)
    axes.set_xlabel("bytes of the model")
    axes.set_ylabel(f"{name} on test windows")
    axes.grid(alpha=0.3)
    _apart(figure, names)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _apart(figure: "Figure", names: "Sequence[Annotation]") -> None:
    """Put each name below its point, or where it covers no other name and no point."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # the axes' final limits
    points = [name.axes.transData.transform(name.xy) for name in names if name.axes]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in points]
    for name in names:
        for place, side in (*PLACES, PLACES[0]):  # below after all, where nothing is free
            name.xyann = place
            name.set_horizontalalignment(side)
            box = name.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


if __name__ == "__main__":
    program(main)
