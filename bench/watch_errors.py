"""This simulates how often the watch takes a sound release for a regression, and how soon it sees a real one.

Two releases forecast in the world of gate_errors, day by day; the watch looks every night, at the
truth of the last `days` days. A release that is truly worse has its losses multiplied, and thereby its interval: one
trial serves every true difference. `python -m bench.watch_errors` prints the table of docs/gates.md.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.gate_errors import World, draw
from tasks.problems.base import Score
from tasks.watching.measure import FEW_BLOCKS, against
from tasks.watching.options import Watch

FIRST = date(2026, 1, 1)
DIFFERENCES = (0.0, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Nights:
    """Nights are `nights` evenings of one release, seen by the rules of `watch` from its first day of truth on."""

    world: World = World()  # noqa: RUF009 frozen
    nights: int = 30
    watch: Watch = Watch()  # noqa: RUF009 frozen


WORLDS = {
    "former champion": World(),
    "naive forecast, as gated": World(suits=0.1, shock=0.06, noise=0.4),
}
"""Two releases of one workload err alike; a model and the naive forecast do not, so their ratio scatters far more."""


def lower_ends(nights: Nights, trials: int, resamples: int = 400) -> NDArray[np.float64]:
    """Return (trials, nights) lower ends of the interval of equal releases; minus infinity where nothing is judged."""
    ends = np.full((trials, nights.nights), -np.inf)
    world = replace(nights.world, origins=1, horizon=nights.nights)
    for trial in range(trials):
        candidate, champion, clusters = draw(world, np.random.default_rng([trial, world.series]))
        rows = _rows(candidate, champion, clusters.entities)
        for night in range(FEW_BLOCKS, nights.nights + 1):
            last = FIRST + timedelta(days=night - 1)
            seen = rows.filter(pl.col("day").is_between(last - timedelta(days=nights.watch.days - 1), last))
            found = against(seen, "former", 1.0, nights.watch.confidence, resamples)
            ends[trial, night - 1] = found.low if found else -np.inf
    return ends


def _rows(candidate: Score, champion: Score, entities: NDArray[np.int64]) -> pl.DataFrame:
    assert candidate.steps is not None and champion.steps is not None
    series, days = candidate.steps.shape[1:]
    return pl.DataFrame(
        {
            "entity": np.repeat(entities, days),
            "day": np.tile(np.array([FIRST + timedelta(days=day) for day in range(days)], "datetime64[D]"), series),
            "loss": candidate.steps[0].ravel().astype(np.float64),
            "weight": candidate.steps[1].ravel().astype(np.float64),
            "former": champion.steps[0].ravel().astype(np.float64),
        }
    )


def alarms(ends: NDArray[np.float64], difference: float, margin: float) -> NDArray[np.bool_]:
    """Return (trials, nights) whether the watch says regression of a release that is truly worse by `difference`."""
    found: NDArray[np.bool_] = (1 + difference) * (1 + ends) - 1 > margin
    return found


def table(ends: NDArray[np.float64], margin: float) -> Sequence[str]:
    """Return lines of Markdown: share of nights with an alarm, of releases with one by night 7, 14 and the last."""
    nights = ends.shape[1]
    marks = [mark for mark in (7, 14, 28, nights) if mark <= nights]
    lines = [f"| truly worse by | alarms a night | {' | '.join(f'within {mark} nights' for mark in marks)} |"]
    lines.append("|---" * (2 + len(marks)) + "|")
    for difference in DIFFERENCES:
        found = alarms(ends, difference, margin)
        by = [f"{found[:, :mark].any(axis=1).mean():.1%}" for mark in marks]
        lines.append(f"| {difference:.0%} | {found[:, FEW_BLOCKS - 1 :].mean():.2%} | {' | '.join(by)} |")
    return lines


def main() -> None:
    """Print the table for a small and a large workload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    chosen = parser.parse_args()
    for name, world in WORLDS.items():
        for series in (40, 320):
            nights = Nights(replace(world, series=series))
            ends = lower_ends(nights, chosen.trials)
            for margin in (0.02, 0.05):
                print(f"\n{series} series against the {name}, margin {margin:.0%}, {chosen.trials} releases:\n")
                print("\n".join(table(ends, margin)), flush=True)


if __name__ == "__main__":
    main()
