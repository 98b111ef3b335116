"""This simulates how often the champion gate errs, and draws the pictures of docs/gates.md.

Losses of two models are drawn whose errors are truly equal: large and small series, series that one model suits better,
days that all series share, and both days and series that remember. A candidate that is truly worse has its losses
multiplied, which multiplies its interval too: one trial serves every true difference.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.gates.comparison import compare
from tasks.problems.base import Clusters, Score

Values = NDArray[np.float64]

MARGIN = 0.02
CONFIDENCE = 0.95
SIZES = (10, 20, 40, 80, 160, 320, 640)
DIFFERENCES = np.linspace(-0.02, 0.06, 81)


@dataclass(frozen=True)
class World:
    """A world has `series` with `origins` of `horizon` days each, `step` days apart, as in the workload `sales`.

    Standard deviations of the log ratio of the two models' losses: `suits` of a series, `shock` of a day for all,
    `noise` of a day of a series. `memory`: correlation of a day with the next. Sizes of series are lognormal with
    `spread`.
    """

    series: int = 320
    origins: int = 2
    horizon: int = 28
    step: int = 7
    block: int = 7
    spread: float = 1.0
    suits: float = 0.015
    shock: float = 0.008
    noise: float = 0.06
    memory: float = 0.6

    @property
    def days(self) -> int:
        """Return the target days of all origins."""
        return self.horizon + self.step * (self.origins - 1)


def draw(world: World, random: np.random.Generator) -> tuple[Score, Score, Clusters]:
    """Draw candidate and champion of equal expected loss on the same rows, ordered by origin."""
    size = random.lognormal(0, world.spread, (world.series, 1))
    units = size * random.gamma(4, 1 / 4, (world.series, world.days))
    missed = np.abs(random.standard_normal(units.shape)) * np.exp(_remembering(world, 0.2, 1, random))
    suits = world.suits * random.standard_normal((world.series, 1))
    shock = _remembering(world, world.shock, 1, random)
    noise = _remembering(world, world.noise, world.series, random)
    variance = world.suits**2 + world.shock**2 + world.noise**2
    champion = units * missed
    candidate = champion * np.exp(suits + shock + noise - variance / 2)
    days = world.step * np.arange(world.origins)[:, None] + np.arange(world.horizon)
    rows = np.tile(np.arange(world.series), world.origins)
    times = np.repeat(days // world.block, world.series, axis=0)

    def score(loss: Values) -> Score:
        parts = np.stack([np.concatenate([values[:, day] for day in days]) for values in (loss, units)])
        return Score(parts[0].sum(axis=1), parts[1].sum(axis=1), {}, parts.astype(np.float32))

    return score(candidate), score(champion), Clusters(rows, times)


def _remembering(world: World, deviation: float, lines: int, random: np.random.Generator) -> Values:
    """Return (lines, days) of a stationary autoregressive process of order one."""
    values = deviation * random.standard_normal((lines, world.days))
    for day in range(1, world.days):
        values[:, day] = world.memory * values[:, day - 1] + np.sqrt(1 - world.memory**2) * values[:, day]
    return values


def two_way(clusters: Clusters) -> Clusters:
    """Cluster as the gate resamples: series and blocks of time."""
    return clusters


def by_series(clusters: Clusters) -> Clusters:
    """Cluster by whole series, as if days had nothing in common."""
    return Clusters(clusters.entities, np.zeros_like(clusters.times))


def by_row(clusters: Clusters) -> Clusters:
    """Cluster by row, as if nothing had anything in common."""
    return Clusters(np.arange(len(clusters.entities)), np.zeros_like(clusters.times))


WAYS: Mapping[str, Callable[[Clusters], Clusters]] = {
    "series and time (the gate)": two_way,
    "series": by_series,
    "rows": by_row,
}


def upper_ends(world: World, way: Callable[[Clusters], Clusters], trials: int, resamples: int = 400) -> Values:
    """Return (trials,) upper ends of the interval of the relative difference of equal models."""
    ends = np.empty(trials)
    for trial in range(trials):
        candidate, champion, clusters = draw(world, np.random.default_rng([trial, world.series]))
        found = compare(candidate, champion, way(clusters), confidence=CONFIDENCE, resamples=resamples, seed=trial)
        ends[trial] = found.high
    return ends


def promoted(ends: Values, difference: float, margin: float = MARGIN) -> float:
    """Return the share of trials in which a candidate that is truly worse by `difference`, relatively, passes."""
    return float(((1 + difference) * (1 + ends) - 1 <= margin).mean())


def main() -> None:
    """Write both pictures and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("docs/gates"))
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    ends = {
        (name, size): upper_ends(World(series=size), way, chosen.trials) for name, way in WAYS.items() for size in SIZES
    }
    for (name, size), found in ends.items():
        print(
            f"{size:4d} series, resampled by {name}: promotes {promoted(found, MARGIN):.1%} of those that are worse by "
            f"the margin, rejects {1 - promoted(found, 0.0):.1%} of equals"
        )
    _draw_promotions(ends, chosen.trials, chosen.out / "false-promotion.png")
    _draw_rejections(ends, chosen.trials, chosen.out / "false-rejection.png")


COLOURS = ("#1b6ca8", "#c77700", "#a8201a")


def _draw_promotions(ends: Mapping[tuple[str, int], Values], trials: int, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for name, colour in zip(WAYS, COLOURS, strict=True):
        rates = [promoted(ends[name, 320], difference) for difference in DIFFERENCES]
        axes.plot(100 * DIFFERENCES, 100 * np.array(rates), color=colour, label=f"resampled: {name}")
    axes.axvline(100 * MARGIN, color="#888", linewidth=1)
    axes.axhline(5, color="#888", linewidth=1, linestyle=":")
    axes.text(100 * MARGIN + 0.08, 96, "margin", color="#555", va="top")
    axes.text(-1.95, 6, "5 %", color="#555")
    axes.set(
        xlabel="true difference of the candidate's error to the champion's, %",
        ylabel="promoted, % of trials",
        title=f"Right of the margin every promotion is false (320 series, {trials:,} trials)",
        xlim=(-2, 6),
        ylim=(0, 101),
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_rejections(ends: Mapping[tuple[str, int], Values], trials: int, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (wrong, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
    for name, colour in zip(WAYS, COLOURS, strict=True):
        rejected = [100 - 100 * promoted(ends[name, size], 0.0) for size in SIZES]
        passed = [100 * promoted(ends[name, size], MARGIN) for size in SIZES]
        wrong.plot(SIZES, rejected, "o-", color=colour, label=f"resampled: {name}")
        right.plot(SIZES, passed, "o-", color=colour)
    wrong.set(title="An equal candidate is rejected", ylabel=f"% of {trials:,} trials", ylim=(0, 101))
    right.set(title="One that is worse by the margin is promoted", ylim=(0, 41))
    right.axhline(5, color="#888", linewidth=1, linestyle=":")
    for axes in (wrong, right):
        axes.set(xlabel="series", xscale="log", xticks=SIZES, xticklabels=SIZES)
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    wrong.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
