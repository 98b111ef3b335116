"""A candidate in shadow: who it is, what is kept of it, and what its nights beside the champion say."""

import json
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from tasks.core.errors import IntegrityError
from tasks.core.storage import open_store
from tasks.releases.manifest import MODEL, sha256
from tasks.releases.pins import pin
from tasks.scoring import kept
from tasks.scoring.scorer import FilesScorer
from tasks.scoring.shadow import Candidate, candidate_files, in_shadow
from tasks.watching.options import Watch
from tasks.watching.shadow import Beside, Both, evidence, judge
from tests.unit.watching.shadowing import NIGHTS, Waiting
from tests.unit.watching.shop import START, by_leak, by_weekday

SOUND = by_weekday(1.0)


def day(offset: int) -> date:
    return START + timedelta(days=offset)


@pytest.fixture
def waiting(tmp_path: Path) -> Waiting:
    made = Waiting(tmp_path)
    made.shop.release(SOUND, START)
    return made


def who(waiting: Waiting) -> Candidate | None:
    forecasts = open_store(waiting.settings.forecasts)
    return in_shadow(waiting.settings.runs(), forecasts, "sales", waiting.releases.ledger.entries())


def beside(waiting: Waiting, until: int, run_id: str = "r1") -> Beside:
    files = candidate_files(waiting.settings, "sales", run_id)
    scorer, made_by = FilesScorer(files, "the candidate"), sha256(files[MODEL])
    store = open_store(waiting.settings.forecasts)
    return Beside(waiting.settings, store, "sales", 1, scorer, waiting.shop.raw(day(until)), made_by)


def joined(waiting: Waiting, until: int) -> Both:
    candidate = who(waiting)
    assert candidate is not None
    both = beside(waiting, until).joined(candidate.nights)
    assert both is not None
    return both


def test_its_forecasts_are_kept_beside_the_champions_and_never_among_them(waiting: Waiting) -> None:
    waiting.opened("r1", by_weekday(1.1))
    made = waiting.night(START, "r1")
    assert "of the candidate in shadow (night 1): kept" in made.shadow
    store = open_store(waiting.settings.forecasts)
    assert [one.release for one in kept.found(store, "sales")] == [1], "the watch sees those of releases alone"
    manifest, said = kept.read(store, f"_shadow/sales/r1/{START}.json")
    theirs, champions = kept.read(store, f"sales/{START}/1.json")
    assert (manifest.candidate, manifest.release, manifest.manifest_sha256) == ("r1", 1, "")
    assert manifest.tables == theirs.tables and not said.equals(champions)
    assert b"candidate" not in store.read(f"sales/{START}/1.json"), "a release's manifest is that of before"
    # Once more on the same day, and after a kill before the manifest.
    assert waiting.night(START, "r1").shadow.endswith("(night 1): kept before, the same bytes")
    (Path(waiting.settings.forecasts) / f"_shadow/sales/r1/{START}.json").unlink()
    assert who(waiting) is None
    assert waiting.night(START, "r1").shadow.endswith("(night 1): kept")


def test_one_at_a_time_is_in_shadow_and_what_passes_meanwhile_waits(waiting: Waiting) -> None:
    waiting.opened("r1", by_weekday(1.1))
    waiting.night(START, "r1")
    waiting.opened("r2", by_weekday(1.2), day(1))
    assert "night 2" in waiting.night(day(1), "r2").shadow
    found = who(waiting)
    assert found is not None and found.run_id == "r1" and list(found.nights) == [START, day(1)]
    waiting.ended("r1", outcome="rejected", reason="worse")
    assert who(waiting) is None
    assert "night 1" in waiting.night(day(2), "r2").shadow, "the place is free for the candidate of the night"


def test_a_night_before_its_own_that_is_scored_again_is_none_of_its_nights(waiting: Waiting) -> None:
    waiting.opened("r1", by_weekday(1.1), day(2))
    assert waiting.night(day(1), "r1").shadow == ""
    assert waiting.night(day(2), "r1").shadow != ""


def test_nobody_is_in_shadow_once_the_ledger_went_on(waiting: Waiting) -> None:
    waiting.opened("r1", by_weekday(1.1))
    waiting.night(START, "r1")
    pin(waiting.releases, "the sale lasts")
    assert who(waiting) is None and waiting.night(day(1), "r1").shadow == ""


