"""This module makes Markdown tables of the records of recommenders: medians over seeds."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from bench.ranking.intervals import OURS, RELEASED, intervals, together

HEAD = (
    "| | seeds | NDCG@10 | 95 % over users | HR@10 | coverage | released / it (95 % over users) | bytes | CPU s |\n"
    "|---|" + "---:|" * 8
)
ROLLING = "| | NDCG@10 | released / it (95 % over users) | released / it by origin |\n|---|" + "---:|" * 3
Record = Mapping[str, Any]


def tables(records: Sequence[Record]) -> Iterator[str]:
    """Yield a heading, the recommenders and the compression's steps of each set."""
    for name in dict.fromkeys(record["set"] for record in records):
        those = [record for record in records if record["set"] == name]
        yield "\n".join([_about(those[0]), "", HEAD, *_lines(those)])
        yield "\n".join(_steps(those))
    for base in dict.fromkeys(record.get("base") for record in records if record.get("by_user")):
        those = [record for record in records if record.get("base") == base and record.get("by_user")]
        if len({record["set"] for record in those}) > 1:
            yield "\n".join(_rolling(str(base), those))


def _rolling(base: str, records: Sequence[Record]) -> Iterator[str]:
    """Yield the table of all origins together: users are drawn anew with their rows of each origin and seed."""
    origins = list(dict.fromkeys(record["set"] for record in records))
    gains, users = together([record["by_user"] for record in records])
    parts = [together([record["by_user"] for record in records if record["set"] == origin])[0] for origin in origins]
    yield f"## {base}, {len(origins)} origins\n\n{len(users):,} rows: {', '.join(origins)}, each with its seeds.\n"
    yield ROLLING
    for name, (interval, ratio) in intervals(gains, users, 0).items():
        each = [f"{part[RELEASED].mean() / part[name].mean():.3f}" for part in parts]
        told = "" if ratio is None or name == RELEASED else f"{ratio[0]:.3f} ({ratio[1]:.3f} … {ratio[2]:.3f})"
        by_origin = "" if name == RELEASED else ", ".join(each)
        yield f"| **{name}** | {gains[name].mean():.4f} ({_interval([interval], 4)}) | {told} | {by_origin} |"


def _about(record: Record) -> str:
    lacking = record["of_no_item"]
    told = f"{record['rows']:,} test rows of {record['users']:,} users, {record['items']:,} items"
    had = f"{record['density']:.1%} of all pairs had"
    missed = (
        f"; {lacking:.1%} of the rows ask for an item outside the catalogue: nobody can be right" if lacking else ""
    )
    return f"## {record['set']}\n\n{told}, {had}{missed}."


def _lines(records: Sequence[Record]) -> Iterator[str]:
    """Yield a line of each model, ours at the end; an interval is from the least to the largest end of the seeds'."""
    names = dict.fromkeys(model for record in records for model in record["models"])
    for name in sorted(names, key=lambda name: OURS.index(name) if name in OURS else -1):
        found = [record["models"][name] for record in records if name in record["models"]]
        ratios = [line["released_against"] for line in found if line["released_against"] is not None]
        numbers = [
            str(len(found)),
            _spread([line["ndcg_10"] for line in found], 4),
            _interval([line["interval"] for line in found], 4),
            _spread([line["hr_10"] for line in found], 3),
            f"{median(line['coverage'] for line in found):.2f}",
            ""
            if not ratios or name == "released"
            else f"{_spread([ratio[0] for ratio in ratios], 3)} ({_interval([ratio[1:] for ratio in ratios], 3)})",
            "" if found[0]["bytes"] is None else f"{median(line['bytes'] for line in found):,.0f}",
            "" if found[0]["seconds"] is None else f"{median(line['seconds'] for line in found):,.0f}",
        ]
        shown = f"**{name}**" if name in OURS else name
        yield f"| {shown} | {' | '.join(numbers)} |"


def _interval(ends: Sequence[Sequence[float]], places: int) -> str:
    """Return what holds all intervals."""
    return f"{min(low for low, _ in ends):.{places}f} … {max(high for _, high in ends):.{places}f}"


def _spread(values: Sequence[float], places: int) -> str:
    """Return the median, and half of what lies between the least and the largest."""
    half = f" ± {(max(values) - min(values)) / 2:.{places}f}" if len(values) > 1 else ""
    return f"{median(values):.{places}f}{half}"


def _steps(records: Sequence[Record]) -> Iterator[str]:
    """Yield the recipe's table: medians over seeds."""
    yield "| step | seeds | NDCG@10 on validation | bytes | of the student's |"
    yield "|---|---:|---:|---:|---:|"
    # Nights choose their recipe: of a step that not all of them took, the column of seeds says how many did.
    for name in dict.fromkeys(step["step"] for record in records for step in record["steps"]):
        found = [(step, record) for record in records for step in record["steps"] if step["step"] == name]
        gains, sizes = [1 - step["error"] for step, _ in found], [step["bytes"] for step, _ in found]
        share = median(step["bytes"] / record["steps"][0]["bytes"] for step, record in found)
        yield f"| {name} | {len(found)} | {_spread(gains, 4)} | {median(sizes):,.0f} | {share:.3f} |"
