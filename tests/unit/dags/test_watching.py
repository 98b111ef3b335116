"""The DAG by which a workload is watched, and what becomes of what it found."""

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, TriggerRule
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.serialization.serialized_objects import DagSerialization

from dags import announce, watching
from dags.announce import AnnounceWatchOperator
from dags.notify import OpsNotifier, Recovered

RUN_ID = "scheduled__2026-06-30T01:00:00+00:00"


def dag_of(workload: str = "sales") -> DAG:
    dag = getattr(watching, f"watch_{workload}")
    assert isinstance(dag, DAG)
    return dag


def test_it_watches_then_tells_and_writes_the_pages_in_any_case() -> None:
    dag = dag_of()
    again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert set(again.task_dict) == {"watch", "announce", "nights"}
    assert {task.task_id: task.upstream_task_ids for task in dag.tasks} == {
        "watch": set(),
        "announce": {"watch"},
        "nights": {"watch"},
    }
    assert dag.get_task("nights").trigger_rule == TriggerRule.ALL_DONE
    assert dag.doc_md and all(task.doc_md and task.owner == "ml-platform" for task in dag.tasks)
    watch: Any = dag.get_task("watch")
    assert watch.arguments[:3] == ["watch", "sales", "--as-of"]
    callbacks: Any = dag.on_success_callback
    assert isinstance(callbacks if not isinstance(callbacks, list) else callbacks[0], Recovered)


def test_it_runs_when_forecasts_were_kept_and_every_morning() -> None:
    timetable: Any = dag_of().timetable
    assert [asset.uri for asset in timetable.asset_condition.objects] == ["nightstill://forecasts/sales"]
    assert "45 6 * * *" in timetable.timetable.expression


def test_a_workload_whose_nights_are_started_by_hand_is_watched_after_them_alone() -> None:
    timetable: Any = watching.make("power", {"title": "Power", "schedule": None}).timetable
    assert [asset.uri for asset in timetable.asset_condition.objects] == ["nightstill://forecasts/power"]
    assert not hasattr(timetable, "timetable")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def keep(self: OpsNotifier, context: Any) -> None:
        found.append(f"{self.event}/{self.cause}: {self.reason}")

    monkeypatch.setattr(OpsNotifier, "notify", keep)
    monkeypatch.setattr(announce, "recovered", lambda workload, place, run: found.append(f"over: {workload} {place}"))
    return found


def executed(result: Any) -> Any:
    task = dag_of().get_task("announce").prepare_for_execution()
    assert isinstance(task, AnnounceWatchOperator)
    task.as_of = "2026-06-29"
    (asset,) = task.outlets
    events = OutletEventAccessors()
    context: Any = {
        "ti": SimpleNamespace(task_id="announce", try_number=1, xcom_pull=lambda task_ids: result),
        "dag_run": SimpleNamespace(run_id=RUN_ID),
        "outlet_events": events,
    }
    made = task.execute(context)
    assert isinstance(asset, Asset)
    return made, events[asset].extra


def test_after_a_rollback_consumers_score_again_and_ops_are_told(told: list[str]) -> None:
    made, extra = executed({"outcome": "rolled-back", "told": "live error +20 %", "watched": "7"})
    assert (
        made
        == extra
        == {"outcome": "rolled-back", "run_id": RUN_ID, "reason": "live error +20 %", "as_of": "2026-06-29"}
    )
    assert told == ["regression/regression/7: rolled-back: live error +20 %"]


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("fine", "over: sales regression"),
        ("regression", "regression/regression/7: regression: why"),
        ("held", "regression/regression/7: held: why"),
    ],
)
def test_without_another_champion_no_consumer_is_started(outcome: str, said: str, told: list[str]) -> None:
    with pytest.raises(AirflowSkipException, match=outcome):
        executed({"outcome": outcome, "told": "why", "watched": "7"})
    assert told == [said]


@pytest.mark.parametrize("result", [None, {}])
def test_a_watch_without_a_result_is_a_fault(result: Any) -> None:
    with pytest.raises(AirflowFailException, match="handed over no outcome"):
        executed(result)
