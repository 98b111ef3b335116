"""What promotion makes of a candidate that people have to approve."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.approval import Answer, Approval
from tasks.core.errors import IntegrityError
from tasks.core.files import read_json
from tasks.releases.pins import pin
from tasks.stages import promote
from tests.unit.stages.test_promote import Night

ASKED = Approval(by=("anna", "bob"))
YES = Answer(decision="approve", by="anna", reason="better in every store")


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path)


def ended(night: Night, answer: Answer | None, *, asked: Approval | None = ASKED, **verdict: Any) -> dict[str, Any]:
    champion = len(night.releases.ledger.entries())
    context = night.prepare("two", champion=champion, run_id="r2", **verdict)
    context = replace(context, run=context.run.model_copy(update={"approval": asked, "answer": answer}))
    promote.run(context)
    outcome: dict[str, Any] = read_json(context.artifacts / "promotion" / "outcome.json")
    return outcome


def test_without_an_answer_a_passing_candidate_waits(night: Night) -> None:
    outcome = ended(night, None)
    assert outcome["outcome"] == "held"
    assert outcome["reason"] == "waits for the approval of anna or bob; fp16 passes all 1 gates"
    assert night.releases.champion() is None


def test_who_approved_and_why_stands_in_the_ledger(night: Night) -> None:
    outcome = ended(night, YES)
    assert outcome["outcome"] == "promoted"
    assert outcome["reason"] == "fp16 passes all 1 gates; approved by anna: better in every store"
    entry = night.releases.release()
    assert (entry.approved_by, entry.approved_why) == ("anna", "better in every store")


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (YES.model_copy(update={"decision": "reject"}), "rejected", "anna: better in every store"),
        (Answer(decision="reject", by="", reason="nobody answered"), "rejected", "nobody answered"),
        (Answer(decision="hold", by="", reason="nobody answered"), "held", "nobody answered"),
    ],
)
def test_other_answers_leave_the_champion(night: Night, answer: Answer, outcome: str, reason: str) -> None:
    found = ended(night, answer)
    assert (found["outcome"], found["reason"]) == (outcome, reason)
    assert night.releases.champion() is None


@pytest.mark.parametrize("by", ["mallory", ""])
def test_an_approval_of_somebody_else_is_refused(night: Night, by: str) -> None:
    with pytest.raises(IntegrityError, match=r"answer\.by: .* may not approve; approval\.by names anna, bob"):
        ended(night, YES.model_copy(update={"by": by}))
    assert night.releases.champion() is None


def test_no_approval_releases_what_the_gates_refused(night: Night) -> None:
    outcome = ended(night, YES, verdict="reject", winner=None, winner_sha256=None, reason="fp16 does not pass size")
    assert outcome["outcome"] == "rejected"
    assert night.releases.champion() is None


def test_an_approval_does_not_pass_over_a_pin_unless_it_names_it(night: Night) -> None:
    night.promote("one")
    entry = pin(night.releases, "the sale lasts")
    assert ended(night, YES)["outcome"] == "held"
    assert ended(night, YES.model_copy(update={"pin": entry.seq}), asked=None)["outcome"] == "promoted"


def test_of_two_approvals_at_once_the_first_stands(night: Night) -> None:
    def made(answer: Answer) -> dict[str, Any]:
        context = night.prepare("two", champion=0, run_id="r2")
        context = replace(context, run=context.run.model_copy(update={"approval": ASKED, "answer": answer}))
        promote.run(context)
        outcome: dict[str, Any] = read_json(context.artifacts / "promotion" / "outcome.json")
        return outcome

    first = made(YES)
    assert made(Answer(decision="approve", by="bob", reason="I have looked too")) == first
    assert first["outcome"] == "promoted" and night.releases.release().approved_by == "anna"
