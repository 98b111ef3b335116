"""This module prints, for the command line, what became of releases: live errors, regressions, nights."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.cli.console import errors, plain
from tasks.core.errors import NightstillError
from tasks.core.settings import Settings
from tasks.nights.collect import Nights
from tasks.nights.standing import Standing
from tasks.reporting.page import number, percent, seconds, size
from tasks.tracking.runs import Tracking, experiment_name, log_live

if TYPE_CHECKING:  # these take longer to import than a year of nights to show
    from tasks.gates.comparison import Comparison
    from tasks.retention.tidy import Tidying
    from tasks.watching.evening import Evening
    from tasks.watching.measure import Live

SHOWN = 12  # values of a part, those with most rows first


def show_evening(console: Console, evening: "Evening") -> None:
    """Print what was decided, live errors by release, then those of the champion by part."""
    style = "green" if evening.decision.outcome == "fine" else "bold red"
    console.rule(f"{evening.workload} · truth up to {evening.until}", align="left")
    said = (evening.decision.outcome.upper(), style)
    console.print(Text.assemble(said, " ", plain(evening.decision.reason)), soft_wrap=True)
    for day in evening.corrected:
        console.print(f"The truth of {day} was corrected since it was counted; it is counted again", highlight=False)
    for note in evening.notes:
        console.print(plain(note), soft_wrap=True)
    table = _table("Live errors by release", "release", evening.metric)
    for one in evening.live:
        if one.part == "all":
            champion = " (champion)" if one.release == evening.champion else ""
            table.add_row(f"{one.release}{champion}", *_numbers(one))
    console.print(table)
    for part in dict.fromkeys(one.part for one in evening.live if one.part != "all"):
        found = [one for one in evening.live if (one.release, one.part) == (evening.champion, part)]
        table = _table(f"The champion by {part}", part, evening.metric)
        shown = found if part == "step" else sorted(found, key=lambda one: -one.rows)[:SHOWN]
        for one in shown:
            table.add_row(plain(one.value), *_numbers(one))
        if found:
            console.print(table)


COLOURS = {"red": "bold red", "amber": "yellow", "green": "green"}


def show_nights(console: Console, found: Nights, standing: Standing) -> None:
    """Print how a workload stands, then its nights, newest last."""
    console.rule(f"{found.workload} · {len(found.nights)} nights", align="left")
    _stand(console, standing)
    table = Table()
    for name in ("as of", "outcome", "error", "champion", "naive", "live", "bytes", "drift", "seconds", "why"):
        table.add_column(name, justify="left" if name in ("as of", "outcome", "why") else "right")
    for night in found.nights:
        numbers = (night.error, night.champion, night.naive, night.live.error if night.live else None)
        shown = [*map(number, numbers), size(night.size), number(night.drift), seconds(sum(night.seconds.values()))]
        table.add_row(str(night.as_of), night.outcome, *shown, plain(night.reason))
    console.print(table)


def show_overview(console: Console, found: Sequence[tuple[Nights, Standing]]) -> None:
    """Print how each workload stands."""
    for nights, standing in found:
        console.print(Text.assemble((f"{nights.workload}: ", "bold")), end="")
        _stand(console, standing)


def show_tidying(console: Console, found: "Tidying", *, removed: bool) -> None:
    """Print how many objects of each sort went, or would go."""
    for what, keys in found.parts().items():
        example = f", such as {keys[0]}" if keys else ""
        console.print(f"{what}: {len(keys):,} objects{example}", soft_wrap=True, highlight=False)
    said = "removed" if removed else "would go; --remove does it"
    console.print(f"{found.removed_runs:,} runs {said}; {found.kept_runs:,} stay", highlight=False)


def _stand(console: Console, standing: Standing) -> None:
    said = "; ".join((standing.reason, *standing.further))
    console.print(Text.assemble((standing.colour, COLOURS[standing.colour]), " ", plain(said)), soft_wrap=True)


def tell_mlflow(settings: Settings, evening: "Evening") -> None:
    """Log the champion's live error in the MLflow run that made it; an MLflow that is down costs nothing."""
    live = evening.of_champion()
    if live is None:
        return
    numbers = {evening.metric: live.error, "bias": live.bias, "mean_bias": live.mean_bias, "coverage": live.coverage}
    numbers |= {f"against_{name}": one.difference for name, one in live.comparisons.items() if one}
    metrics = {
        f"live/{name}": float(value) for name, value in numbers.items() if value is not None and math.isfinite(value)
    }
    tracking = Tracking(settings.tracking_uri, settings.tracking_artifacts)
    try:
        if not log_live(
            tracking, experiment_name(evening.workload), evening.run_id, metrics, evening.until.toordinal()
        ):
            errors.print(f"MLflow has no run {evening.run_id}, so the live error is not logged there", highlight=False)
    except NightstillError as error:
        errors.print(f"the live error is not logged: {error}", highlight=False)


def _table(title: str, first: str, metric: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in (first, "rows", metric, "against naive", "against former", "bias", "coverage"):
        table.add_column(name, justify="left" if name == first else "right")
    return table


def _numbers(one: "Live") -> list[str]:
    coverage = "–" if one.coverage is None else f"{one.coverage:.1%}"
    others = (_relative(one.comparisons[name]) for name in ("naive", "former"))
    bias = percent(one.bias) + ("" if one.mean_bias is None else f" (mean {percent(one.mean_bias)})")
    return [f"{one.rows:,}", f"{one.error:.4f}", *others, bias, coverage]


def _relative(found: "Comparison | None") -> str:
    return "–" if found is None else f"{found.difference:+.1%} ({found.low:+.1%} to {found.high:+.1%})"
