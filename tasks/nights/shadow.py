"""Which of the nights has the candidate that is in shadow, and how far it has come."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from tasks.core.storage import ObjectStore, open_store
from tasks.nights.collect import Night, Nights

if TYPE_CHECKING:
    from tasks.scoring.shadow import Candidate

log = logging.getLogger(__name__)


def with_shadow(found: Nights, runs: ObjectStore, forecasts: str, asked: object) -> Nights:
    """Return the nights, which say who is in shadow, and for how many nights; as they are if nobody is.

    `forecasts`: address of the forecasts that are kept. `asked`: the section's `shadow_nights`, which nobody checked.
    """
    if not isinstance(asked, int) or asked < 1:
        return found
    from tasks.scoring.shadow import in_shadow  # it takes longer to import than a year of nights to show

    try:
        one = in_shadow(runs, open_store(forecasts), found.workload, found.entries)
    except Exception:  # one lost or damaged file must not hide all nights
        log.exception("who is in shadow cannot be told")
        return found
    if one is None:
        return found
    said = f"in shadow ({len(one.nights)} of {asked})"
    nights = [_told(night, one, said) for night in found.nights]
    return replace(found, nights=nights, shadow=f"the candidate of run {one.run_id} is {said}")


def _told(night: Night, one: "Candidate", said: str) -> Night:
    if not night.shadow or night.created < one.created:
        return night
    where = said if night.run_id == one.run_id else f"waits while that of run {one.run_id} is {said}"
    return replace(night, reason=f"{where}: {night.reason}")
