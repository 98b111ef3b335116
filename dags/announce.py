"""The last task of a night, or of a rollback, announces its outcome to consumers and operations."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Asset, BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dags.notify import OpsNotifier, recovered


class AnnounceOperator(BaseOperator):
    """This updates the workload's release asset, but only after a promotion; it tells ops of a refused candidate.

    The event's extra: `as_of`, the last day of the night's data; address and SHA-256 of the promotion's manifest.
    """

    template_fields: Sequence[str] = ("as_of",)
    ui_color = "#dff0d8"

    def __init__(self, *, workload: str, promote_task_id: str, as_of: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.workload, self.promote_task_id, self.as_of = workload, promote_task_id, as_of

    def execute(self, context: Context) -> dict[str, Any]:
        """Succeed after a promotion; be skipped otherwise, which leaves the asset alone."""
        result = _handed_over(context, self.promote_task_id)
        outcome = result["outcome"]
        # A candidate that waits for its nights in shadow is no trouble, and every night has one meanwhile.
        if outcome in ("rejected", "superseded", "held") and not result.get("shadow"):
            OpsNotifier(event=outcome, workload=self.workload, reason=f"the champion stays; see {result['uri']}")(
                context
            )
        if outcome != "promoted":
            raise AirflowSkipException(f"{outcome}: no new release of {self.workload}")
        OpsNotifier(event=outcome, workload=self.workload, reason=f"a new release; see {result['uri']}")(context)
        _update(self, context, {"manifest": result["uri"], "sha256": result["sha256"], "as_of": self.as_of})
        return dict(result)


class AnnounceRollbackOperator(BaseOperator):
    """This updates the workload's release asset after a rollback, so that consumers score the newest data again."""

    template_fields: Sequence[str] = ("reason", "as_of")
    ui_color = "#dff0d8"

    def __init__(self, *, reason: str, as_of: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reason, self.as_of = reason, as_of

    def execute(self, context: Context) -> dict[str, Any]:
        """Give the rollback's run and reason with the asset."""
        run_id = context["dag_run"].run_id
        told = {"outcome": "rolled-back", "run_id": run_id, "reason": self.reason, "as_of": self.as_of}
        _update(self, context, told)
        return told


class AnnounceWatchOperator(BaseOperator):
    """This tells ops of a regression; after a rollback it updates the release asset, so that consumers score again."""

    template_fields: Sequence[str] = ("as_of",)
    ui_color = "#dff0d8"

    def __init__(self, *, workload: str, watch_task_id: str, as_of: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.workload, self.watch_task_id, self.as_of = workload, watch_task_id, as_of

    def execute(self, context: Context) -> dict[str, Any]:
        """Succeed after a rollback; be skipped otherwise, which leaves the asset alone."""
        result = _handed_over(context, self.watch_task_id)
        outcome, reason = result["outcome"], str(result.get("told", ""))
        if outcome == "fine":
            recovered(self.workload, "regression", context["dag_run"].run_id)
        else:
            cause = f"regression/{result.get('watched')}"  # whatever was done about it
            OpsNotifier(event="regression", workload=self.workload, reason=f"{outcome}: {reason}", cause=cause)(context)
        if outcome != "rolled-back":
            raise AirflowSkipException(f"{outcome}: no other champion of {self.workload}")
        told = {"outcome": outcome, "run_id": context["dag_run"].run_id, "reason": reason, "as_of": self.as_of}
        _update(self, context, told)
        return told


class AnnounceShadowOperator(BaseOperator):
    """This tells ops how a candidate's nights in shadow ended; after a release it updates the release asset."""

    template_fields: Sequence[str] = ("as_of",)
    ui_color = "#dff0d8"

    def __init__(self, *, workload: str, shadow_task_id: str, as_of: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.workload, self.shadow_task_id, self.as_of = workload, shadow_task_id, as_of

    def execute(self, context: Context) -> dict[str, Any]:
        """Succeed after a promotion; be skipped otherwise, which leaves the asset alone."""
        result = _handed_over(context, self.shadow_task_id)
        outcome, run_id = result["outcome"], result.get("watched")
        if outcome != "in-shadow":
            event = "approval" if outcome == "held" else outcome  # that is what it waits for
            reason = f"the candidate of run {run_id}: {result.get('told', '')}"
            OpsNotifier(event=event, workload=self.workload, reason=reason, cause=f"shadow/{run_id}")(context)
        if outcome != "promoted":
            raise AirflowSkipException(f"{outcome}: no new release of {self.workload}")
        _update(self, context, {"manifest": result["uri"], "sha256": result["sha256"], "as_of": self.as_of})
        return dict(result)


def _handed_over(context: Context, task_id: str) -> Mapping[str, Any]:
    """Return what a task handed over, with its `outcome`. Raises AirflowFailException when there is none."""
    result = context["ti"].xcom_pull(task_ids=task_id)
    if not result or "outcome" not in result:
        raise AirflowFailException(f"{task_id} handed over no outcome")
    found: Mapping[str, Any] = result
    return found


def _update(operator: BaseOperator, context: Context, told: Mapping[str, Any]) -> None:
    """Give consumers who wait for an operator's assets what it has to tell."""
    for asset in operator.outlets:
        if isinstance(asset, Asset):
            context["outlet_events"][asset].extra = dict(told)
