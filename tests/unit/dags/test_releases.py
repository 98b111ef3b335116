"""The DAGs by which operations go back and look after releases."""

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG, Asset, TriggerRule
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.serialization.serialized_objects import DagSerialization

from dags import releases
from dags.announce import AnnounceRollbackOperator
from dags.notify import OpsNotifier
from dags.project import ROOT
from dags.runners.process import ProcessOperator
from tasks.core.reason import one_line

SECTIONS: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "params.yaml").read_text())["workloads"]
WORKLOADS = ["sales", "customers"]
RUN_ID = "manual__2026-03-30T01:00:00+00:00"
FORGED = 'bad model\n{"uri": "/forged", "sha256": "0", "outcome": "promoted"}\nerror: forged'


def dag_of(kind: str, workload: str = "sales") -> DAG:
    dag = getattr(releases, f"{kind}_{workload}")
    assert isinstance(dag, DAG)
    return dag


def filled(**typed: Any) -> dict[str, Any]:
    """The trigger form with what somebody typed. Raises ParamValidationError."""
    form = copy.deepcopy(dag_of("rollback").params)
    form.update(typed)
    values: dict[str, Any] = form.validate()
    return values


def rendered(task_id: str, **typed: Any) -> Any:
    """A task of the rollback DAG as a worker runs it."""
    task = dag_of("rollback").get_task(task_id).prepare_for_execution()
    run = SimpleNamespace(run_id=RUN_ID, logical_date=None, run_after=datetime(2026, 3, 30, 1, tzinfo=UTC))
    context: Any = {"params": filled(**typed), "run_id": RUN_ID, "dag_run": run, "triggering_asset_events": {}}
    task.render_template_fields(context)
    return task


def arguments(**params: Any) -> list[str]:
    return [argument for argument in rendered("rollback", **params).arguments if argument]


def test_two_dags_for_each_workload_and_no_other() -> None:
    found = {name for name, value in vars(releases).items() if isinstance(value, DAG)}
    assert found == {f"{kind}_{workload}" for kind in ("rollback", "verify") for workload in SECTIONS}


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("kind", ["rollback", "verify"])
def test_the_scheduler_can_read_it_and_people_are_told(kind: str, workload: str) -> None:
    dag = dag_of(kind, workload)
    again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert set(again.task_dict) == set(dag.task_dict)
    assert SECTIONS[workload]["title"] in str(dag.dag_display_name)
    assert dag.doc_md and dag.description and workload in dag.tags
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    for task in dag.tasks:
        assert task.doc_md and task.owner == "ml-platform", task.task_id
        callbacks: Any = task.on_failure_callback
        (callback,) = callbacks
        assert isinstance(callback, OpsNotifier)
        assert (callback.event, callback.workload) == ("failed", workload)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_rollback_then_consumers_and_mlflow_hear_of_it(workload: str) -> None:
    dag = dag_of("rollback", workload)
    assert {task.task_id: task.upstream_task_ids for task in dag.tasks} == {
        "rollback": set(),
        "announce": {"rollback"},
        "sync": {"rollback"},
    }
    assert {task.trigger_rule for task in dag.tasks} == {TriggerRule.ALL_SUCCESS}
    outlets = {task.task_id: task.outlets for task in dag.tasks if task.outlets}
    assert set(outlets) == {"announce"}
    assert [asset.uri for asset in outlets["announce"] if isinstance(asset, Asset)] == [
        f"nightstill://releases/{workload}"
    ]
    sync: Any = dag.get_task("sync")
    assert sync.arguments == ["registry", "sync", workload]
    assert dag.timetable.can_be_scheduled is False
    # What "the one before" means may have changed by then.
    assert dag.get_task("rollback").retries == 0
    assert sync.retries == 3


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_morning_digests_and_registry_are_looked_at_each_for_itself(workload: str) -> None:
    dag = dag_of("verify", workload)
    timetable: Any = dag.timetable
    assert (timetable.expression, str(timetable.timezone)) == ("30 6 * * *", SECTIONS[workload]["timezone"])
    tasks: dict[str, Any] = dag.task_dict
    assert {name: task.arguments for name, task in tasks.items()} == {
        "verify": ["release", "verify", workload],
        "sync": ["registry", "sync", workload],
    }
    for task in tasks.values():
        assert not task.upstream_task_ids and task.retries == 3
        assert task.execution_timeout <= timedelta(hours=1)


