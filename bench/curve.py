"""This module shows how cost grows with the number of series: the scale curve's table, exponents and picture."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.records import Record

INTRODUCTION = """\
Made by `make bench-scale`: whole nights of the pipeline (`nightstill run`) on series of M5 spread evenly over the set,
then a scoring of all of them. Seconds are of the clock. `Parquet to Parquet` is the best of five in a process that has
its libraries and the release loaded; the program's own time includes its start.
"""


def read(results: Path) -> list[Record]:
    """Read the records of sizes, small ones first; none if the folder is not there."""
    return sorted(
        (json.loads(path.read_text()) for path in results.glob("scale-*.json")), key=lambda record: record["series"]
    )


def section(records: Sequence[Record]) -> str:
    """Return the curve as Markdown."""
    head = ["series", "rows", "night, s", "peak MB (stage)", "Parquet to Parquet, s", "program, s", "program, MB"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---:|" * len(head)]
    for record in records:
        stage = max(record["stages"], key=lambda name: record["stages"][name]["peak_mb"])
        cells = [
            f"{record['series']:,}",
            f"{record['rows']:,}",
            f"{record['night_seconds']:,.0f}",
            f"{peak_mb(record):,.0f} ({stage})",
            f"{record['score_seconds']:.2f}",
            f"{record['score_process_seconds']:.2f}",
            f"{record['score_process_mb']:,.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    parts = ["## Scale\n", INTRODUCTION, "![time and memory against rows](scale.png)\n", "\n".join(lines) + "\n"]
    if len(records) > 1:
        found = {"a night": "night_seconds", "Parquet to Parquet": "score_seconds"}
        said = (
            f"{what}: " + ", ".join(f"{which} {value:.2f}" for which, value in exponents(records, name).items())
            for what, name in found.items()
        )
        parts.append("Exponent of time by rows: " + "; ".join(said) + ".\n")
    noted = dict.fromkeys(record["note"] for record in records if "note" in record)
    return "\n".join([*parts, *(f"Note: {note}.\n" for note in noted)])


def peak_mb(record: Record) -> float:
    """Return the peak of the stage that needs most, in megabytes."""
    return float(max(stage["peak_mb"] for stage in record["stages"].values()))


def exponents(records: Sequence[Record], value: str) -> dict[str, float]:
    """Return slopes of log(value) by log(rows): least squares over all sizes, and between the two largest.

    Fixed costs flatten the first; the second shows what growth costs where it hurts.
    """
    ordered = sorted(records, key=lambda record: record["rows"])
    x, y = (np.log([record[name] for record in ordered]) for name in ("rows", value))
    return {"all sizes": float(np.polyfit(x, y, 1)[0]), "two largest": float((y[-1] - y[-2]) / (x[-1] - x[-2]))}


def plot(records: Sequence[Record], path: Path) -> None:
    """Plot seconds, and megabytes, against rows, both on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = [record["rows"] for record in records]
    left.plot(rows, [record["night_seconds"] for record in records], "o-", color="#0b6e4f", label="a night")
    left.plot(rows, [record["score_seconds"] for record in records], "o--", color="#555555", label="Parquet to Parquet")
    left.set_ylabel("seconds")
    left.legend(frameon=False)
    right.plot(rows, [peak_mb(record) for record in records], "o-", color="#0b6e4f", label="largest stage")
    right.plot(rows, [record["score_process_mb"] for record in records], "o--", color="#555555", label="scoring")
    right.set_ylabel("peak MB")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("rows of the table")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, metadata={"Software": None})
