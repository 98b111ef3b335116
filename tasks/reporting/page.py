"""This module renders the report page: facts in, one self-contained HTML text out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.reporting import charts, energy, galleries
from tasks.reporting.facts import ModelFacts, Number, Picture, ReportFacts, Segment

DASH = "–"
SEGMENTS_SHOWN = 12


@dataclass(frozen=True)
class KeyNumber:
    """A key number is a tile: a label, the number, and lines that put it into proportion."""

    label: str
    value: str
    lines: tuple[str, ...] = ()


WORDS = {
    "promoted": ("✔", "Promoted", "good"),
    "unchanged": ("=", "Unchanged", "good"),
    "dry-run": ("◇", "Dry run", "warn"),
    "superseded": ("⇄", "Superseded", "warn"),
    "held": ("‖", "Held", "warn"),
    "rejected": ("✘", "Rejected", "bad"),
    "stopped": ("■", "Stopped", "bad"),
}


def render(facts: ReportFacts) -> str:
    """Return the page as HTML text. It loads nothing: style and charts are part of it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, size=size, count=count, micros=micros, seconds=seconds, percent=percent, observed=observed
    )
    environment.filters["energy"] = energy.told
    mark, word, tone = WORDS[facts.headline.outcome]
    if facts.headline.outcome == "stopped" and facts.headline.stage:
        word = f"Stopped at {facts.headline.stage}"
    return environment.get_template("page.html.j2").render(
        facts=facts,
        mark=mark,
        word=word,
        tone=tone,
        palette=Markup(charts.PALETTE + charts.STYLE),  # noqa: S704 constants
        key_numbers=key_numbers(facts),
        metric_names=list(dict.fromkeys(name for model in facts.models for name in model.metrics)),
        pictures=[(picture.title, chart) for picture in facts.pictures if (chart := draw(picture))],
        curves=list(dict.fromkeys(name for picture in facts.pictures for name in picture.curves)),
        pareto=charts.pareto(facts.on_pareto, facts.metric, size),
        in_time=any(picture.past for picture in facts.pictures),
        searches=[(found, chart) for found in facts.searches if (chart := charts.search(found, facts.metric, size))],
        twin_line=twin_line(facts),
        losses=[(curve.name, chart) for curve in facts.losses if (chart := charts.losses(curve))],
        segments=worst_segments(facts.segments),
        longest=max([*charts.known(stage.seconds for stage in facts.stages), 1e-9]),
        largest=max([*charts.known(stage.memory_mb for stage in facts.stages), 1e-9]),
        energy=energy_line(facts),
        total=sum(charts.known(stage.seconds for stage in facts.stages)),
    )


def draw(picture: Picture) -> Markup | None:
    """Draw what fits a picture: a line in time, a table, a gallery, or else bars by class."""
    if picture.cells:
        return galleries.table(picture)
    if picture.images:
        return galleries.gallery(picture)
    return charts.forecast(picture) if picture.past else charts.bars(picture)


def energy_line(facts: ReportFacts) -> str:
    """Return the energy of all stages in words; empty where none is known."""
    used = charts.known(stage.joules for stage in facts.stages)
    if not any(used):
        return ""
    estimated = any(stage.energy == "estimated" for stage in facts.stages)
    how = "estimated from CPU time" if estimated else "by the processor's own count"
    return f"Energy: {sum(used) / 3600:.3g} Wh, {how}."


def key_numbers(facts: ReportFacts) -> list[KeyNumber]:
    """Return the page's tiles: error, bytes, parameters and latency of the chosen candidate, in proportion."""
    chosen, teacher = facts.chosen, facts.opponent("teacher")
    if chosen is None:
        return []
    tiles = [KeyNumber(f"{facts.metric} of {chosen.name}", number(chosen.error), _proportions(facts, chosen))]
    for label, text, of_chosen, of_teacher, better in (
        ("file", size, chosen.size, teacher.size if teacher else None, "smaller"),
        ("parameters", count, chosen.parameters, teacher.parameters if teacher else None, "fewer"),
        ("latency p50", micros, chosen.p50_us, teacher.p50_us if teacher else None, "faster"),
    ):
        lines = (f"{times} {better} than teacher",) if (times := _times(of_teacher, of_chosen)) else ()
        if of_chosen is not None:
            tiles.append(KeyNumber(label, text(of_chosen), lines))
    return tiles


def _proportions(facts: ReportFacts, chosen: ModelFacts) -> tuple[str, ...]:
    lines = []
    for role in ("teacher", "naive", "champion"):
        model = facts.opponent(role)
        if model is None or not chosen.error or not model.error:
            continue
        found = facts.comparisons.get(role)
        interval = f" ({percent(found.low)} to {percent(found.high)})" if found else ""
        lines.append(f"{chosen.error / model.error:.3f}× {role}{interval}")
    return tuple(lines)


def _times(large: Number, small: Number) -> str:
    if large is None or not small or not math.isfinite(large / small):
        return ""
    ratio = large / small
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"


def twin_line(facts: ReportFacts) -> str:
    """Tell which student went on, and by how much it beats the others on the validation split."""
    chosen = next((student for student in facts.students if student.chosen), None)
    if chosen is None or not chosen.error:
        return ""
    others = [
        f"{percent(chosen.error / other.error - 1)} against {other.name} ({number(other.error)}, alpha {other.alpha:g})"
        for other in facts.students
        if other is not chosen and other.error
    ]
    line = f"{chosen.name} went on: validation {facts.metric} {number(chosen.error)}, alpha {chosen.alpha:g}"
    return "; ".join([line, *others])


def worst_segments(segments: Sequence[Segment]) -> dict[str, list[Segment]]:
    """Return the worst segments of each column: by change where there is a champion, else by error."""
    columns: dict[str, list[Segment]] = {}
    for segment in segments:
        columns.setdefault(segment.column, []).append(segment)

    def badness(segment: Segment) -> tuple[bool, float]:
        key = segment.change if segment.change is not None else segment.error
        return not segment.passed, key if key is not None and math.isfinite(key) else -math.inf

    return {name: sorted(found, key=badness, reverse=True)[:SEGMENTS_SHOWN] for name, found in columns.items()}


def number(value: Number) -> str:
    """Format four significant digits, a dash for a value that is no number."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == int(value) and abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:.3e}"


def count(value: Number) -> str:
    """Format a whole number with thousands separated."""
    return f"{value:,.0f}" if value is not None and math.isfinite(value) else DASH


def size(value: Number) -> str:
    """Format bytes in a unit that people can read (decimal: 1 kB is 1000 bytes)."""
    if value is None or not math.isfinite(value):
        return DASH
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


def micros(value: Number) -> str:
    """Format microseconds, or milliseconds above a thousand."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.3g} µs" if value < 1000 else f"{value / 1000:,.3g} ms"


def seconds(value: Number) -> str:
    """Format seconds, or minutes and seconds."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.1f} s" if value < 99.5 else f"{value // 60:.0f} min {value % 60:02.0f} s"


def percent(value: Number) -> str:
    """Format a signed relative difference."""
    return f"{value:+.1%}".replace("-", "−") if value is not None and math.isfinite(value) else DASH


def observed(value: Number, gate: str) -> str:
    """Format a gate's number in the unit of its kind."""
    return size(value) if gate == "size" else number(value)
