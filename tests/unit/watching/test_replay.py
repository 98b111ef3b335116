"""Thirty nights in short: a release with a leak is let through on purpose, and found."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.errors import NotYetError, UsageError
from tasks.problems.forecasting.problem import Forecasting
from tasks.releases.pins import pin
from tasks.watching.evening import Evening, watch
from tests.unit.watching.shop import START, Shop, by_leak, by_weekday

SOUND, LEAKING = 1, 2
FOUND_WITHIN = 5  # nights from the leaking release's first forecast


def day(offset: int) -> date:
    return START + timedelta(days=offset)


def evening(shop: Shop, offset: int) -> Evening:
    return watch(shop.settings, "sales", shop.raw(day(offset)), shop.section.watch)


def nights(shop: Shop, first: int, count: int) -> None:
    for offset in range(first, first + count):
        shop.forecast(day(offset))


@pytest.fixture
def shop(tmp_path: Path) -> Callable[..., Shop]:
    def make(**options: Any) -> Shop:
        shop = Shop(tmp_path, **options)
        shop.release(by_weekday(), START)
        nights(shop, 0, 3)
        return shop

    return make


def test_a_leaking_release_is_found_and_rolled_back_once_with_its_evidence(shop: Callable[..., Shop]) -> None:
    mine = shop(on_regression="rollback")
    clean = evening(mine, 3)
    assert (clean.decision.outcome, clean.champion) == ("fine", SOUND)
    leaking = mine.release(by_leak(), day(3))
    assert leaking.reason.startswith("-8")  # what the gates believed: four fifths of the error saved
    nights(mine, 3, FOUND_WITHIN)
    last = 3 + FOUND_WITHIN
    assert evening(mine, last - 1).decision.outcome == "fine"  # nothing is said of four days of truth
    found = evening(mine, last)
    assert found.decision.outcome == "rolled-back", found
    back = mine.releases.ledger.entries()[-1]
    assert (back.kind, back.release, back.run_id) == ("rollback", SOUND, f"watch-{LEAKING}")
    assert found.decision.evidence in back.reason and "interval" in back.reason and " rows, " in back.reason
    shown = json.loads((Path(mine.settings.forecasts) / found.decision.evidence).read_text())
    table = pl.scan_parquet(shown["watched"])
    asked = pl.SQLContext(watched=table).execute(shown["query"], eager=True)
    assert asked["rows"].item() == shown["rows"]
    assert asked["difference"].item() == pytest.approx(shown["difference"], rel=1e-4)
    assert shown["low"] > shown["margin"]

    # The next evenings are about the release that is back; nothing is done twice.
    mine.forecast(day(last))
    assert evening(mine, last + 1).champion == SOUND
    assert len(mine.releases.ledger.entries()) == 3
    # Somebody insists on it: it is told, and left alone.
    mine.releases.rollback(LEAKING, "we want it back")
    insisted = evening(mine, last + 1)
    assert insisted.decision.outcome == "regression" and "acted on this release before" in insisted.decision.reason
    assert len(mine.releases.ledger.entries()) == 4


def test_a_rollback_that_a_killed_watch_did_not_tell_is_told_by_the_next_one(shop: Callable[..., Shop]) -> None:
    mine = shop()
    mine.release(by_leak(), day(3))
    nights(mine, 3, 2)
    why = "watch: live error +80 %; evidence _watched/sales/evidence/2-abc.json"
    mine.releases.rollback(SOUND, why, f"watch-{LEAKING}")
    made_up = evening(mine, 5)
    assert (made_up.champion, made_up.decision.outcome) == (LEAKING, "rolled-back")
    assert made_up.decision.reason == "live error +80 %; release 1 is champion again"
    assert made_up.decision.evidence == "_watched/sales/evidence/2-abc.json"
    again = evening(mine, 5)
    assert (again.champion, again.decision.outcome) == (SOUND, "fine")
    report = json.loads(mine.settings.runs().read(f"watch/sales/{day(5)}.json"))
    assert report["summary"]["outcome"] == "rolled-back"


def test_sums_that_a_killed_watch_left_alone_get_their_digest(shop: Callable[..., Shop]) -> None:
    mine = shop()
    evening(mine, 3)
    told = Path(mine.settings.forecasts) / "_watched" / "sales" / str(day(2)) / "outcomes.json"
    before = told.read_bytes()
    told.unlink()
    assert evening(mine, 3).corrected == ()
    assert told.read_bytes() == before


def test_without_a_naive_forecast_the_former_champion_is_still_compared_with(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = shop()
    mine.release(by_leak(), day(3))
    nights(mine, 3, 2)
    monkeypatch.setattr(Forecasting, "naive_predictions", gone)
    found = evening(mine, 5)
    assert any("naive forecast of" in note and "no run" in note for note in found.notes)
    live = next(one for one in found.live if (one.release, one.part) == (LEAKING, "all"))
    assert live.comparisons["naive"] is None and live.comparisons["former"] is not None


def test_forecasts_of_a_run_that_was_tidied_up_are_a_note(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = shop()
    monkeypatch.setattr(Forecasting, "outcomes", gone)
    with pytest.raises(NotYetError, match="are not counted: no run 'r1'"):
        evening(mine, 3)


def gone(*_: Any) -> Any:
    raise UsageError("no run 'r1'")


@pytest.mark.parametrize(("reaction", "outcome"), [("notify", "regression"), ("hold", "held")])
def test_what_a_regression_leads_to(reaction: str, outcome: str, shop: Callable[..., Shop]) -> None:
    mine = shop(on_regression=reaction)
    mine.release(by_leak(), day(3))
    nights(mine, 3, 5)
    found = evening(mine, 8)
    assert found.decision.outcome == outcome
    kinds = [entry.kind for entry in mine.releases.ledger.entries()]
    assert kinds == ["promote", "promote", *(["pin"] if outcome == "held" else [])]
    # On the next morning it is as it was.
    assert evening(mine, 8).decision.outcome == outcome
    assert len(mine.releases.ledger.entries()) == len(kinds)


def test_a_pinned_champion_is_never_rolled_back(shop: Callable[..., Shop]) -> None:
    mine = shop(on_regression="rollback")
    mine.release(by_leak(), day(3))
    pin(mine.releases, "a promise to the shops")
    nights(mine, 3, 5)
    found = evening(mine, 8)
    assert found.decision.outcome == "regression" and "pins it" in found.decision.reason
    assert [entry.kind for entry in mine.releases.ledger.entries()] == ["promote", "promote", "pin"]


def test_truth_that_is_corrected_is_counted_again_and_said(shop: Callable[..., Shop]) -> None:
    mine = shop()
    assert evening(mine, 3).corrected == ()
    assert evening(mine, 3).corrected == ()
    folder = Path(mine.settings.forecasts) / "_watched" / "sales" / str(day(2))
    assert sorted(path.name for path in folder.iterdir()) == ["outcomes.json", "outcomes.parquet"]
    first = pl.read_parquet(folder / "outcomes.parquet").filter(part="all")["loss"].sum()
    wrong = (pl.col("date") == day(2)) & (pl.col("series_id") == "s03")
    mine.rows = mine.rows.with_columns(units=pl.when(wrong).then(pl.col("units") + 500).otherwise(pl.col("units")))
    again = evening(mine, 3)
    assert again.corrected == (day(2),)
    assert (folder / "outcomes-2.parquet").is_file() and (folder / "outcomes-2.json").is_file()
    assert pl.read_parquet(folder / "outcomes.parquet").filter(part="all")["loss"].sum() == first
    assert pl.read_parquet(folder / "outcomes-2.parquet").filter(part="all")["loss"].sum() > first + 400


def test_without_truth_there_is_nothing_to_watch(shop: Callable[..., Shop]) -> None:
    with pytest.raises(NotYetError, match="no truth has come"):
        evening(shop(), 0)
