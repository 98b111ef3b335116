"""Tables of a record of images, as they are printed."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Record = Mapping[str, Any]
MODELS = ("model", "wrong", "standard error", "log loss", "bytes", "weights", "p50 of 1 image, µs", "p50 of 64, µs")
GAPS = ("model", "against", "wrong more often by", "standard error")
STEPS = ("recipe", "step", "wrong on validation", "bytes", "of the student's")


def tables(record: Record) -> Iterator[str]:
    """Yield the tables of models, of their differences on the same rows, and of the compression's steps, and a line."""
    yield "\n".join(_table(MODELS, 1, (_model(name, line, record) for name, line in record["models"].items())))
    gaps = ([gap["model"], gap["against"], *map(_points, _numbers(gap))] for gap in record["differences"])
    yield "\n".join(_table(GAPS, 2, gaps))
    yield "\n".join(_table(STEPS, 2, _steps(record)))
    rows, seconds = record["rows"], record["seconds"]
    told = ", ".join(f"{name} {value / 60:.1f}" for name, value in seconds.items())
    yield (
        f"{rows['train']:,} images to learn from, {rows['valid']:,} for validation, {rows['test']:,} for the test; "
        f"{record['epochs'] or 'the planned'} epochs, seed {record['seed']}: {record['verdict']} {record['winner']}.\n"
        f"Minutes of a processor: {told}; in all {sum(seconds.values()) / 60:.1f}."
    )


def _table(head: tuple[str, ...], words: int, lines: Iterator[list[str]]) -> Iterator[str]:
    """Yield a table, the first `words` columns of which are words and the others numbers."""
    yield f"| {' | '.join(head)} |"
    yield "|---" * words + "|---:" * (len(head) - words) + "|"
    for line in lines:
        yield f"| {' | '.join(line)} |"


def _model(name: str, line: Mapping[str, Any], record: Record) -> list[str]:
    error = line["error"]
    spread = np.sqrt(error * (1 - error) / record["rows"]["test"])
    counts = [f"{line[key]:,}" for key in ("bytes", "parameters")]
    return [
        name,
        _share(error),
        _points(spread),
        f"{line['log_loss']:.3f}",
        *counts,
        *(f"{time:,.0f}" for time in line["p50_us"].values()),
    ]


def _numbers(gap: Mapping[str, Any]) -> tuple[float, float]:
    return gap["difference"], gap["standard_error"]


def _steps(record: Record) -> Iterator[list[str]]:
    for recipe, history in record["steps"].items():
        for step in history:
            name = record["compressed"] if step is history[0] else step["step"]
            of = step["bytes"] / history[0]["bytes"]
            yield [recipe, name, _share(step["error"]), f"{step['bytes']:,}", f"{of:.3f}"]


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"


def _points(value: float) -> str:
    return f"{100 * value:.2f}"
