"""A workload with nights in shadow: what its DAGs have besides, and who is told."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG, Asset, TriggerRule
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.serialization.serialized_objects import DagSerialization

from dags import nightly, watching
from dags.announce import AnnounceOperator, AnnounceShadowOperator
from dags.notify import OpsNotifier
from dags.project import ROOT

SALES: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())["workloads"]["sales"]
RUN_ID = "scheduled__2026-06-30T01:00:00+00:00"
TOLD = {"uri": "/store/shadow.json", "sha256": "ab", "told": "7 nights in shadow: -1%", "watched": "r1"}


def dag_of(**more: Any) -> DAG:
    return watching.make("sales", {**SALES, "shadow_nights": 7, **more})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(
        OpsNotifier, "notify", lambda self, _: found.append(f"{self.event} {self.cause}: {self.reason}")
    )
    return found


def context_of(result: Any) -> Any:
    return {
        "ti": SimpleNamespace(task_id="announce", try_number=1, xcom_pull=lambda task_ids: result),
        "dag_run": SimpleNamespace(run_id=RUN_ID),
        "outlet_events": OutletEventAccessors(),
    }


def test_the_watch_is_followed_by_the_judgement_where_the_section_says_so() -> None:
    dag = dag_of()
    assert {task.task_id: task.upstream_task_ids for task in dag.tasks} == {
        "watch": set(),
        "announce": {"watch"},
        "shadow": {"watch"},
        "announce_shadow": {"shadow"},
        "nights": {"watch", "shadow"},
    }
    assert set(DagSerialization.from_dict(DagSerialization.to_dict(dag)).task_dict) == set(dag.task_dict)
    shadow: Any = dag.get_task("shadow")
    assert shadow.trigger_rule == TriggerRule.ALL_DONE and shadow.arguments[:3] == ["shadow", "sales", "--as-of"]
    assert "shadow" not in watching.make("sales", SALES).task_dict


def test_after_a_release_consumers_score_again(told: list[str]) -> None:
    task = dag_of().get_task("announce_shadow").prepare_for_execution()
    assert isinstance(task, AnnounceShadowOperator)
    task.as_of = "2026-06-29"
    (asset,) = task.outlets
    context = context_of({**TOLD, "outcome": "promoted"})
    task.execute(context)
    assert isinstance(asset, Asset)
    extra = context["outlet_events"][asset].extra
    assert extra == {"manifest": TOLD["uri"], "sha256": "ab", "as_of": "2026-06-29"}
    assert told == ["promoted shadow/r1: the candidate of run r1: 7 nights in shadow: -1%"]


@pytest.mark.parametrize(
    ("outcome", "events"),
    [
        ("rejected", ["rejected"]),
        ("superseded", ["superseded"]),
        ("held", ["approval"]),
        ("in-shadow", []),
    ],
)
def test_what_leaves_the_champion_starts_no_consumer(outcome: str, events: list[str], told: list[str]) -> None:
    task: Any = dag_of().get_task("announce_shadow").prepare_for_execution()
    with pytest.raises(AirflowSkipException, match=outcome):
        task.execute(context_of({**TOLD, "outcome": outcome}))
    assert [one.split()[0] for one in told] == events
    with pytest.raises(AirflowFailException, match="handed over no outcome"):
        task.execute(context_of(None))


@pytest.mark.parametrize(("more", "events"), [({"shadow": "waits"}, []), ({}, ["held"])])
def test_a_night_whose_candidate_waits_for_its_nights_in_shadow_is_no_message(
    more: dict[str, str], events: list[str], told: list[str]
) -> None:
    task = AnnounceOperator(task_id="announce", workload="sales", promote_task_id="promote", as_of="2026-06-29")
    with pytest.raises(AirflowSkipException):
        task.execute(context_of({**TOLD, "outcome": "held", **more}))
    assert [one.split()[0] for one in told] == events


@pytest.mark.parametrize("champion", [0, 3])
def test_people_are_asked_at_night_before_a_first_release_alone(
    champion: int, run_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("dags.approval.HITLOperator.execute", lambda self, context: asked.append(self.body))
    dag = nightly.make("sales", {**SALES, "shadow_nights": 7, "approval": {"by": ["anna"]}})
    assert dag.get_task("score").upstream_task_ids == {"validate", "promote"}
    folder = run_store / "runs" / "sales" / "scheduled__2026-06-30T01-00-00-00-00"
    folder.mkdir(parents=True)
    summary = {"verdict": "promote", "winner": "a", "reason": "passes", "primary_metric": "wape", "champion": champion}
    (folder / "evaluate.json").write_text(json.dumps({"summary": summary}))
    task: Any = dag.get_task("approve")
    task.execute({"run_id": RUN_ID, "params": {}})
    assert len(asked) == (champion == 0)
