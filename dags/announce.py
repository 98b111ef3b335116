"""The last task of a night, or of a rollback: consumers and operations hear of its outcome."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Asset, BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dags.notify import OpsNotifier


class AnnounceOperator(BaseOperator):
    """Updates the workload's release asset, but only if the run promoted; tells ops of a candidate that was refused."""

    ui_color = "#dff0d8"

    def __init__(self, *, workload: str, promote_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.workload, self.promote_task_id = workload, promote_task_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Succeed after a promotion; be skipped otherwise, which leaves the asset alone."""
        result = context["ti"].xcom_pull(task_ids=self.promote_task_id)
        if not result or "outcome" not in result:
            raise AirflowFailException(f"{self.promote_task_id} handed over no outcome")
        outcome = result["outcome"]
        if outcome in ("rejected", "superseded", "held"):
            OpsNotifier(event=outcome, workload=self.workload, reason=f"the champion stays; see {result['uri']}")(
                context
            )
        if outcome != "promoted":
            raise AirflowSkipException(f"{outcome}: no new release of {self.workload}")
        for asset in self.outlets:
            if isinstance(asset, Asset):
                context["outlet_events"][asset].extra = {"manifest": result["uri"], "sha256": result["sha256"]}
        return dict(result)


class AnnounceRollbackOperator(BaseOperator):
    """Updates the workload's release asset after a rollback, so that consumers score again."""

    template_fields: Sequence[str] = ("reason",)
    ui_color = "#dff0d8"

    def __init__(self, *, reason: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reason = reason

    def execute(self, context: Context) -> dict[str, Any]:
        """Say by which run and why, with the asset."""
        told = {"outcome": "rolled-back", "run_id": context["dag_run"].run_id, "reason": self.reason}
        for asset in self.outlets:
            if isinstance(asset, Asset):
                context["outlet_events"][asset].extra = dict(told)
        return told
