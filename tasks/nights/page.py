"""Pages of nights: one a workload, and one of all workloads. They load nothing; links go to reports beside them."""

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.core.storage import ObjectStore
from tasks.nights import drawing
from tasks.nights.collect import Night, Nights
from tasks.nights.drawing import Line
from tasks.nights.standing import Standing
from tasks.reporting import charts, energy
from tasks.reporting.page import count, number, percent, seconds, size

FOLDER, OVERVIEW = "nights", "index.html"


def key_of(workload: str) -> str:
    """Return the key of a workload's page in the run store."""
    return f"{FOLDER}/{workload}.html"


def write(store: ObjectStore, workload: str, html: str) -> str:
    """Write a workload's page, or the overview for an empty name, into the run store; return its address."""
    key = key_of(workload) if workload else f"{FOLDER}/{OVERVIEW}"
    store.write(key, html.encode())
    return store.url(key)


def link(night: Night) -> str:
    """Return the address of a night's report, from a page of nights."""
    return posixpath.relpath(night.page, FOLDER) if night.page else ""


def _energy(nights: Sequence[Night]) -> str:
    how = min((night.energy for night in nights if night.energy), default="")
    return f"energy in Wh{', estimated from CPU time' if how == 'estimated' else ''}"


THOUSAND = "joules of a thousand predictions, estimated (dashed: the teachers)"


def _thousand(nights: Sequence[Night]) -> list[Line]:
    return [Line(name, [night.thousand.get(name) for night in nights]) for name in ("teacher", "candidate")]


def render(found: Nights, standing: Standing) -> str:
    """Return a workload's page as HTML text."""
    nights = found.nights
    stages = list(dict.fromkeys(stage for night in nights for stage in night.seconds))
    errors = [
        Line("naive", [night.naive for night in nights]),
        Line("champion", [night.champion for night in nights]),
        Line("candidate", [night.error for night in nights]),
        Line("live", [night.live.error if night.live else None for night in nights]),
    ]
    quantities: Mapping[str, Sequence[float | None]] = {
        "bytes of the candidate": [night.size for night in nights],
        "latency, as a ratio to the reference model's": [night.latency_ratio for night in nights],
        "weights of the candidate": [night.weights for night in nights],
        "worst drift (population stability index)": [night.drift for night in nights],
        "rows of the snapshot": [night.rows for night in nights],
        _energy(nights): [sum(night.joules.values()) / 3600 if night.energy else None for night in nights],
        "failed rules of validation": [night.failed_rules for night in nights],
    }
    small = {name: drawing.lines(nights, [Line("candidate", some)], link, name) for name, some in quantities.items()}
    small[THOUSAND] = drawing.lines(nights, _thousand(nights), link, THOUSAND)
    return (
        _environment()
        .get_template("nights.html.j2")
        .render(
            found=found,
            standing=standing,
            strip=drawing.strip(nights, link),
            errors=drawing.lines(nights, errors, link, "errors", intervals=True),
            small={name: chart for name, chart in small.items() if chart},
            bars=drawing.bars(nights, link, stages),
            stages=stages,
            newest=list(reversed(nights)),
            watched=next((night for night in reversed(nights) if night.live), None),
            energy=energy.told(next((night.thousand for night in reversed(nights) if night.thousand), {})),
            link=link,
            **_style(),
        )
    )


def render_overview(found: Sequence[tuple[Nights, Standing]]) -> str:
    """Return the page of all workloads, the worst first."""
    order = ("red", "amber", "green")
    ranked = sorted(found, key=lambda each: (order.index(each[1].colour), each[0].workload))
    strips = {each.workload: drawing.strip(each.nights[-30:], link) for each, _ in found}
    return _environment().get_template("overview.html.j2").render(found=ranked, strips=strips, **_style())


def _style() -> Mapping[str, object]:
    return {"palette": Markup(charts.PALETTE + drawing.STYLE), "tones": drawing.TONES}  # noqa: S704 constants


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, size=size, count=count, percent=percent, seconds=seconds)
    return environment
