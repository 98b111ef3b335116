"""A workload may ask people for approval: its section says whom, and what somebody answered goes with the run.

Pydantic and PyYAML only, because the orchestrator's environment imports this module.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.core.config import Frozen, explained
from tasks.core.errors import UsageError

WAITS = "waits"
"""What a promotion says as `shadow` of a held candidate whose nights in shadow are not over, or have not begun."""
Decision = Literal["approve", "hold", "reject", "shadow"]
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
    """An answer is what was decided of one run's candidate, and why. `by`: empty if no person did.

    `pin`: the ledger entry that pins the champion, if the candidate is to be released in spite of it; 0 for none.
    The decision `shadow` is made when a run of a workload with `shadow_nights` is opened: the candidate forecasts
    beside the champion before anything else is decided. `shadow`: what these nights showed, once they are over.
    `winner`: SHA-256 of the model that these nights were of, for a run that is repeated may have another winner.
    """

    decision: Decision
    by: str
    reason: str
    pin: int = Field(default=0, ge=0)
    # Left out of a run.yaml where there is none: those of releases before it say the same.
    shadow: str = Field(default="", exclude_if=lambda told: not told)
    winner: str = Field(default="", exclude_if=lambda digest: not digest)

    @property
    def waits(self) -> str:
        """Return WAITS of a candidate whose nights in shadow are to come, or are not over; empty of others."""
        return WAITS if self.decision == "shadow" else ""

    def of(self, winner: str) -> "Answer":
        """Return the answer as it holds for a winner, by its model's SHA-256: one of another's nights begins anew."""
        if self.winner in ("", winner):
            return self
        return Answer(decision="shadow", by="", reason="its nights in shadow were those of another winner of this run")


def parse_approval(section: Any, where: str) -> Approval | None:
    """Return a workload's `approval`, None without one. Raises ConfigError, whose message begins with `where`."""
    with explained(where):
        return None if section is None else Approval.model_validate(section)


def parse_answer(text: str) -> Answer:
    """Return an answer from its JSON. Raises UsageError."""
    with explained("--answer", raises=UsageError):
        return Answer.model_validate_json(text)
