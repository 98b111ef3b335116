"""Charts over nights: each night has its place on the axis, and each point leads to its run's report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from markupsafe import Markup

from tasks.nights.collect import Night
from tasks.reporting.charts import Scale, finite, known

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 1040, 62, 10, 12, 22
NARROW = 520  # of charts side by side
MANY = 60  # nights, of which each has a smaller mark
STYLE = """
svg.nights{display:block;width:100%;height:auto;font:11px system-ui,sans-serif}
.nights text{fill:var(--muted)}.nights .grid{stroke:var(--line)}
.nights path{fill:none;stroke-width:1.8;stroke-linejoin:round}
.nights a:hover *{opacity:.6}.nights .whisker{stroke:var(--candidate);stroke-width:1;opacity:.6}
.nights .candidate{stroke:var(--candidate)}.nights circle.candidate{fill:var(--candidate)}
.nights .champion{stroke:var(--champion)}.nights circle.champion{fill:var(--champion)}
.nights .naive{stroke:var(--naive);stroke-dasharray:6 3}.nights circle.naive{fill:var(--naive)}
.nights .teacher{stroke:var(--teacher);stroke-dasharray:5 3}.nights circle.teacher{fill:var(--teacher)}
.nights .live{stroke:var(--teacher)}.nights circle.live{fill:var(--teacher)}
.nights .good{fill:var(--good)}.nights .warn{fill:var(--warn)}.nights .bad{fill:var(--bad)}
.nights .none{fill:var(--naive)}
.nights .mark{fill:var(--surface);font-size:10px;text-anchor:middle;pointer-events:none}
.stage-0{fill:#1f5fc4}.stage-1{fill:#b4560f}.stage-2{fill:#7a3fb0}.stage-3{fill:#12693a}.stage-4{fill:#a8201a}
.stage-5{fill:#0e7c86}.stage-6{fill:#8a6d00}.stage-7{fill:#64748b}.stage-8{fill:#c2417c}.stage-9{fill:#3b4a5c}
"""
TONES = {
    "promoted": "good",
    "unchanged": "good",
    "rejected": "warn",
    "held": "warn",
    "superseded": "warn",
    "dry-run": "none",
    "open": "none",
    "stopped": "bad",
}
MARKS = {"promoted": "✔", "unchanged": "=", "rejected": "✘", "held": "‖", "superseded": "⇄", "stopped": "■"}


@dataclass(frozen=True)
class Line:
    """A Line is one quantity over nights; None where there is no number. `style`: its class."""

    style: str
    values: Sequence[float | None]


def strip(nights: Sequence[Night], link: Callable[[Night], str]) -> Markup:
    """Draw the outcomes of all nights, one square each."""
    wide, body = (WIDTH - 2) / max(len(nights), 1), []
    for place, night in enumerate(nights):
        x, size = 1 + place * wide, max(wide - min(2.0, wide / 4), 0.6)
        tone = TONES.get(night.outcome, "none")
        square = f'<rect class="{tone}" x="{x:.1f}" y="2" width="{size:.1f}" height="26" rx="2"/>'
        if wide > 14:
            square += f'<text class="mark" x="{x + size / 2:.1f}" y="19">{MARKS.get(night.outcome, "")}</text>'
        body.append(_led(square, night, link))
    return _frame("".join(body), WIDTH, 30, "outcomes of the nights")


def lines(
    nights: Sequence[Night], drawn: Sequence[Line], link: Callable[[Night], str], about: str, *, intervals: bool = False
) -> Markup | None:
    """Draw lines over nights, with the candidate's intervals if asked for; None without a number."""
    values = known(value for line in drawn for value in line.values)
    if intervals:
        values += [edge for night in nights if night.interval for edge in night.interval]
    if not values:
        return None
    spread = max(values) - min(values) or abs(values[0]) or 1.0
    width, height = (WIDTH, 210) if intervals else (NARROW, 110)
    y = Scale(min(values) - spread * 0.08, max(values) + spread * 0.08, height - BOTTOM, TOP)
    x = _places(nights, width)
    radius, body = 2.6 if len(nights) <= MANY else 1.4, [_axis(y, width), _days(nights, x, height)]
    if intervals:
        for place, night in enumerate(nights):
            if night.interval:
                at, (low, high) = f"{x(place):.1f}", map(y, night.interval)
                body.append(f'<line class="whisker" x1="{at}" x2="{at}" y1="{low:.1f}" y2="{high:.1f}"/>')
    for line in drawn:
        body.append(_path(line, x, y))
        for place, (night, value) in enumerate(zip(nights, line.values, strict=True)):
            if finite(value) and value is not None:
                dot = f'<circle class="{line.style}" cx="{x(place):.1f}" cy="{y(value):.1f}" r="{radius}"/>'
                body.append(_led(dot, night, link, f"{line.style} {value:.4g}"))
    return _frame("".join(body), width, height, about)


def bars(nights: Sequence[Night], link: Callable[[Night], str], stages: Sequence[str]) -> Markup | None:
    """Draw each night's seconds by stage, one upon the other; None without any."""
    totals = [sum(night.seconds.values()) for night in nights]
    if not any(totals):
        return None
    height = 170
    y, x = Scale(0, max(totals) * 1.05, height - BOTTOM, TOP), _places(nights, WIDTH)
    wide = min(24.0, (WIDTH - LEFT - RIGHT) / len(nights) * 0.8)
    body = [_axis(y, WIDTH), _days(nights, x, height)]
    for place, night in enumerate(nights):
        below, parts = 0.0, []
        for number, stage in enumerate(stages):
            above = below + night.seconds.get(stage, 0.0)
            parts.append(
                f'<rect class="stage-{number % 10}" x="{x(place) - wide / 2:.1f}" y="{y(above):.1f}" '
                f'width="{wide:.1f}" height="{y(below) - y(above):.1f}"/>'
            )
            below = above
        longest = max(night.seconds, key=lambda stage: night.seconds[stage], default="")
        said = f"{below:.0f} s, longest {longest}" if longest else ""
        body.append(_led("".join(parts), night, link, said))
    return _frame("".join(body), WIDTH, height, "seconds by stage")


def _places(nights: Sequence[Night], width: int) -> Scale:
    pad = 14
    return Scale(0, max(len(nights) - 1, 1), LEFT + pad, width - RIGHT - pad)


def _path(line: Line, x: Scale, y: Scale) -> str:
    """Return the line, which breaks where a night has no number."""
    parts, pen = [], "M"
    for place, value in enumerate(line.values):
        if value is None or not finite(value):
            pen = "M"
            continue
        parts.append(f"{pen}{x(place):.1f} {y(value):.1f}")
        pen = "L"
    return f'<path class="{line.style}" d="{"".join(parts)}"/>'


def _axis(y: Scale, width: int) -> str:
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,.6g}</text>'
        for tick in y.ticks()
    )


def _days(nights: Sequence[Night], x: Scale, height: int) -> str:
    anchors = {len(nights) // 2: "middle", 0: "start", len(nights) - 1: "end"}
    return "".join(
        f'<text x="{x(at):.1f}" y="{height - 5}" text-anchor="{anchor}">{nights[at].as_of}</text>'
        for at, anchor in anchors.items()
    )


def _led(body: str, night: Night, link: Callable[[Night], str], said: str = "") -> str:
    """Return a mark that says which night it is, and leads to its report if there is one."""
    about = f"{night.as_of} {night.outcome}" + (
        f": {said}" if said else f": {night.reason:.160}" if night.reason else ""
    )
    body = f"<g><title>{escape(about)}</title>{body}</g>"
    href = link(night)
    return f'<a href="{escape(href, _QUOTE)}">{body}</a>' if href else body


_QUOTE: Mapping[str, str] = {'"': "&quot;"}


def _frame(body: str, width: int, height: int, about: str) -> Markup:
    return Markup(  # noqa: S704 escaped parts
        f'<svg xmlns="http://www.w3.org/2000/svg" class="nights" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(about, _QUOTE)}">{body}</svg>'
    )
