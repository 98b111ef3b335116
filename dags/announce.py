"""The last task of a night: consumers and operations hear of its outcome."""

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
        if outcome in ("rejected", "superseded"):
            OpsNotifier(event=outcome, workload=self.workload, reason=f"the champion stays; see {result['uri']}")(
                context
            )
        if outcome != "promoted":
            raise AirflowSkipException(f"{outcome}: no new release of {self.workload}")
        for asset in self.outlets:
            if isinstance(asset, Asset):
                context["outlet_events"][asset].extra = {"manifest": result["uri"], "sha256": result["sha256"]}
        return dict(result)
