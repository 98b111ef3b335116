"""Who is in shadow, on the page of the nights; and what is tidied up of it."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.cli import after
from tasks.cli.console import console
from tasks.nights import page
from tasks.nights.collect import Nights, collect
from tasks.nights.shadow import with_shadow
from tasks.nights.standing import standing
from tasks.releases.pins import pin
from tasks.retention.tidy import Tidy
from tests.unit.watching.shadowing import Waiting
from tests.unit.watching.shop import START, by_weekday


@pytest.fixture
def waiting(tmp_path: Path) -> Waiting:
    made = Waiting(tmp_path)
    made.shop.release(by_weekday(1.0), START)
    for number in range(3):
        run_id, as_of = f"r{number + 1}", START + timedelta(days=number)
        made.opened(run_id, by_weekday(1.1), as_of)
        made.night(as_of, run_id)
    return made


def nights_of(waiting: Waiting) -> Nights:
    runs, releases = waiting.settings.runs(), waiting.settings.releases()
    found = collect(runs, releases, "sales", 30)
    return with_shadow(found, runs, waiting.settings.forecasts, 7)


def test_the_page_and_the_command_say_how_far_it_has_come(waiting: Waiting, capsys: pytest.CaptureFixture[str]) -> None:
    found = nights_of(waiting)
    first, *others = [night.reason for night in found.nights]
    assert first.startswith("in shadow (3 of 7): ")
    assert all(one.startswith("waits while that of run r1 is in shadow (3 of 7): ") for one in others)
    how = standing(found, START + timedelta(days=3))
    assert how.colour == "green" and how.further == ("the candidate of run r1 is in shadow (3 of 7)",)
    after.show_nights(console, found, how)
    assert "in shadow (3 of 7)" in " ".join(capsys.readouterr().out.split())
    assert "in shadow (3 of 7)" in page.render(found, how)


def test_nobody_is_said_to_be_in_shadow_who_is_not(waiting: Waiting) -> None:
    pin(waiting.releases, "the sale lasts")
    found = nights_of(waiting)
    assert found.shadow == "" and not any("in shadow (" in night.reason for night in found.nights)


def test_tidying_keeps_the_run_in_shadow_and_its_evenings_and_no_forecasts_of_former_ones(
    waiting: Waiting,
) -> None:
    old = time.time() - 30 * 86400
    for path in Path(waiting.settings.home).rglob("*"):
        if path.is_file() and "releases" not in path.parts:
            os.utime(path, (old, old))
    assert not Tidy(waiting.settings, keep=1).what_goes().runs
    waiting.ended("r1", outcome="rejected", reason="worse")
    path = Path(waiting.settings.run_store) / "runs" / "sales" / "r1" / "promote.json"
    os.utime(path, (old, old))
    found = Tidy(waiting.settings, keep=1).what_goes()
    assert {key.split("/")[2] for key in found.runs} == {"r1", "r2"}
    keys = [key for key in found.forecasts if key.startswith("_shadow/")]
    assert {key.split("/")[2] for key in keys} == {"r1"} and len(keys) == 6
    assert [key.endswith(".json") for key in keys] == [True] * 3 + [False] * 3


def test_a_damaged_run_costs_the_candidate_its_night_and_nobody_the_page(waiting: Waiting) -> None:
    waiting.runs.store.write(waiting.runs.key("sales", "r1", "run.json"), b"{}")
    found = nights_of(waiting)
    assert found.shadow == "" and len(found.nights) >= 2
    made = waiting.night(START + timedelta(days=3), "r3")
    assert not made.again and made.shadow == "the candidate in shadow made none: 'as_of'"
