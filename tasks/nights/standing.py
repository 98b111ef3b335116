"""How a workload stands, in one colour and the reason for it."""

from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Literal

from tasks.nights.collect import Nights

Colour = Literal["red", "amber", "green"]
REJECTED_IN_A_ROW = 3
OLD_DAYS = 30
NIGHTS_OF_RHYTHM = 8
ACTED = ("regression", "held", "rolled-back")


@dataclass(frozen=True)
class Standing:
    """A Standing is a workload's colour, why, and what else is worth a look."""

    colour: Colour
    reason: str
    further: tuple[str, ...] = ()


def usual_pause(found: Nights) -> int:
    """Return the longest pause between the last nights in days, at least one: a night that takes longer is late."""
    as_ofs = sorted({night.as_of for night in found.nights})
    return max([1, *((later - earlier).days for earlier, later in pairwise(as_ofs[-NIGHTS_OF_RHYTHM:]))])


def standing(found: Nights, today: date, *, scheduled: bool = True) -> Standing:
    """Return how a workload stands on a day; the reason of the worst colour comes first.

    Red: data did not come, the last night stopped, or none came, or the champion is worse than it should be. Amber:
    nothing gets through, or somebody has to decide. `scheduled`: whether a night is expected every day.
    """
    red: list[str] = [found.late_data] if found.late_data else []
    amber: list[str] = []
    nights = found.nights
    if not nights:
        return Standing("red", red[0]) if red else Standing("amber", "there was no night yet")
    last = nights[-1]
    if last.outcome == "stopped":
        red.append(f"the last night stopped at {last.reason}")
    if last.live and last.live.outcome in ACTED:
        (red if last.live.outcome == "regression" else amber).append(f"{last.live.outcome}: {last.live.reason}")
    as_of = max(night.as_of for night in nights)
    days = (today - as_of).days
    if scheduled and days > usual_pause(found) + 1:  # it is run on the day after
        red.append(f"the last night is as of {as_of}, {days} days ago")
    amber += _of_champion(found, today)
    recent = [night.outcome for night in nights[-REJECTED_IN_A_ROW:]]
    if recent == ["rejected"] * REJECTED_IN_A_ROW:
        amber.append(f"rejected {REJECTED_IN_A_ROW} times in a row: {last.reason}")
    said, more = [*red, *amber], [found.shadow] if found.shadow else []
    if not said:
        return Standing("green", f"{last.outcome}, as of {last.as_of}", tuple(more))
    return Standing("red" if red else "amber", said[0], (*said[1:], *more))


def _of_champion(found: Nights, today: date) -> list[str]:
    """Return what somebody should know of the champion."""
    champion = found.champion
    if champion is None:
        return ["there is no release yet"]
    if found.pinned:
        return [f"release {champion.release} is pinned: {champion.reason}"]
    age = (today - datetime.fromisoformat(champion.created).date()).days
    return [f"release {champion.release} has been champion for {age} days"] if age > OLD_DAYS else []
