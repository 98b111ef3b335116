"""What the DAGs ask a runner to do, whatever it runs it on."""

from dataclasses import dataclass

from tasks.pipeline.resources import Limits


@dataclass(frozen=True)
class Command:
    """One call of `python -m tasks <arguments>`; templates are rendered by the operator, empty arguments left out.

    `result`: where in the run store it leaves its result, for runners that read it there; empty if it leaves none.
    `name`: workload and stage, for people who look at containers. `limits`: what its container may use.
    """

    name: str
    arguments: tuple[str, ...]
    result: str = ""
    limits: Limits = Limits()  # noqa: RUF009 frozen
