"""This module draws small SVG charts without a plotting library: sharp, a few kB each, coloured by style sheet."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from markupsafe import Markup

from tasks.reporting.facts import LossCurve, ModelFacts, Number, Picture, Search

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 26
MINUTE = len("2026-11-27T04:00")
LETTER = 6.2
"""A letter of a label is about so wide."""

# Colours are variables, so the page's dark mode and print rules recolour the charts.
PALETTE = """
:root{--ink:#17202a;--muted:#5b6673;--line:#d9dfe6;--surface:#fff;--candidate:#1f5fc4;--teacher:#b4560f;
--champion:#7a3fb0;--naive:#64748b;--band:#1f5fc42b}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--muted:#9aa7b4;--line:#2f3a47;--surface:#171e26;
--candidate:#6ea8ff;--teacher:#f0a35e;--champion:#c79bf2;--naive:#94a3b8;--band:#6ea8ff33}}
"""
STYLE = """
svg.chart{display:block;width:100%;height:auto;max-width:620px;font:11px system-ui,sans-serif}
.chart text{fill:var(--muted);paint-order:stroke;stroke:var(--surface);stroke-width:3px;stroke-linejoin:round}
.chart text.strong{fill:var(--ink);font-weight:600}
.chart .grid{stroke:var(--line);stroke-width:1}.chart .split{stroke:var(--muted);stroke-dasharray:2 3}
.chart path{fill:none;stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}
.chart path.band{fill:var(--band);stroke:none}.chart path.actual{stroke:var(--ink)}
.chart path.past{stroke:var(--muted);stroke-width:1.2}.chart path.candidate{stroke:var(--candidate);stroke-width:2.2}
.chart path.teacher{stroke:var(--teacher);stroke-dasharray:5 3}
.chart path.champion{stroke:var(--champion);stroke-dasharray:1.5 3}
.chart path.naive{stroke:var(--naive);stroke-dasharray:7 3 1.5 3}
.chart path.train{stroke:var(--naive);stroke-dasharray:4 3}.chart path.valid{stroke:var(--candidate)}
.chart path.front{stroke:var(--candidate);stroke-width:1.2;stroke-dasharray:2 3}
.chart .dot{stroke:var(--surface);stroke-width:1.2;fill:var(--candidate)}.chart .dot.teacher{fill:var(--teacher)}
.chart .dot.champion{fill:var(--champion)}
.chart .best{fill:var(--candidate)}.chart rect.actual{fill:var(--ink)}.chart rect.candidate{fill:var(--candidate)}
.chart rect.teacher{fill:var(--teacher)}.chart rect.champion{fill:var(--champion)}.chart rect.naive{fill:var(--naive)}
.chart .limit{stroke:var(--ink);stroke-width:1;stroke-dasharray:6 3}
.chart .trial{stroke:var(--color);fill:var(--color);stroke-width:1.4}.chart .trial.pruned{fill:var(--surface)}
.format-0{--color:var(--naive)}.format-1{--color:var(--candidate)}.format-2{--color:var(--teacher)}
.format-3{--color:var(--champion)}.format-4{--color:var(--ink)}.format-5{--color:var(--muted)}
.chart .halo{fill:none;stroke:var(--candidate);stroke-width:1.6}
"""


def finite(value: Number) -> bool:
    """Return whether there is a number to draw or print."""
    return value is not None and math.isfinite(value)


def known(values: Iterable[Number]) -> list[float]:
    """Return the finite numbers among `values`."""
    return [value for value in values if value is not None and math.isfinite(value)]


@dataclass(frozen=True)
class Scale:
    """A scale maps [low, high] to [start, end] in chart units, linearly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * ((value - low) / (high - low) if high > low else 0.5)

    def ticks(self) -> list[float]:
        """Return a handful of round numbers within the scale."""
        if self.log:
            steps: tuple[int, ...] = (1,) if self.high / self.low > 1000 else (1, 3)
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            marks = [step * 10.0**power for power in powers for step in steps]
        else:
            step = _round_step((self.high - self.low) / 4) or 1.0
            marks = [step * index for index in range(math.floor(self.low / step), math.ceil(self.high / step) + 1)]
        return [mark for mark in marks if self.low <= mark <= self.high]


def _round_step(raw: float) -> float:
    if raw <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(raw))
    return power * next(factor for factor in (1, 2, 2.5, 5, 10) if raw <= factor * power * 1.0001)


