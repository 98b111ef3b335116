"""This module makes Markdown tables of the records of recommenders: medians over seeds."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

HEAD = (
    "| | seeds | NDCG@10 | 95 % over users | HR@10 | coverage | released / it (95 % over users) | bytes | CPU s |\n"
    "|---|" + "---:|" * 8
)
OURS = ("teachers", "twin", "student", "released")
Record = Mapping[str, Any]


def tables(records: Sequence[Record]) -> Iterator[str]:
    """Yield a heading, the recommenders and the compression's steps of each set."""
    for name in dict.fromkeys(record["set"] for record in records):
        those = [record for record in records if record["set"] == name]
        yield "\n".join([_about(those[0]), "", HEAD, *_lines(those)])
        yield "\n".join(_steps(those[0]))


def _about(record: Record) -> str:
    lacking = record["of_no_item"]
    told = f"{record['rows']:,} test rows of {record['users']:,} users, {record['items']:,} items"
    had = f"{record['density']:.1%} of all pairs had"
    missed = (
        f"; {lacking:.1%} of the rows ask for an item outside the catalogue: nobody can be right" if lacking else ""
    )
    return f"## {record['set']}\n\n{told}, {had}{missed}."


def _lines(records: Sequence[Record]) -> Iterator[str]:
    """Yield a line of each model; intervals are those of the first seed."""
    for name in dict.fromkeys(model for record in records for model in record["models"]):
        found = [record["models"][name] for record in records if name in record["models"]]
        low, high = found[0]["interval"]
        ratio = found[0]["released_against"]
        numbers = [
            str(len(found)),
            _spread([line["ndcg_10"] for line in found], 4),
            f"{low:.4f} … {high:.4f}",
            _spread([line["hr_10"] for line in found], 3),
            f"{found[0]['coverage']:.2f}",
            "" if ratio is None or name == "released" else f"{ratio[0]:.3f} ({ratio[1]:.3f} … {ratio[2]:.3f})",
            "" if found[0]["bytes"] is None else f"{median(line['bytes'] for line in found):,.0f}",
            "" if found[0]["seconds"] is None else f"{median(line['seconds'] for line in found):,.0f}",
        ]
        shown = f"**{name}**" if name in OURS else name
        yield f"| {shown} | {' | '.join(numbers)} |"


def _spread(values: Sequence[float], places: int) -> str:
    """Return the median, and half of what lies between the least and the largest."""
    half = f" ± {(max(values) - min(values)) / 2:.{places}f}" if len(values) > 1 else ""
    return f"{median(values):.{places}f}{half}"


def _steps(record: Record) -> Iterator[str]:
    """Yield the table of one seed's recipe."""
    first = record["steps"][0]["bytes"]
    yield f"| step (seed {record['seed']}) | NDCG@10 on validation | bytes | of the student's |"
    yield "|---|---:|---:|---:|"
    for step in record["steps"]:
        yield f"| {step['step']} | {1 - step['error']:.4f} | {step['bytes']:,} | {step['bytes'] / first:.3f} |"
