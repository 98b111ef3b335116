"""Between evaluation and promotion a workload may ask people: by Airflow's own operator, on its own pages."""

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context, Param
from airflow.sdk.execution_time.hitl import HITLUser

from dags import docs
from dags.notify import OpsNotifier
from dags.project import HOME, safe_run_id
from dags.runners.containers import container_settings, secret_environment
from tasks.core.approval import Answer, Approval, Decision
from tasks.core.reason import LONGEST, SHORTEST, WORD, one_line
from tasks.core.storage import open_store
from tasks.pipeline.handover.manifest import run_key
from tasks.releases.ledger import Ledger
from tasks.releases.standing import pinned_by, withdrawn

DECISIONS: dict[str, Decision] = {"Approve": "approve", "Hold": "hold", "Reject": "reject"}
ANSWER = "{{ '--answer=' ~ ti.xcom_pull(task_ids='approve') if ti.xcom_pull(task_ids='approve') else '' }}"
FORM = {
    "reason": Param(
        "gates and comparison looked at",  # Airflow 3.3 starts no task one of whose fields has no value
        type="string",
        minLength=SHORTEST,
        maxLength=LONGEST,
        pattern=WORD,
        title="Reason",
        description="Why, for the ledger and for whoever reads it later.",
    )
}


class ApproveOperator(HITLOperator):
    """This shows the candidate's gates and how it compares with the champion, and waits for one of `approval.by`.

    Its XCom is the answer as JSON, which the promotion's command takes; None where nobody was asked: about a candidate
    that the gates refused or that the ledger keeps from being released, or in a dry run. `shadow`: whether candidates
    beside a champion have nights in shadow first, after which `release approve` is the answer.
    """

    ui_color = "#fff3cd"

    def __init__(self, *, workload: str, approval: Approval, shadow: bool = False, **kwargs: Any) -> None:
        self.workload, self.approval, self.shadow = workload, approval, shadow
        kwargs["params"] = FORM  # the DAG's own are among them, and no matter of whoever answers
        super().__init__(
            subject=f"Release the candidate of {workload}?",
            body="",
            options=list(DECISIONS),
            defaults=approval.otherwise.capitalize(),
            assigned_users=[HITLUser(id=name, name=name) for name in approval.by],
            notifiers=[
                OpsNotifier(event="approval", workload=workload, reason=f"waits for {' or '.join(approval.by)}")
            ],
            response_timeout=timedelta(minutes=approval.minutes),
            doc_md=docs.APPROVE,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Ask, if there is something to ask. Raises what the stores raise."""
        if container_settings().s3_connection:
            secret_environment()
        key = run_key(self.workload, safe_run_id(str(context["run_id"])), "evaluate.json")
        store = open_store(os.environ.get("NIGHTSTILL_RUN_STORE") or str(HOME / "store"))
        found = json.loads(store.read(key))["summary"]
        if found["verdict"] != "promote" or context["params"].get("dry_run"):
            self.log.info("nobody is asked: %s", found["reason"])
            return None
        if self.shadow and found.get("champion"):
            self.log.info("nobody is asked yet: its nights in shadow come first")
            return None
        if stays := champion_stays(self.workload, found.get("winner_sha256", "")):
            self.log.info("nobody is asked: %s", stays)
            return None
        self.body = body(found)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Hand on the answer; one of somebody who may not give it holds the candidate."""
        found = super().execute_complete(context, event)
        user = found["responded_by_user"]
        name = str(user["id"]) if user else ""
        if user and name not in self.approval.by:
            reason = one_line(f"{name} may not decide this; approval.by names {', '.join(self.approval.by)}")
            return self._handed_on(Answer(decision="hold", by="", reason=reason))
        reason = one_line(str(found["params_input"].get("reason") or ""))
        if not user:
            reason = f"nobody answered within {self.approval.minutes} minutes"
        decision = DECISIONS[found["chosen_options"][0]]
        return self._handed_on(Answer(decision=decision, by=name, reason=reason or "no reason given"))

    def _handed_on(self, answer: Answer) -> str:
        self.log.info("%s", answer)
        return answer.model_dump_json()


def champion_stays(workload: str, winner_sha256: str) -> str:
    """Return why the ledger lets no candidate with these bytes take the champion's place; empty if it does."""
    store = open_store(os.environ.get("NIGHTSTILL_RELEASE_STORE") or str(HOME / "releases"))
    entries = Ledger(store, workload).entries()
    if entries and entries[-1].model_sha256 == winner_sha256:
        return f"the candidate's bytes are those of the champion, entry {entries[-1].seq}"
    if winner_sha256 in withdrawn(entries):
        return "these bytes were rolled back before"
    pin = pinned_by(entries)
    return f"release {pin.release} is pinned by ledger entry {pin.seq} ({pin.reason})" if pin else ""


def body(found: Mapping[str, Any]) -> str:
    """Return what people need in order to decide, as Markdown, from the numbers that evaluation left."""
    errors = [
        ("candidate", found.get("error"), None),
        ("champion", found.get("champion_error"), found.get("against_champion")),
        ("naive", found.get("naive_error"), found.get("against_naive")),
        ("teacher", found.get("teacher_error"), None),
    ]
    lines = [
        f"**{found['winner']}**: {found['reason']}",
        "",
        f"| {found['primary_metric']} | error | the candidate's against it |",
        "|---|---|---|",
        *(f"| {name} | {_number(error)} | {_interval(against)} |" for name, error, against in errors),
        "",
        f"{found.get('bytes') or 0:,} bytes; latency ratio {_number(found.get('latency_ratio'))}; {found.get('drift')}",
        "",
        "| gate | measured | limit |",
        "|---|---|---|",
        *(
            f"| {gate['gate']}{'' if gate['passed'] else ' (not passed)'} | {_number(gate['observed'])} "
            f"| {_number(gate['limit'])} |"
            for gate in found.get("gates", ())
        ),
    ]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"


def _interval(found: Any) -> str:
    return "–" if not found else f"{found[0]:+.1%} to {found[1]:+.1%}"