def _path(points: Iterable[tuple[float, Number]], x: Scale, y: Scale, style: str) -> str:
    """Return a line that breaks where a number is missing."""
    parts, pen_down = [], False
    for at, value in points:
        if value is None or not math.isfinite(value):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{x(at):.1f} {y(value):.1f}")
        pen_down = True
    return f'<path class="{style}" d="{"".join(parts)}"/>' if parts else ""


def written(x: float, y: float, text: str, anchor: str = "start", style: str = "") -> str:
    """Return a text at a place."""
    css = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css}>{escape(text)}</text>'


def _y_axis(y: Scale, right: float = WIDTH - RIGHT) -> str:
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        + written(LEFT - 6, y(tick) + 4, f"{tick:,.6g}", "end")
        for tick in y.ticks()
    )


def _ends(first_at: float, first: str, last: str) -> list[str]:
    """Return the labels of the first and last step; of few steps one that names both.

    A moment is told to the minute, without its zone.
    """
    first, last = (label[:MINUTE].replace("T", " ") for label in (first, last))
    right = float(WIDTH - RIGHT)
    if first == last:
        return [written(right, HEIGHT - 8, last, "end")]
    if first_at + LETTER * (len(first) + 2 + len(last)) > right:
        return [written(right, HEIGHT - 8, f"{first} to {last}", "end")]
    return [written(first_at, HEIGHT - 8, first), written(right, HEIGHT - 8, last, "end")]


def framed(body: str, about: str) -> Markup:
    """Return a whole chart of its parts; `about` says what it shows to those who cannot see it."""
    label = escape(about, {'"': "&quot;"})
    return Markup(  # noqa: S704 escaped parts
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{label}">{body}</svg>'
    )


def standalone(chart: Markup) -> str:
    """Return the chart as a file of its own, with the colours that it has on the page."""
    return str(chart).replace(">", f"><style>{PALETTE}{STYLE}</style>", 1) + "\n"


def forecast(picture: Picture) -> Markup | None:
    """Draw past, outcome, the 80 % band and every model's median over time; None without numbers."""
    count = max(len(picture.actual), len(picture.labels), *(len(curve) for curve in picture.curves.values()), 0)
    split = len(picture.past)
    drawn = [picture.past, picture.actual, picture.low, picture.high, *picture.curves.values()]
    values = known(value for line in drawn for value in line)
    if not values or not count:
        return None
    x = Scale(0, max(split + count - 1, 1), LEFT, WIDTH - RIGHT)
    y = Scale(min(0.0, *values), max(*values, 1e-9) * 1.05, HEIGHT - BOTTOM, TOP)

    def ahead(line: Sequence[Number], style: str) -> str:
        return _path(((split + index, value) for index, value in enumerate(line)), x, y, style)

    body = [_y_axis(y)]
    if picture.low and picture.high:
        edges = [(split + i, low, high) for i, (low, high) in enumerate(zip(picture.low, picture.high, strict=False))]
        closed = [(at, low, high) for at, low, high in edges if low is not None and high is not None]
        corners = [(at, low) for at, low, _ in closed] + [(at, high) for at, _, high in reversed(closed)]
        line = "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in corners)
        body.append(f'<path class="band" d="M{line}Z"/>')
    if split:
        body.append(f'<line class="split" x1="{x(split - 0.5):.1f}" x2="{x(split - 0.5):.1f}" '
                    f'y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')  # fmt: skip
        body.append(_path(((index, value) for index, value in enumerate(picture.past)), x, y, "past"))
    styles = ("naive", "champion", "teacher", "candidate")
    body += [ahead(picture.curves[style], style) for style in styles[:3] if style in picture.curves]
    body.append(ahead(picture.actual, "actual"))
    body.append(ahead(picture.curves.get("candidate", ()), "candidate"))
    if picture.labels:
        body += _ends(x(split) if split else float(LEFT), picture.labels[0], picture.labels[-1])
    if split:
        body.append(written(LEFT, HEIGHT - 8, f"{split} steps before"))
    return framed("".join(body), f"{picture.title}: forecast against what happened")


