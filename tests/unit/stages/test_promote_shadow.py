"""What promotion makes of a candidate that is released after its nights in shadow alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.config.run import parse_run
from tasks.config.workload import load_workload
from tasks.core.approval import Answer, parse_answer
from tasks.core.files import read_json
from tasks.core.settings import Settings
from tasks.planning.opening import resolve, shadow_first
from tasks.releases.ledger import Ledger
from tasks.releases.pins import pin
from tasks.stages import promote
from tests.conftest import PROJECT
from tests.unit.stages.test_promote import Night

FIRST = Answer(decision="shadow", by="", reason="is released after 7 nights in shadow alone")
SHOWN = FIRST.model_copy(update={"decision": "approve", "reason": "", "shadow": "7 nights in shadow: -1%; evidence x"})


@pytest.fixture
def night(tmp_path: Path) -> Night:
    made = Night(tmp_path)
    made.promote("one")
    return made


def ended(night: Night, answer: Answer | None, *, champion: int = 1, run_id: str = "r2", **more: Any) -> dict[str, Any]:
    context = night.prepare("two", champion=champion, run_id=run_id, **more)
    context = replace(context, run=context.run.model_copy(update={"answer": answer}))
    promote.run(context)
    outcome: dict[str, Any] = read_json(context.artifacts / "promotion" / "outcome.json")
    return outcome


def test_it_waits_and_says_so_whenever_it_is_asked(night: Night) -> None:
    outcome = ended(night, FIRST)
    assert (outcome["outcome"], outcome["shadow"]) == ("held", "waits")
    assert outcome["reason"] == "fp16 passes all 1 gates; is released after 7 nights in shadow alone"
    assert ended(night, FIRST) == outcome and night.releases.release().seq == 1


def test_what_its_nights_showed_stands_in_the_ledger(night: Night) -> None:
    assert ended(night, SHOWN)["reason"] == "fp16 passes all 1 gates; 7 nights in shadow: -1%; evidence x"
    entry = night.releases.release()
    assert entry.reason.endswith("; evidence x") and "approved_by" not in entry.to_bytes().decode()


@pytest.mark.parametrize("answer", [FIRST, SHOWN])
@pytest.mark.parametrize(
    ("decide", "kind"),
    [
        (lambda releases: pin(releases, "the sale"), "a pin (the sale)"),
        (lambda releases: releases.rollback(1, "shelves ran empty"), "a rollback (shelves ran empty)"),
    ],
)
def test_what_people_decide_meanwhile_supersedes_it(answer: Answer, decide: Any, kind: str, night: Night) -> None:
    night.promote("three", champion=1, run_id="r3")
    decide(night.releases)
    outcome = ended(night, answer, champion=2)
    assert outcome["outcome"] == "superseded" and f"ledger entry 3, {kind}, was written meanwhile" in outcome["reason"]
    assert len(night.releases.ledger.entries()) == 3 and "shadow" not in outcome


def test_a_pin_rejected_candidates_and_the_champions_own_bytes_come_first(night: Night) -> None:
    assert "shadow" not in ended(night, FIRST, verdict="reject", reason="too large")
    assert ended(night, FIRST, dry_run=True)["outcome"] == "dry-run"
    pin(night.releases, "the sale")
    held = ended(night, FIRST, champion=2)
    assert held["outcome"] == "held" and "is pinned by" in held["reason"] and "shadow" not in held


def test_a_section_without_it_gives_the_run_of_before_and_a_first_release_needs_none(tmp_path: Path) -> None:
    section = load_workload(PROJECT / "params.yaml", "sales")
    assert shadow_first(section) is None
    settings = Settings(home=tmp_path, project=PROJECT)
    run = resolve(settings, "sales")
    assert "shadow" not in run.to_yaml() and parse_run(run.to_yaml()) == run
    asked = section.model_copy(update={"shadow_nights": 7})
    assert shadow_first(asked) == FIRST and "shadow" not in asked.model_dump()
    assert Ledger(settings.releases(), "sales").last() is None and run.answer is None
    told = FIRST.model_dump_json()
    assert parse_answer(told) == FIRST and '"shadow":' not in told.replace('"decision":"shadow"', "")


def test_what_the_nights_of_another_winner_showed_releases_nothing(night: Night) -> None:
    outcome = ended(night, SHOWN.model_copy(update={"winner": "0" * 64}))
    assert (outcome["outcome"], outcome["shadow"]) == ("held", "waits")
    assert outcome["reason"].endswith("; its nights in shadow were those of another winner of this run")
    mine = SHOWN.model_copy(update={"winner": outcome["model_sha256"]})
    assert ended(night, mine)["outcome"] == "promoted"


def test_a_release_after_nights_does_not_name_code_of_now_as_its_own(night: Night) -> None:
    lock = night.prepare("two", champion=1, run_id="r2").root / "dvc.lock"
    lock.write_text("stages: {teach: {deps: [{path: tasks, md5: a.dir}]}}\n")
    assert ended(night, SHOWN)["outcome"] == "promoted"
    entry = night.releases.release()
    assert "dvc.lock" in night.releases.files(entry) and "code.json" not in night.releases.files(entry)
