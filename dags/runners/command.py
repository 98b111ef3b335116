"""A command is a DAG's request to any runner."""

from dataclasses import dataclass

from tasks.pipeline.resources import Limits


@dataclass(frozen=True)
class Command:
    """A command is a call of `python -m tasks <arguments>`; the operator renders templates and omits empty arguments.

    `result`: where in the run store it leaves its result, for runners that read it there; empty if it leaves none.
    `name`: workload and stage, for people who look at containers. `limits`: what its container may use.
    """

    name: str
    arguments: tuple[str, ...]
    result: str = ""
    limits: Limits = Limits()  # noqa: RUF009 frozen