def bars(picture: Picture) -> Markup | None:
    """Draw grouped bars, one group a label, for problems without a time axis; None without numbers."""
    series = {"actual": picture.actual, **picture.curves}
    values = known(value for line in series.values() for value in line)
    if not values or not picture.labels:
        return None
    y = Scale(min(0.0, *values), max(*values, 1e-9) * 1.05, HEIGHT - BOTTOM, TOP)
    slot = (WIDTH - LEFT - RIGHT) / len(picture.labels)
    width = slot * 0.8 / len(series)
    body = [_y_axis(y)]
    for group, label in enumerate(picture.labels):
        start = LEFT + slot * group
        body.append(written(start + slot / 2, HEIGHT - 8, label, "middle"))
        for place, (style, line) in enumerate(series.items()):
            value = line[group] if group < len(line) else None
            if value is not None and math.isfinite(value):
                top, base = sorted((y(value), y(0)))
                body.append(f'<rect class="{escape(style)}" x="{start + slot * 0.1 + width * place:.1f}" '
                            f'y="{top:.1f}" width="{width * 0.92:.1f}" height="{base - top:.1f}"/>')  # fmt: skip
    return framed("".join(body), f"{picture.title}: predicted against actual")


def losses(curve: LossCurve) -> Markup | None:
    """Draw validation error (left axis) and training loss (right axis, another unit) by epoch; None without numbers."""
    train = known(value for fold in curve.folds for value in fold.train)
    valid = known(value for fold in curve.folds for value in fold.valid)
    if not train or not valid:
        return None
    last = max(len(line) for fold in curve.folds for line in (fold.train, fold.valid))
    right = WIDTH - LEFT
    x = Scale(1, max(last, 2), LEFT, right)
    y_valid, y_train = (_snug(values) for values in (valid, train))
    body = [_y_axis(y_valid, right)]
    body += [written(right + 6, y_train(tick) + 4, f"{tick:,.6g}") for tick in y_train.ticks()]
    for fold in curve.folds:
        body.append(_path(enumerate(fold.train, 1), x, y_train, "train"))
        body.append(_path(enumerate(fold.valid, 1), x, y_valid, "valid"))
        best = fold.valid[fold.best] if fold.best is not None and fold.best < len(fold.valid) else None
        if best is not None and fold.best is not None and math.isfinite(best):
            body.append(f'<circle class="best" cx="{x(fold.best + 1):.1f}" cy="{y_valid(best):.1f}" r="3.5"/>')
    body.append(written(LEFT, HEIGHT - 8, "epoch 1"))
    body.append(written(right, HEIGHT - 8, str(last), "end"))
    return framed("".join(body), f"{curve.name}: validation error and training loss by epoch")


def _snug(values: Sequence[float]) -> Scale:
    spread = max(values) - min(values) or abs(values[0]) or 1.0
    return Scale(min(values) - spread * 0.05, max(values) + spread * 0.05, HEIGHT - BOTTOM, TOP)


def pareto(models: Sequence[ModelFacts], metric: str, size_text: Callable[[float], str]) -> Markup | None:
    """Draw error against bytes (log); the line joins models unbeaten in both. None with fewer than two points."""
    points = [
        (model.size, model.error, model)
        for model in models
        if model.size is not None and model.size > 0 and model.error is not None and math.isfinite(model.error)
    ]
    if len(points) < 2:
        return None
    best = min(error for _, error, _ in points)
    # A broken candidate must not flatten the rest: what is far off is drawn at the upper edge with its number.
    ceiling = max(error for _, error, _ in points if error <= best * 1.25)
    spread = ceiling - best or best * 0.1 or 1.0
    sizes = [size for size, _, _ in points]
    x = Scale(min(sizes) / 1.6, max(sizes) * 1.6, LEFT + 4, WIDTH - RIGHT, log=True)
    y = Scale(best - spread * 0.2, ceiling + spread * 0.25, HEIGHT - BOTTOM - 6, TOP + 12)
    body = [_y_axis(y), written(LEFT, TOP, f"{metric} (lower is better)")]
    body.extend(written(x(tick), HEIGHT - 8, size_text(tick), "middle") for tick in x.ticks() if tick >= 100)
    body.append(_front(points, x, y))
    order = sorted(points, key=lambda point: (not point[2].winner, point[1]))
    spots = [(x(size), max(y(error), TOP + 14.0)) for size, error, _ in order]
    taken = [(cx - 6, cy - 6, cx + 6, cy + 6) for cx, cy in spots]
    for (cx, cy), (_, error, model) in zip(spots, order, strict=True):
        if model.winner:
            body.append(f'<circle class="halo" cx="{cx:.1f}" cy="{cy:.1f}" r="8"/>')
        body.append(f'<circle class="dot {escape(model.role)}" cx="{cx:.1f}" cy="{cy:.1f}" r="5"/>')
        label = model.name if error <= ceiling else f"↑ {model.name} {error:.4g}"
        body.append(_label(cx, cy, label, taken, "strong" if model.winner else ""))
    return framed("".join(body), f"{metric} against bytes of every model")


