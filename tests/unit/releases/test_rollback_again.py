"""A rollback that an orchestrator starts: once however often it is tried, and a reason that is nothing but a reason."""

from pathlib import Path
from typing import Any

import pytest

from tasks.cli.main import main
from tasks.core.errors import UsageError

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def three(releases: Any) -> Any:
    for text in ("one", "two", "three"):
        releases.promote(text)
    return releases


def test_asked_for_again_by_the_same_name_it_is_done_once(three: Any) -> None:
    back = three.rollback(None, "bad", run_id="by-hand")
    assert (back.seq, back.release) == (4, 2)
    assert three.rollback(None, "bad", run_id="by-hand") == back
    assert three.rollback(2, "bad", run_id="by-hand") == back
    three.promote("four")
    assert three.rollback(None, "bad", run_id="by-hand") == back
    assert [entry.kind for entry in three.ledger.entries()] == ["promote"] * 3 + ["rollback", "promote"]


def test_by_another_name_or_none_it_is_another_one(three: Any) -> None:
    assert three.rollback(None, "bad", run_id="a").release == 2
    assert three.rollback(None, "bad", run_id="b").release == 1
    assert three.rollback(3, "good after all").release == 3
    assert three.rollback(2, "no").release == 2
    with pytest.raises(UsageError, match="champion already"):
        three.rollback(2, "no")


def test_a_name_of_a_night_is_none_of_a_rollback(three: Any) -> None:
    assert three.rollback(None, "bad", run_id="run-three").release == 2


@pytest.mark.parametrize(
    "reason",
    [
        *("--to=1 --reason forged", "-- bad model", "\"bad\" 'model'; touch forged #", "$(touch forged)"),
        *("a=b, so it is", "模型坏了 – ü"),
    ],
)
def test_a_reason_that_looks_like_something_else_is_kept_as_it_is(
    three: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setenv("NIGHTSTILL_RELEASE_STORE", str(folder))
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(PROJECT))
    with pytest.raises(SystemExit) as ended:
        main(["release", "rollback", "sales", f"--reason={reason}", "--run-id=r"])
    assert ended.value.code == 0
    entry = three.champion()
    assert (entry.release, entry.reason, entry.run_id) == (2, reason, "r")
