"""Tables and a picture of records of texts: a column a fold of PhraseBank, else medians over seeds."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.texts.record import RELEASED
from bench.texts.sets import SETS

Record = Mapping[str, Any]
OURS = ("teacher", "twin", "student", RELEASED)
FEW = 12
"""Of fewer classes than these each share is written."""


def tables(records: Sequence[Record]) -> Iterator[str]:
    """Yield the models, the released file's time and the compression's steps of each set."""
    for name in dict.fromkeys(record["set"] for record in records):
        yield "\n".join(_models([record for record in records if record["set"] == name]))
        yield "\n".join(_steps([record for record in records if record["set"] == name and "steps" in record]))


def _models(records: Sequence[Record]) -> Iterator[str]:
    about = SETS[records[0]["set"]]
    parts = [record["part"] for record in records]
    head = ["", *(f"{about.name} {part}" for part in parts), "accuracy", "macro-F1", "log loss", "bytes"]
    yield f"## {records[0]['set']}: {about.about}\n"
    yield f"| {' | '.join(head)} |"
    yield "|---" + "|---:" * (len(head) - 1) + "|"
    for model in dict.fromkeys(model for record in records for model in record["models"]):
        lines = [record["models"].get(model) for record in records]
        there = [line for line in lines if line]
        cells = ["" if not line or line["accuracy"] is None else f"{line['accuracy']:.4f}" for line in lines]
        told = [_spread([line.get(key) for line in there]) for key in ("accuracy", "macro_f1", "log_loss")]
        size = [line["bytes"] for line in there if line.get("bytes")]
        shown = f"**{model}**" if model in OURS else model
        yield f"| {' | '.join([shown, *cells, *told, f'{median(size):,.0f}' if size else ''])} |"


def _spread(values: Sequence[float | None]) -> str:
    """Return the median, and half of what lies between the least and the largest."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    half = f" ± {(max(known) - min(known)) / 2:.4f}" if len(known) > 1 else ""
    return f"{median(known):.4f}{half}"


def _steps(records: Sequence[Record]) -> Iterator[str]:
    """Yield how the first part's bytes came about, and the microseconds of one text."""
    if not records:
        return
    yield f"| step ({SETS[records[0]['set']].name} {records[0]['part']}) | validation log loss | bytes |"
    yield "|---|---:|---:|"
    for step in records[0]["steps"]:
        yield f"| {step['step']} | {step['error']:.4f} | {step['bytes']:,} |"
    times = {key: median(record["microseconds"][key] for record in records) for key in ("encode", "model", "both")}
    yield (
        f"\nOne text, in microseconds: {times['encode']:.0f} to numbers, {times['model']:.0f} in the file, "
        f"{times['both']:.0f} in all."
    )


def picture(records: Sequence[Record], path: Path) -> None:
    """Draw what each set's released files take for what: a row of pixels a true class, as shares of it."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(record["set"] for record in records if "confusion" in record))
    figure = Figure(figsize=(5 * len(names), 5), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        those = [record for record in records if record["set"] == name and "confusion" in record]
        count = np.sum([record["confusion"] for record in those], axis=0)
        share = count / np.maximum(count.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axes.set(title=name, xlabel="told", ylabel="true")
        few = those[0]["classes"] if len(share) < FEW else []
        axes.set_xticks(range(len(few)), few)
        axes.set_yticks(range(len(few)), few)
        for row, column in np.ndindex(len(few), len(few)):
            shade = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{share[row, column]:.2f}", ha="center", va="center", color=shade)
    figure.savefig(path, dpi=80)