def search(found: Search, metric: str, size_text: Callable[[float], str]) -> Markup | None:
    """Draw each trial's error against bytes (log), coloured by number format, with the limits; None without numbers."""
    points = [
        (trial.size, trial.error, trial)
        for trial in found.trials
        if trial.size and trial.error is not None and math.isfinite(trial.error)
    ]
    if not points:
        return None
    best = min(error for _, error, _ in points)
    # A limit far from all errors must not flatten them; the heading states it anyway.
    near = {name: limit for name, limit in found.limits.items() if name == "bytes" or 0.8 <= limit / best <= 1.25}
    floor = min(best, near.get("error", best))
    ceiling = max(error for error in [*(point[1] for point in points), near.get("error", best)] if error <= best * 1.25)
    spread = ceiling - floor or best * 0.1 or 1.0
    sizes = [*(size for size, _, _ in points), *([near["bytes"]] if "bytes" in near else [])]
    x = Scale(min(sizes) / 1.3, max(sizes) * 1.3, LEFT + 4, WIDTH - RIGHT, log=True)
    y = Scale(floor - spread * 0.2, ceiling + spread * 0.25, HEIGHT - BOTTOM - 6, TOP + 12)
    body = [_y_axis(y), written(LEFT, TOP, f"{metric} (lower is better)")]
    body.extend(written(x(tick), HEIGHT - 8, size_text(tick), "middle") for tick in x.ticks())
    if "bytes" in near:
        at = f"{x(near['bytes']):.1f}"
        body.append(f'<line class="limit" x1="{at}" x2="{at}" y1="{TOP + 6}" y2="{HEIGHT - BOTTOM}"/>')
    if "error" in near:
        at = f"{y(near['error']):.1f}"
        body.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
    for size, error, trial in sorted(points, key=lambda point: not point[2].pruned):
        cx, cy = f"{x(size):.1f}", f"{max(y(error), TOP + 14.0):.1f}"
        if trial.number == found.chosen:
            body.append(f'<circle class="halo" cx="{cx}" cy="{cy}" r="8"/>')
        style = f"trial format-{min(found.formats.index(trial.numbers), 5)}{' pruned' if trial.pruned else ''}"
        about = escape(f"trial {trial.number + 1}: {trial.steps}; {metric} {error:.4g}, {size_text(size)}")
        body.append(f'<circle class="{style}" cx="{cx}" cy="{cy}" r="4"><title>{about}</title></circle>')
    return framed("".join(body), f"{metric} against bytes of every trial of {found.recipe}")


def _front(points: Iterable[tuple[float, float, ModelFacts]], x: Scale, y: Scale) -> str:
    front: list[tuple[float, float]] = []
    for size, error, _ in sorted(points, key=lambda point: (point[0], point[1])):
        if not front or error < front[-1][1]:
            if front:
                front.append((size, front[-1][1]))
            front.append((size, error))
    return _path(front, x, y, "front")


def _label(cx: float, cy: float, text: str, taken: list[tuple[float, float, float, float]], style: str) -> str:
    """Put the text where it hides least of what is drawn already, and remember its box in `taken`."""
    wide, high = LETTER * len(text) + 4, 12.0
    offers = []
    for dy in (0.0, -13.0, 13.0, -26.0, 26.0, -39.0, 39.0, -52.0, 52.0):
        for anchor, left in (("start", cx + 9), ("end", cx - 9 - wide), ("middle", cx - wide / 2)):
            if anchor == "middle" and abs(dy) < 13:
                continue
            box = (left, cy + dy - high / 2, left + wide, cy + dy + high / 2)
            inside = box[0] >= LEFT and box[2] <= WIDTH and box[1] >= TOP and box[3] <= HEIGHT - BOTTOM + 4
            hidden = sum(_overlap(box, other) for other in taken)
            offers.append((not inside, hidden, abs(dy), anchor, box))
    _, _, _, anchor, box = min(offers)
    taken.append(box)
    at = {"start": box[0], "end": box[2], "middle": (box[0] + box[2]) / 2}[anchor]
    return written(at, (box[1] + box[3]) / 2 + 4, text, anchor, style)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
