"""Between evaluation and promotion people are asked, where a workload says so."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskAwaitingInput
from airflow.serialization.serialized_objects import DagSerialization

from dags import approval, nightly
from dags.approval import ApproveOperator
from dags.project import ROOT
from dags.runners.containers import container_settings
from tasks.core.errors import ConfigError
from tasks.core.storage import FolderStore
from tasks.releases.manifest import sha256
from tasks.releases.pins import pin
from tasks.releases.store import ReleaseStore

SALES: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())["workloads"]["sales"]
RUN_ID = "scheduled__2026-06-30T01:00:00+00:00"
FOLDER = "runs/sales/scheduled__2026-06-30T01-00-00-00-00"
EVALUATED = {
    "verdict": "promote",
    "winner": "fp16",
    "reason": "fp16 passes all 2 gates",
    "primary_metric": "wape",
    "error": 0.21,
    "champion_error": 0.23,
    "naive_error": 0.5,
    "teacher_error": None,
    "against_champion": [-0.12, -0.03],
    "gates": [{"gate": "size", "observed": 41230, "limit": 65536, "passed": True}],
    "bytes": 41230,
    "latency_ratio": 0.4,
    "drift": "no drift",
}


def dag_of(**asked: Any) -> DAG:
    return nightly.make("sales", {**SALES, "approval": {"by": ["anna", "bob"], **asked}})


def ask_of(dag: DAG) -> ApproveOperator:
    task = dag.get_task("approve")
    assert isinstance(task, ApproveOperator)
    return task


class Night:
    """A run in the run store, just before the question."""

    def __init__(self, root: Path, **evaluated: Any) -> None:
        self.folder = root / FOLDER
        self.folder.mkdir(parents=True)
        (self.folder / "evaluate.json").write_text(json.dumps({"summary": {**EVALUATED, **evaluated}}))
        self.context: Any = {"run_id": RUN_ID, "params": {}, "task_instance": SimpleNamespace(id="ti")}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Airflow's server was asked to show."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **given: found.append(given)
    )
    return found


def said(option: str, user: str | None, **params: str) -> dict[str, Any]:
    return {
        "chosen_options": [option],
        "params_input": params,
        "responded_at": datetime(2026, 6, 30, tzinfo=UTC),
        "responded_by_user": {"id": user, "name": user} if user else None,
        "timedout": user is None,
    }


def test_people_are_asked_between_evaluation_and_promotion_and_forecasts_do_not_wait() -> None:
    dag = dag_of(minutes=30)
    assert set(DagSerialization.from_dict(DagSerialization.to_dict(dag)).task_dict) == set(dag.task_dict)
    assert ask_of(dag).upstream_task_ids == {"evaluate"}
    assert "approve" in dag.get_task("promote").upstream_task_ids
    assert dag.get_task("score").upstream_task_ids == {"validate", "evaluate"}
    assert ask_of(dag).response_timeout == timedelta(minutes=30)
    deadline: Any = dag.deadline
    assert deadline[0].interval == timedelta(minutes=SALES["deadline_minutes"] + 30)
    assert "approve" not in nightly.make("sales", SALES).task_dict


def test_a_section_that_asks_nobody_makes_no_dag() -> None:
    with pytest.raises(ConfigError, match=r"workloads\.sales\.approval\.by"):
        dag_of(by=[])


def test_they_see_gates_and_the_comparison(run_store: Path, asked: list[dict[str, Any]]) -> None:
    night = Night(run_store)
    task = ask_of(dag_of())
    task.notifiers = []
    with pytest.raises(TaskAwaitingInput):
        task.execute(night.context)
    (shown,) = asked
    assert shown["options"] == ["Approve", "Hold", "Reject"] and shown["defaults"] == ["Hold"]
    assert [user["id"] for user in shown["assigned_users"]] == ["anna", "bob"]
    assert "| champion | 0.23 | -12.0% to -3.0% |" in shown["body"]
    assert "| size | 41230 | 65536 |" in shown["body"] and "41,230 bytes" in shown["body"]
    assert shown["params"]["reason"]["schema"]["minLength"] == 8


@pytest.mark.parametrize(("evaluated", "params"), [({"verdict": "reject"}, {}), ({}, {"dry_run": True})])
def test_nobody_is_asked_where_nothing_can_be_released(
    evaluated: dict[str, str], params: dict[str, bool], run_store: Path, asked: list[dict[str, Any]]
) -> None:
    night = Night(run_store, **evaluated)
    night.context["params"] = params
    assert ask_of(dag_of()).execute(night.context) is None
    assert asked == []


def test_who_answered_and_why_goes_with_the_run(run_store: Path) -> None:
    dag, event = dag_of(), said("Approve", "anna", reason="better in\nevery store")
    answer = ask_of(dag).execute_complete(Night(run_store).context, event)
    assert json.loads(answer) == {"decision": "approve", "by": "anna", "reason": "better in every store", "pin": 0}
    promote: Any = dag.get_task("promote")
    for told, last in ((answer, f"--answer={answer}"), (None, "")):
        context = {"ti": SimpleNamespace(xcom_pull=lambda task_ids, told=told: told)}
        assert promote.render_template(promote.arguments[-1], context) == last
    without: Any = nightly.make("sales", SALES).get_task("promote")
    assert not any("answer" in one for one in without.arguments)


@pytest.mark.parametrize(("otherwise", "decision"), [("hold", "hold"), ("reject", "reject")])
def test_if_nobody_answers_the_section_decides(otherwise: str, decision: str, run_store: Path) -> None:
    night, task = Night(run_store), ask_of(dag_of(otherwise=otherwise))
    assert task.defaults is not None
    answer = task.execute_complete(night.context, said(task.defaults[0], None, reason="gates and comparison looked at"))
    found = json.loads(answer)
    assert (found["decision"], found["by"]) == (decision, "")
    assert found["reason"] == "nobody answered within 240 minutes"


def test_an_answer_of_somebody_else_holds_the_candidate(run_store: Path) -> None:
    night = Night(run_store)
    answer = ask_of(dag_of()).execute_complete(night.context, said("Approve", "Anonymous", reason="because I can"))
    assert json.loads(answer) == {
        "decision": "hold",
        "by": "",
        "reason": "Anonymous may not decide this; approval.by names anna, bob",
        "pin": 0,
    }


@pytest.fixture
def releases(tmp_path: Path) -> ReleaseStore:
    """A champion that is the second one."""
    found = ReleaseStore(FolderStore(tmp_path / "releases"), "sales")
    for expected, model in enumerate((b"one", b"two")):
        found.publish({"model.onnx": model}, expected=expected, run_id="r", as_of=date(2026, 1, 1), reason="better")
    return found


@pytest.mark.parametrize("why", ["equal", "pinned", "withdrawn"])
def test_nobody_is_asked_where_the_ledger_lets_nothing_pass(
    why: str, releases: ReleaseStore, run_store: Path, asked: list[dict[str, Any]]
) -> None:
    bytes_of = {"equal": b"two", "pinned": b"three", "withdrawn": b"two"}
    night = Night(run_store, winner_sha256=sha256(bytes_of[why]))
    if why == "pinned":
        pin(releases, "until somebody has looked")
    if why == "withdrawn":
        releases.rollback(None, "worse in every store", "")
    assert ask_of(dag_of()).execute(night.context) is None
    assert asked == []


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Credentials of the stores that Airflow keeps as a connection."""
    container_settings.cache_clear()
    monkeypatch.setenv("NIGHTSTILL_S3_CONNECTION", "store")
    monkeypatch.setenv("AIRFLOW_CONN_STORE", "aws://reader:word@/")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")
    yield
    container_settings.cache_clear()


@pytest.mark.usefixtures("connection")
def test_stores_are_reached_by_a_connection_of_airflow(
    run_store: Path, releases: ReleaseStore, asked: list[dict[str, Any]]
) -> None:
    night = Night(run_store, winner_sha256=sha256(b"three"))
    task = ask_of(dag_of())
    task.notifiers = []
    with pytest.raises(TaskAwaitingInput):
        task.execute(night.context)
    assert os.environ["AWS_ACCESS_KEY_ID"] == "reader" and len(asked) == 1


def test_a_body_says_what_is_not_known() -> None:
    shown = approval.body({**EVALUATED, "champion_error": None, "against_champion": None, "latency_ratio": None})
    assert "| champion | – | – |" in shown and "latency ratio –" in shown
