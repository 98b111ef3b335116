"""This module defines the `watch` section of a workload."""

from typing import Literal

from pydantic import Field

from tasks.core.config import Frozen

Reaction = Literal["notify", "hold", "rollback"]


class Watch(Frozen):
    """Watch says when the champion's live error counts as a regression, and what is done then.

    It is one if the error over the last `days` days of truth is higher than what it is compared with by more than
    `margin`, relatively: the whole of the interval of `confidence` lies above. `on_regression`: operations are told in
    any case; `hold` pins the champion too, so that nothing is released until somebody has looked; `rollback` goes back.
    """

    margin: float = Field(default=0.05, ge=0)
    days: int = Field(default=28, ge=5)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    on_regression: Reaction = "notify"
