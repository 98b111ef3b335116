"""Who may approve, and an answer within a run.yaml."""

import pytest

from tasks.config.run import Run
from tasks.core.approval import Answer, Approval, parse_answer, parse_approval
from tasks.core.errors import ConfigError, UsageError


def test_a_section_names_people_and_has_defaults() -> None:
    assert parse_approval(None, "x") is None
    found = parse_approval({"by": ["anna", "bob@shop.org"]}, "x")
    assert found == Approval(by=("anna", "bob@shop.org"), minutes=240, otherwise="hold")
    assert found.model_dump(mode="json") == {"by": ["anna", "bob@shop.org"]}, "what changes no answer is in no run.yaml"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"by": []}, "workloads.sales.approval.by"),
        ({"minutes": 5}, "workloads.sales.approval.by: Field required"),
        ({"by": ["anna"], "minutes": 0}, "approval.minutes"),
        ({"by": ["anna"], "otherwise": "approve"}, "approval.otherwise"),
        ({"by": ["a b"]}, "approval.by.0"),
    ],
)
def test_a_section_that_asks_nobody_is_refused(section: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_approval(section, "workloads.sales.approval")


def test_a_run_of_before_there_were_approvals_has_none() -> None:
    assert (Run.model_fields["answer"].default, Run.model_fields["approval"].default) == (None, None)


def test_an_answer_on_the_command_line_is_read_strictly() -> None:
    answer = Answer(decision="approve", by="anna", reason="better in every store")
    assert parse_answer(answer.model_dump_json()) == answer
    for bad in ("{}", "yes", '{"decision": "approve", "by": "anna", "reason": "x", "pin": -1}'):
        with pytest.raises(UsageError, match="--answer"):
            parse_answer(bad)
