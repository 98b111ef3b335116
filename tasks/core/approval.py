"""A workload may ask people for approval: its section says whom, and what somebody answered goes with the run.

Pydantic and PyYAML only, because the orchestrator's environment imports this module.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.core.config import Frozen, explained
from tasks.core.errors import UsageError

Decision = Literal["approve", "hold", "reject"]
Person = Annotated[str, Field(pattern=r"^[\w.@+-]{1,100}$")]


class Approval(Frozen):
    """An approval section names who may approve a candidate, and what holds if nobody answers in time.

    `by`: the users' ids in Airflow, or the names that people give on the command line. What changes no answer stands in
    no run.yaml.
    """

    by: tuple[Person, ...] = Field(min_length=1)
    minutes: int = Field(default=240, gt=0, exclude=True, description="that Airflow waits for an answer")
    otherwise: Literal["hold", "reject"] = Field(default="hold", exclude=True, description="if nobody answers")


class Answer(Frozen):
    """An answer is what somebody decided of one run's candidate, and why. `by`: empty if nobody answered in time.

    `pin`: the ledger entry that pins the champion, if the candidate is to be released in spite of it; 0 for none.
    """

    decision: Decision
    by: str
    reason: str
    pin: int = Field(default=0, ge=0)


def parse_approval(section: Any, where: str) -> Approval | None:
    """Return a workload's `approval`, None without one. Raises ConfigError, whose message begins with `where`."""
    with explained(where):
        return None if section is None else Approval.model_validate(section)


def parse_answer(text: str) -> Answer:
    """Return an answer from its JSON. Raises UsageError."""
    with explained("--answer", raises=UsageError):
        return Answer.model_validate_json(text)
