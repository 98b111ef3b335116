"""This module waits for a night's data: the workload's runner checks repeatedly, and no worker is held in between."""

import types
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException

from dags.runners import operator_of
from dags.runners.command import Command
from dags.runners.exits import NotYet
from tasks.core.params import Patience, Section

LEAST_PAUSE = timedelta(seconds=15)
"""Airflow 3.3 takes a shorter one for a failure of the task if its scheduler is slow to hear that the task began."""


class LateData(AirflowFailException):
    """The data did not come in time: nothing is broken, and another attempt would not help."""

    event = "late data"


class Waiting(BaseOperator):
    """Waiting extends a runner's operator: a command that answers *not yet* runs again later, by the triggerer's clock.

    The time allowed counts from that of the night, so no state is kept: a night that is late itself, a day of the past
    or a task that was cleared the next morning looks once, and waits no more.
    """

    patience = Patience(0, 1)

    def execute(self, context: Context) -> Any:
        """Check for the data. Raises LateData when the last check found nothing."""
        with self._not_yet(context):
            return super().execute(context)

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> Any:
        """Read the result of a pod, for which the triggerer waited."""
        with self._not_yet(context):
            return super().trigger_reentry(context, event)  # type: ignore[misc]  # of the Kubernetes runner's operator

    def look_again(self, context: Context, event: Any = None) -> Any:
        """Go on after a pause."""
        return self.execute(context)

    @contextmanager
    def _not_yet(self, context: Context) -> Iterator[None]:
        try:
            yield
        except NotYet as not_yet:
            now, end = datetime.now(UTC), context["dag_run"].run_after + timedelta(minutes=self.patience.wait)
            if now >= end:
                raise LateData(f"{not_yet}; waited for until {end.isoformat(timespec='minutes')}") from None
            moment = max(min(end, now + timedelta(minutes=self.patience.poll)), now + LEAST_PAUSE)
            self.log.info("%s; looking again at %s", not_yet, moment.isoformat(timespec="seconds"))
            self.defer(trigger=DateTimeTrigger(moment), method_name="look_again")


def wait_for_data(section: Section, command: Command, patience: Patience, **kwargs: Any) -> BaseOperator:
    """Make a task that runs a command by the workload's runner until it no longer answers *not yet*."""
    runner = operator_of(section)
    kind = types.new_class(f"Waiting{runner.__name__}", (Waiting, runner))
    task: Waiting = kind(command=command, **kwargs)
    task.patience = patience
    return task