def test_a_candidate_whose_data_are_gone_costs_the_night_nothing(waiting: Waiting) -> None:
    waiting.opened("r1", by_weekday(1.1))
    for path in Path(waiting.settings.dvc_remote).rglob("*"):
        if path.is_file() and path.read_bytes() == by_weekday(1.1):
            path.unlink()
    made = waiting.night(START, "r1")
    assert not made.again and made.shadow.startswith("the candidate in shadow made none: ")
    assert "model.onnx is gone from" in made.shadow and "pin and unpin the champion" in made.shadow


def test_bytes_that_were_not_judged_never_get_into_shadow(waiting: Waiting) -> None:
    waiting.opened("r1", by_weekday(1.1))
    for path in Path(waiting.settings.dvc_remote).rglob("*"):
        if path.is_file() and path.read_bytes() == by_weekday(1.1):
            path.write_bytes(SOUND)
    with pytest.raises(IntegrityError, match="has not the bytes that evaluation judged"):
        candidate_files(waiting.settings, "sales", "r1")


def test_a_leak_that_passed_the_gates_is_refused_by_its_nights_in_shadow(waiting: Waiting) -> None:
    waiting.opened("r1", by_leak())
    for offset in range(6):
        waiting.night(day(offset), "r1")
    watch = waiting.section.watch
    assert judge(joined(waiting, 4), NIGHTS, watch, late=False).outcome == "open", "four nights have truth"
    assert judge(joined(waiting, 5), NIGHTS, watch, late=False).outcome == "open", "that of five holds the margin"
    both = joined(waiting, 6)
    found = judge(both, NIGHTS, watch, late=False)
    assert found.outcome == "refused" and found.reason.endswith("worse by more than 5.0%")
    store = open_store(waiting.settings.forecasts)
    key = evidence(store, "sales", "r1", both, found, watch)
    assert evidence(store, "sales", "r1", both, found, watch) == key
    shown = json.loads(store.read(key))
    asked = pl.SQLContext(shadow=pl.scan_parquet(shown["shadow"])).execute(shown["query"], eager=True)
    assert asked["rows"].item() == both.rows.height
    assert asked["difference"].item() == pytest.approx(shown["difference"], rel=1e-4)
    assert shown["low"] > shown["margin"] and shown["candidate"] == "r1"


def test_one_that_is_surely_no_worse_passes_and_one_in_doubt_goes_on_and_is_then_decided(waiting: Waiting) -> None:
    waiting.opened("r1", by_weekday(1.001))
    for offset in range(6):
        waiting.night(day(offset), "r1")
    both = joined(waiting, 6)
    assert judge(both, NIGHTS, Watch(margin=0.05), late=False).outcome == "passed"
    # The interval holds a margin between its ends; twice the nights have truth, and the difference decides.
    mine = judge(both, NIGHTS, Watch(margin=0.05), late=False).comparison
    assert mine is not None and mine.low < mine.difference < mine.high
    for margin, outcome in (
        (max(mine.high, 0) * 0.99, "passed"),
        (0.0, "refused" if mine.difference > 0 else "passed"),
    ):
        watch = Watch(margin=margin)
        assert judge(both, NIGHTS, watch, late=False).outcome == "open"
        assert judge(both, 3, watch, late=False).outcome == outcome


def test_nights_without_truth_are_waited_for_so_long_and_no_longer(waiting: Waiting) -> None:
    assert judge(None, NIGHTS, waiting.section.watch, late=False).outcome == "open"
    refused = judge(None, NIGHTS, waiting.section.watch, late=True)
    assert refused.outcome == "refused" and "no truth of its forecasts has come" in refused.reason


def test_a_night_on_which_both_saw_other_tables_or_the_champion_said_nothing_does_not_count(waiting: Waiting) -> None:
    waiting.opened("r1", by_weekday(1.1))
    for offset in range(3):
        waiting.night(day(offset), "r1")
    folder = Path(waiting.settings.forecasts)
    manifest = folder / f"_shadow/sales/r1/{day(0)}.json"
    manifest.write_text(manifest.read_text().replace('"series": "', '"series": "0'))
    (folder / f"sales/{day(1)}/1.json").unlink()
    candidate, found = who(waiting), beside(waiting, 4)
    assert candidate is not None
    both = found.joined(candidate.nights)
    assert both is not None and both.nights == 1
    assert any("did not forecast from the same tables" in note for note in found.notes)
    assert any("no forecasts of release 1 are kept" in note for note in found.notes)
