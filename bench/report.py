"""The benchmark's page: `python -m bench.report --results DIR --out docs/benchmarks`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer

from bench.ours.speed import SPEED
from bench.sets import SETS
from tasks.compression.timing import machine

OURS = ("teacher", "twin", "student", "released")
ERRORS = {"wape": ("wape", "wql", "rmsse"), "mse": ("mse", "mae")}
INTRODUCTION = """\
Made by `make bench`. Every competitor gets the same rows, the same split and settings chosen on validation windows
alone: test values are sealed until the scorer sees the forecasts. Medians over seeds, ± half the spread (largest minus
smallest). `released` is the exact ONNX file that would be released. Seconds are of the processor, so that other work on
the machine does not count; those of a teacher, a student and its file include what came before them. ONNX Runtime was
timed afterwards, all models in turn.
"""
PUBLISHED = Path(__file__).with_name("published.json")
CONFIDENCE_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Two-sided 95 % of Student's t, by number of seeds."""

Record = dict[str, Any]


def main(
    results: Annotated[Path, typer.Option(help="Folder with the records of peers and product.")],
    out: Annotated[Path, typer.Option(help="Folder of the page and its plots.")] = Path("docs/benchmarks"),
) -> None:
    """Write README.md and one plot a set."""
    records = [json.loads(path.read_text()) for path in sorted(results.glob("*-*.json"))]
    if (speeds := results / SPEED).is_file():
        records = [record | json.loads(speeds.read_text()).get(f"{record['set']}-{record['seed']}-{record['peer']}", {})
                   for record in records]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "README.md").write_text(page(records, machine()))
    measured = [record for record in records if "errors" in record]
    for name in _sets(measured):
        plot([record for record in measured if record["set"] == name], out / f"{name}.png")


def page(records: Sequence[Record], where: dict[str, Any]) -> str:
    """The whole page as Markdown."""
    stopped = [record for record in records if "stopped_after_minutes" in record]
    records = [record for record in records if "stopped_after_minutes" not in record]
    parts = [
        "# Benchmark\n",
        INTRODUCTION,
        "Machine: " + ", ".join(f"{key} {value}" for key, value in where.items()) + ".\n",
        "## Student against teacher and twin\n",
        _ratios(records),
    ]
    for name in _sets(records):
        mine = [record for record in records if record["set"] == name]
        parts += [f"## {name}\n", f"![error against bytes]({name}.png)\n", _table(mine)]
        parts += [_stopped([record for record in stopped if record["set"] == name]), _published(name)]
    return "\n".join(part for part in parts if part)


def _sets(records: Sequence[Record]) -> list[str]:
    return [name for name in SETS if any(record["set"] == name for record in records)]


def _by_peer(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records of each competitor, ours last."""
    peers = sorted(
        {record["peer"] for record in records},
        key=lambda peer: (peer in OURS, peer not in OURS or OURS.index(peer), peer),
    )
    return {peer: [record for record in records if record["peer"] == peer] for peer in peers}


def _metric(records: Sequence[Record]) -> str:
    return "wape" if any("wape" in record["errors"] for record in records) else "mse"


def _table(records: Sequence[Record]) -> str:
    errors = ERRORS[_metric(records)]
    head = [*errors, "parameters", "bytes", "training, CPU s", "rows/s, 1", "rows/s, all", "scoring, CPU s", "peak MB"]
    lines = ["| | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    for peer, found in _by_peer(records).items():
        cells = [_spread([record["errors"].get(error) for record in found]) for error in errors]
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


def _ratios(records: Sequence[Record]) -> str:
    """One line a set: the targets' ratios, medians over seeds paired by seed."""
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
    for name in _sets(records):
        peers = _by_peer([record for record in records if record["set"] == name])
        if not all(model in peers for model in OURS):
            continue
        teacher, twin, student, released = (_by_seed(peers[model]) for model in OURS)
        cells = [
            _spread(_paired(_error, student, teacher)),
            _spread(_paired(_error, released, teacher)),
            _interval(_paired(_error, student, twin)),
            "1/" + _count(_paired(lambda record: record["parameters"], teacher, released)),
            "1/" + _count(_paired(lambda record: record["bytes"], teacher, released)),
            "1/" + _count(_paired(lambda record: record["onnx_us"], teacher, released)),
            _spread([record["onnx_us"] - record["onnx_floor_us"] for record in released.values()], digits=1),
            _spread([record["onnx_many_ms"] for record in released.values()], digits=1),
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _error(record: Record) -> float:
    errors: dict[str, float] = record["errors"]
    return errors["wape"] if "wape" in errors else errors["mse"]


def _paired(value: Callable[[Record], float], one: dict[int, Record], other: dict[int, Record]) -> list[float]:
    """Ratios of a value, seed by seed."""
    return [value(one[seed]) / value(other[seed]) for seed in sorted(one.keys() & other.keys())]


def _by_seed(records: Sequence[Record]) -> dict[int, Record]:
    return {record["seed"]: record for record in records}


def _stopped(records: Sequence[Record]) -> str:
    names = [f"{record['peer']} after {record['stopped_after_minutes']:g} minutes" for record in records]
    return f"Stopped, unfinished: {'; '.join(sorted(set(names)))}.\n" if names else ""


def _published(name: str) -> str:
    figures = [figure for figure in json.loads(PUBLISHED.read_text())["figures"] if figure["set"] == name]
    if not figures:
        return ""
    shown = "; ".join(
        f"{figure['model']} {figure['metric']} {figure['value']} ({figure['source']})" for figure in figures
    )
    return f"Published, not measured here, with other windows or look-backs in part: {shown}.\n"


def _spread(values: Sequence[float | None], digits: int = 4) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    half = (max(known) - min(known)) / 2
    return f"{median(known):.{digits}f}" + (f" ± {half:.{digits}f}" if len(known) > 1 else "")


def _interval(ratios: Sequence[float]) -> str:
    """Mean and 95 % interval of paired ratios over seeds."""
    mean = float(np.mean(ratios))
    if len(ratios) not in CONFIDENCE_T:
        return f"{mean:.4f}"
    half = CONFIDENCE_T[len(ratios)] * float(np.std(ratios, ddof=1)) / len(ratios) ** 0.5
    return f"{mean:.4f} ({mean - half:.4f} … {mean + half:.4f})"


def _count(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known):,.0f}" if known else "–"


def plot(records: Sequence[Record], path: Path) -> None:
    """Error against bytes, both medians over seeds: ours filled, peers hollow."""
    from matplotlib.figure import Figure

    error = _metric(records)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for peer, found in _by_peer(records).items():
        x = max(1.0, median(record["bytes"] for record in found))
        y = median(record["errors"][error] for record in found if error in record["errors"])
        ours = peer in OURS
        axes.scatter(
            x, y, s=46, color="#0b6e4f" if ours else "white", edgecolors="#0b6e4f" if ours else "#555555", zorder=3
        )
        axes.annotate(peer, (x, y), xytext=(5, 5), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("bytes of the model")
    axes.set_ylabel(f"{error} on test windows")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    typer.run(main)
