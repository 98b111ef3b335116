"""Season, horizon and context that a history has room for."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from tasks.core.errors import DataError
from tasks.tables.steps import Step

MOST_WINDOWS = 100_000
USUAL_ORIGINS = 8
JUDGED = 200
"""Windows of test and of validation each: where there are few series, there are more origins than usual. What is chosen
on the windows of a week, such as the student, is chosen by that week's chance."""
TESTED = 0.1  # of the history: where the origins of test and of validation lie, each


class Lengths(NamedTuple):
    """Season, horizon and context in steps."""

    season: int
    horizon: int
    context: int


USUAL = {
    "1y": Lengths(1, 2, 4), "1q": Lengths(4, 2, 8), "1mo": Lengths(12, 3, 24), "1w": Lengths(52, 4, 56),
    "1b": Lengths(5, 10, 30), "1d": Lengths(7, 14, 56), "1h": Lengths(24, 24, 168), "30m": Lengths(48, 48, 192),
    "15m": Lengths(96, 96, 192), "10m": Lengths(144, 72, 288), "5m": Lengths(288, 72, 576),
}  # fmt: skip
SHORTER_SEASON = {"1w": 4, "1h": 24, "1mo": 3, "1q": 2}
"""Where the history is too short for the usual season."""


@dataclass(frozen=True)
class Plan:
    """How the history is used: `origins` of test and of validation each, `step` apart; `windows` to train on."""

    lengths: Lengths
    origins: int
    step: int
    stride: int
    min_history: int
    windows: int


def plan_lengths(step: Step, steps: int, series: int, asked: tuple[int | None, int | None], reach: int) -> Plan:
    """Lengths that a history of so many `steps` has room for; `asked`: horizon and season, as far as they are given.

    `reach`: steps that covariates are known ahead, 0 without any. Raises DataError when it is too short.
    """
    asked_horizon, asked_season = asked
    usual = USUAL[step.name]
    season = asked_season or usual.season
    horizon = asked_horizon or usual.horizon
    if not asked_horizon and 0 < reach < horizon <= 2 * reach:
        horizon = reach
    context = max(usual.context, season + 1)
    tries = [Lengths(season, horizon, context)]
    if not asked_season and step.name in SHORTER_SEASON:
        short = SHORTER_SEASON[step.name]
        tries.append(Lengths(short, horizon, max(2 * short, short + 1)))
    if not asked_horizon:
        season, context = tries[-1].season, tries[-1].context
        tries += [Lengths(season, length, min(context, 2 * season + 1)) for length in (horizon // 2, 1) if length]
    for lengths in tries:
        apart = max(1, min(lengths.season, lengths.horizon))
        history = lengths.context
        wanted = max(USUAL_ORIGINS, math.ceil(JUDGED / series))
        origins = max(1, min(wanted, int(TESTED * steps / apart)))
        trained = steps - history - 3 * lengths.horizon - apart * (2 * origins - 2)
        while origins > 1 and trained < steps // 4:
            origins -= 1
            trained += 2 * apart
        if trained >= max(8, lengths.horizon):
            stride = max(1, math.ceil(trained * series / MOST_WINDOWS))
            return Plan(lengths, origins, apart, stride, history, trained * series // stride)
    least = tries[-1]
    need = least.context + 3 * least.horizon + max(8, least.horizon)
    raise DataError(
        f"{steps} {step.noun}s of history; a forecast of {least.horizon} needs {need}; add data, or set a "
        "shorter --horizon or --season"
    )
