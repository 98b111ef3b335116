"""What counts as a regression, on outcomes made by hand."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.core.storage import FolderStore
from tasks.releases.store import ReleaseStore
from tasks.watching.join import Joined
from tasks.watching.options import Watch
from tasks.watching.regression import better, decide, find

FIRST = date(2026, 6, 1)
WATCH = Watch(margin=0.05, days=28)
STEPS = 4


def joined(days: int, **ratio: float) -> Joined:
    """A release that forecasts every evening, `STEPS` days ahead; losses of others as ratios to its own."""
    random = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for evening in range(days):
        for step in range(1, STEPS + 1):
            if (day := evening + step) <= days:
                for series in range(20):
                    loss = float(random.gamma(4))
                    others = {name: loss * (ratio[name] + 0.02 * random.standard_normal()) for name in ratio}
                    facts: dict[str, Any] = {"entity": f"s{series}", "day": FIRST + timedelta(days=day), "step": step}
                    facts |= {"as_of": FIRST + timedelta(days=evening), "steps": STEPS, "loss": loss, "weight": 10.0}
                    rows.append({**facts, **others})
    table = pl.DataFrame(rows).with_columns(release=pl.lit(7, pl.Int64))
    missing = [pl.lit(None, pl.Float64).alias(name) for name in ("naive", "former") if name not in ratio]
    return Joined(table.with_columns(missing), 1.0, "wape")


def test_a_release_that_does_as_well_as_another_has_not_regressed() -> None:
    assert find(joined(12, former=1.0, naive=2.0), 7, WATCH, 0.5) is None


def test_a_release_that_is_worse_than_the_former_champion_is_found_after_five_days() -> None:
    assert find(joined(4, former=0.8), 7, WATCH, None) is None
    found = find(joined(5, former=0.8), 7, WATCH, None)
    assert found is not None and (found.against, found.first, found.last) == (
        "former",
        FIRST + timedelta(days=1),
        FIRST + timedelta(days=5),
    )
    assert 0.2 < found.comparison.low < 0.25 < found.comparison.high < 0.3


def test_the_gates_are_compared_with_on_days_of_which_every_step_is_there() -> None:
    # The gates said half of the naive error; it is two thirds.
    assert find(joined(STEPS + 3, naive=1.5), 7, WATCH, 0.5) is None
    found = find(joined(STEPS + 4, naive=1.5), 7, WATCH, 0.5)
    assert found is not None and (found.against, found.first) == ("gates", FIRST + timedelta(days=STEPS))
    assert found.comparison.low < 1 / 3 < found.comparison.high


def test_what_the_margin_bears_is_no_regression() -> None:
    assert find(joined(12, former=0.97), 7, WATCH, None) is None


def test_another_release_is_not_blamed() -> None:
    assert find(joined(12, former=0.5), 8, WATCH, None) is None


def test_only_a_release_that_is_known_to_do_better_on_the_same_rows_is_gone_back_to() -> None:
    def beside(**ratio: float) -> Joined:
        made = joined(6, **ratio)
        return replace(made, rows=made.rows.with_columns(former_release=pl.lit(6, pl.Int64)))

    assert better(beside(former=0.9), 7, 6)
    assert not better(beside(former=1.1), 7, 6)
    assert not better(beside(former=0.9), 7, 5)  # another release was measured
    assert not better(beside(), 7, 6)


@pytest.mark.parametrize(("former", "outcome"), [(0.9, "rolled-back"), (1.1, "regression")])
def test_a_champion_stays_if_the_release_before_it_does_no_better(former: float, outcome: str, tmp_path: Path) -> None:
    releases = ReleaseStore(FolderStore(tmp_path), "sales")
    for number in range(2):
        releases.publish(
            {"model.onnx": bytes([number])}, expected=number, run_id=f"r{number}", as_of=FIRST, reason="better"
        )
    made = joined(STEPS + 6, naive=1.5, former=former)
    rows = made.rows.with_columns(release=pl.lit(2, pl.Int64), former_release=pl.lit(1, pl.Int64))
    made = replace(made, rows=rows)
    watch = Watch(margin=0.2, on_regression="rollback")
    found = find(made, 2, watch, 0.5)
    assert found is not None and found.against == "gates"
    said = decide(releases, releases.ledger.entries(), found, made, watch, "key")
    assert said.outcome == outcome
    assert ("the release before it is no better" in said.reason) == (outcome == "regression")
    assert len(releases.ledger.entries()) == 2 + (outcome == "rolled-back")