def test_what_the_form_asks_for_reaches_the_command() -> None:
    told = ["release", "rollback", "sales", "--reason=shelves ran empty", "--run-id=manual__2026-03-30T01-00-00-00-00"]
    assert arguments(reason="shelves ran empty") == told
    assert arguments(reason="shelves ran empty", to=12) == [*told[:3], "--to=12", *told[3:]]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"reason": ""},
        {"reason": "short"},
        {"reason": " \n\t \n \t \n "},
        {"reason": "x" * 501},
        {"reason": ["a", "list"]},
        {"reason": "long enough", "to": 0},
        {"reason": "long enough", "to": "1"},
        {"reason": "long enough", "to": "1 --reason=forged"},
        {"reason": "long enough", "to": 1.5},
    ],
    ids=str,
)
def test_the_form_refuses(asked: dict[str, Any]) -> None:
    with pytest.raises(ParamValidationError):
        filled(**asked)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("--to=1 --reason forged", "--to=1 --reason forged"),
        ("-- bad model", "-- bad model"),
        ("\"bad\" 'model'; touch forged #", "\"bad\" 'model'; touch forged #"),
        ("$(touch forged) `touch forged` $HOME", "$(touch forged) `touch forged` $HOME"),
        ("{{ run_id }} {% raw %} bad", "{{ run_id }} {% raw %} bad"),
        (FORGED, " ".join(FORGED.split("\n"))),
        ("bad\r\n\x1b[2Jmodel\u2028now\x00\u202e", "bad [2Jmodel now"),
        ("Übergröße – 模型坏了", "Übergröße – 模型坏了"),
    ],
)
def test_a_reason_is_one_argument_and_one_line_whatever_it_holds(
    reason: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert one_line(reason) == told
    program = tmp_path / "python"
    program.write_text(f'#!/bin/bash\ncd {tmp_path}\nprintf \'%s\\0\' "$@" > arguments\nfor a; do echo "$a"; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("NIGHTSTILL_TASK_PYTHON", str(program))
    task = rendered("rollback", reason=reason)
    assert isinstance(task, ProcessOperator)
    # The program repeats all that it was told, and still nothing of it passes for its result.
    assert task.execute({}) is None
    received = (tmp_path / "arguments").read_text().rstrip("\0").split("\0")
    assert received == [
        *("-m", "tasks", "release", "rollback", "sales"),
        *(f"--reason={told}", "--run-id=manual__2026-03-30T01-00-00-00-00"),
    ]
    assert [path.name for path in tmp_path.iterdir() if path.name == "forged"] == []


def test_a_refused_rollback_fails_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/bash\necho 'error: sales: release 7 is champion already' >&2\nexit 64\n")
    program.chmod(0o755)
    monkeypatch.setenv("NIGHTSTILL_TASK_PYTHON", str(program))
    with pytest.raises(AirflowFailException, match="release 7 is champion already"):
        rendered("rollback", reason="shelves ran empty", to=7).execute({})


def test_the_asset_says_that_it_was_a_rollback_and_why() -> None:
    task: AnnounceRollbackOperator = rendered("announce", reason="shelves\nran empty")
    (asset,) = task.outlets
    context: Any = {"dag_run": SimpleNamespace(run_id=RUN_ID), "outlet_events": OutletEventAccessors()}
    told = {"outcome": "rolled-back", "run_id": RUN_ID, "reason": "shelves ran empty", "as_of": "2026-03-29"}
    assert task.execute(context) == told
    assert context["outlet_events"][asset].extra == told
    assert json.loads(json.dumps(told)) == told
