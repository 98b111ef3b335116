"""The nightly and the scoring DAGs of the repository's own two workloads."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
import yaml
from airflow.sdk import DAG, Asset, TriggerRule
from airflow.sdk.definitions.deadline import DeadlineReference
from airflow.serialization.encoders import coerce_to_core_timetable
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction

from dags import nightly, scoring
from dags.notify import OpsNotifier, deadline_missed
from dags.project import ROOT
from tasks.pipeline.graph import Graph, load_graph
from tasks.pipeline.resources import cores, side_by_side

SECTIONS: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "params.yaml").read_text())["workloads"]
WORKLOADS = ["sales", "customers"]


def dag_of(workload: str) -> DAG:
    dag = getattr(nightly, f"nightly_{workload}")
    assert isinstance(dag, DAG)
    return dag


def scoring_of(workload: str) -> DAG:
    dag = getattr(scoring, f"score_{workload}")
    assert isinstance(dag, DAG)
    return dag


def task_of(workload: str, task_id: str) -> Any:
    return dag_of(workload).get_task(task_id)


def graph_of(workload: str) -> Graph:
    return load_graph((ROOT / "dvc.yaml").read_text(), SECTIONS[workload])


def ancestors(dag: DAG, task_id: str) -> set[str]:
    return set(dag.get_task(task_id).get_flat_relative_ids(upstream=True))


def test_a_dag_for_each_workload_and_no_other() -> None:
    found = {name for name, value in vars(nightly).items() if isinstance(value, DAG)}
    assert found == {f"nightly_{workload}" for workload in SECTIONS} == {"nightly_sales", "nightly_customers"}
    assert {name for name, value in vars(scoring).items() if isinstance(value, DAG)} == {
        "score_sales",
        "score_customers",
    }


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_dag_says_what_params_yaml_says(workload: str) -> None:
    dag, section = dag_of(workload), SECTIONS[workload]
    assert dag.dag_id == f"nightly_{workload}"
    assert section["title"] in str(dag.dag_display_name) and dag.description == section["description"]
    timetable: Any = dag.timetable
    assert (timetable.expression, str(timetable.timezone)) == (section["schedule"], section["timezone"])
    assert dag.catchup is False and dag.max_active_runs == 1
    assert dag.max_active_tasks == side_by_side(16, section["threads"]) <= cores()
    assert workload in dag.tags and section["problem"]["kind"] in dag.tags
    assert section["schedule"] in str(dag.doc_md) and f"nightstill show {workload}" in str(dag.doc_md)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (datetime(2026, 1, 14, 12, tzinfo=UTC), datetime(2026, 1, 15, 2, tzinfo=UTC)),
        (datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 29, 1, tzinfo=UTC)),  # the clocks go forward
        (datetime(2026, 7, 14, 12, tzinfo=UTC), datetime(2026, 7, 15, 1, tzinfo=UTC)),
        (datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 2, tzinfo=UTC)),  # and back
    ],
)
def test_it_starts_at_three_in_the_morning_there_summer_and_winter(after: datetime, expected: datetime) -> None:
    timetable = coerce_to_core_timetable(dag_of("sales").timetable)
    # With catchup the restriction alone decides, not today's date.
    always = TimeRestriction(earliest=pendulum.instance(after), latest=None, catchup=True)
    found = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=always)
    assert found is not None and found.run_after == expected


@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_scheduler_can_read_it(workload: str) -> None:
    for dag in (dag_of(workload), scoring_of(workload)):
        again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        assert set(again.task_dict) == set(dag.task_dict)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_trigger_form(workload: str) -> None:
    params = dag_of(workload).params
    assert params.dump() == {"as_of": None, "force": False, "dry_run": False}
    assert params.get_param("as_of").schema["format"] == "date"
    assert all(params.get_param(name).schema["title"] for name in params)
    for field, bad in (("as_of", "soon"), ("force", "yes")):
        with pytest.raises(ValueError, match=bad):
            params.get_param(field).resolve(bad)


@pytest.mark.parametrize(("workload", "minutes"), [("sales", 240), ("customers", 120)])
def test_an_alert_when_the_deadline_passes(workload: str, minutes: int) -> None:
    deadline: Any = dag_of(workload).deadline
    (alert,) = deadline
    # With a deadline after DAGRUN_QUEUED_AT, tasks of a failed run could not be cleared.
    assert alert.reference == DeadlineReference.DAGRUN_LOGICAL_DATE
    assert alert.interval == timedelta(minutes=minutes) == timedelta(minutes=SECTIONS[workload]["deadline_minutes"])
    assert (
        alert.callback.path
        == f"{deadline_missed.__module__}.{deadline_missed.__name__}"
        == "dags.notify.deadline_missed"
    )
    assert alert.callback.kwargs == {"workload": workload, "minutes": minutes}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_tasks_and_edges_are_those_of_dvc_yaml(workload: str) -> None:
    dag, graph = dag_of(workload), graph_of(workload)
    task_ids = {name: name.replace("@", ".") for name in graph.stages}
    assert set(dag.task_ids) == {"plan", "announce", "score", *task_ids.values()}
    for name, task_id in task_ids.items():
        assert ancestors(dag, task_id) == {"plan", *(task_ids[other] for other in graph.ancestors(name))}, name
        assert task_of(workload, task_id).arguments[:2] == ["run-stage", name]
    assert ancestors(dag, "plan") == set()
    assert dag.get_task("announce").upstream_task_ids == {"promote"}
    assert dag.get_task("score").upstream_task_ids == {"validate", "promote"}


def test_edges_that_another_one_implies_are_left_out_of_the_picture() -> None:
    dag = dag_of("customers")
    upstream = {task.task_id: task.upstream_task_ids for task in dag.tasks}
    assert upstream["snapshot"] == {"plan"}
    assert upstream["validate"] == {"snapshot"}
    assert upstream["features"] == {"validate"}
    assert upstream["teach.mlp-wide"] == {"features"}
    assert upstream["distil.twin"] == {"teach.mlp-wide", "teach.mlp-deep"}
    assert upstream["compress.fp16"] == {"distil.student", "distil.pair", "distil.twin"}
    assert upstream["evaluate"] == {"compress.fp32", "compress.neurons", "compress.int8-dynamic", "compress.fp16"}
    assert upstream["promote"] == {"evaluate"}
    # The page of a run that stopped waits for whatever can still end.
    assert upstream["report"] == set(dag.task_ids) - {"report", "announce", "score"}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_report_and_score_run_after_a_failure_the_one_in_an_open_run_the_other_on_valid_data(workload: str) -> None:
    dag = dag_of(workload)
    rules = {task.task_id: task.trigger_rule for task in dag.tasks}
    assert {rules.pop(name) for name in ("report", "score")} == {TriggerRule.ALL_DONE_MIN_ONE_SUCCESS}
    assert set(rules.values()) == {TriggerRule.ALL_SUCCESS}
    # A night whose training failed has failed though it made forecasts: what was behind is among its last tasks.
    assert {task.task_id for task in dag.tasks if not task.downstream_task_ids} == {"report", "score", "announce"}


def test_a_night_scores_its_own_snapshot_and_keeps_the_forecasts() -> None:
    score = dag_of("sales").get_task("score")
    arguments = rendered(score, logical_date=LATE, run_after=LATE)
    assert arguments == ["score", "sales", "--keep", "--run-id", "scheduled__2026-03-30T01-00-00-00-00"]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_task_is_retried_with_growing_pauses_and_ends_in_time(workload: str) -> None:
    dag, graph = dag_of(workload), graph_of(workload)
    for task in dag.tasks:
        assert task.retries == 3, task.task_id
        assert (task.retry_delay, task.max_retry_delay) == (timedelta(minutes=1), timedelta(minutes=20))
        assert task.retry_exponential_backoff == 2.0
        assert task.owner == "ml-platform"
    for name, stage in graph.stages.items():
        limit = dag.get_task(name.replace("@", ".")).execution_timeout
        assert limit == timedelta(minutes=stage.meta["timeout_minutes"]), name
    assert dag.get_task("plan").execution_timeout == timedelta(minutes=10)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_dag_and_task_tells_operations_what_to_do(workload: str) -> None:
    for dag in (dag_of(workload), scoring_of(workload)):
        assert dag.doc_md
        for task in dag.tasks:
            assert task.doc_md, task.task_id
            callbacks: Any = task.on_failure_callback
            (callback,) = callbacks
            assert isinstance(callback, OpsNotifier)
            assert (callback.event, callback.workload) == ("failed", workload)
    for name in graph_of(workload).stages:
        assert "**If it fails**" in str(dag_of(workload).get_task(name.replace("@", ".")).doc_md)
    assert "**If it fails**" in str(dag_of(workload).get_task("plan").doc_md)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_only_announce_updates_the_release_asset_and_scoring_waits_for_it(workload: str) -> None:
    uri = f"nightstill://releases/{workload}"
    outlets = {task.task_id: task.outlets for task in dag_of(workload).tasks if task.outlets}
    assert set(outlets) == {"announce", "score"}
    # What a night forecast is watched as soon as it is kept.
    assert [asset.uri for asset in outlets["score"]] == [f"nightstill://forecasts/{workload}"]
    assert [asset.uri for asset in outlets["announce"] if isinstance(asset, Asset)] == [uri]
    dag = scoring_of(workload)
    schedule: Any = dag.timetable
    assert [asset.uri for asset in schedule.asset_condition.objects] == [uri]
    assert dag.catchup is False and dag.max_active_runs == 1
    assert dag.task_ids == ["score"]


def event(**extra: Any) -> Any:
    return SimpleNamespace(extra=extra)


def rendered(
    task: Any, *, logical_date: datetime | None, run_after: datetime, events: Any = (), **params: Any
) -> list[str]:
    task = task.prepare_for_execution()
    asked = {"as_of": None, "force": False, "dry_run": False, **params}
    run = SimpleNamespace(logical_date=logical_date, run_after=run_after)
    triggers = {"triggering_asset_events": {"asset": list(events)} if events else {}}
    told = {"params": asked, "dag_run": run, "run_id": "scheduled__2026-03-30T01:00:00+00:00", **triggers}
    task.render_template_fields(told)
    return [argument for argument in task.arguments if argument]


LATE = datetime(2026, 3, 29, 22, 30, tzinfo=UTC)  # half past midnight on 30 March in Berlin, summer time's first night
OPENED = ["plan", "--workload", "sales", "--run-id", "scheduled__2026-03-30T01-00-00-00-00", "--as-of"]


def test_a_night_is_of_the_day_before_its_logical_date_in_the_workloads_timezone() -> None:
    plan = dag_of("sales").get_task("plan")
    days_later = LATE + timedelta(days=3)
    assert rendered(plan, logical_date=LATE, run_after=days_later) == [*OPENED, "2026-03-29"]
    # Triggered by hand there is no logical date.
    assert rendered(plan, logical_date=None, run_after=LATE) == [*OPENED, "2026-03-29"]
    assert rendered(plan, logical_date=LATE, run_after=LATE, as_of="2026-01-05", force=True, dry_run=True) == [
        *OPENED,
        "2026-01-05",
        "--force",
        "--dry-run",
    ]


def test_every_task_of_a_run_names_the_same_run() -> None:
    dag = dag_of("sales")
    stage = rendered(dag.get_task("teach.lstm"), logical_date=LATE, run_after=LATE)
    assert stage == ["run-stage", "teach@lstm", *OPENED[1:-1]]


def test_scoring_is_of_the_day_that_was_typed_else_of_the_events_else_of_the_newest_whole_one() -> None:
    score = scoring_of("sales").get_task("score")
    kept = ["score", "sales", "--keep", "--as-of"]
    when: Any = {"logical_date": None, "run_after": LATE}
    assert rendered(score, **when) == [*kept, "2026-03-29"]
    assert rendered(score, **when, events=[event()]) == [*kept, "2026-03-29"]
    backfilled = event(as_of="2026-01-05", manifest="/store/promote.json", sha256="ab")
    assert rendered(score, **when, events=[backfilled]) == [*kept, "2026-01-05"]
    # Two promotions before this run came to start: what users want is the newest day.
    assert rendered(score, **when, events=[event(as_of="2026-03-28"), backfilled]) == [*kept, "2026-03-28"]
    assert rendered(score, **when, events=[backfilled], as_of="2026-02-01") == [*kept, "2026-02-01"]
    with pytest.raises(ValueError, match="Invalid isoformat string: 'tomorrow'"):
        rendered(score, **when, events=[event(as_of="tomorrow")])


UPSTREAM = "s3://warehouse/sales"


def changed(**changes: Any) -> DAG:
    """The nightly DAG of `sales` with other values in its section."""
    return nightly.make("sales", {**SECTIONS["sales"], **changes})


def test_nights_may_wait_for_an_asset_of_somebody_else() -> None:
    dag = changed(schedule={"asset": UPSTREAM})
    schedule: Any = dag.timetable
    assert [asset.uri for asset in schedule.asset_condition.objects] == [UPSTREAM]
    assert UPSTREAM in str(dag.doc_md)
    assert set(DagSerialization.from_dict(DagSerialization.to_dict(dag)).task_dict) == set(dag.task_ids)
    plan = dag.get_task("plan")
    when: Any = {"logical_date": None, "run_after": LATE}
    assert rendered(plan, **when, events=[event()]) == [*OPENED, "2026-03-29"]
    assert rendered(plan, **when, events=[event(as_of="2026-03-28")]) == [*OPENED, "2026-03-28"]


def test_a_night_that_waits_for_its_data_looks_for_them_before_it_is_opened() -> None:
    assert "fresh" not in dag_of("sales").task_ids
    dag = changed(source={**SECTIONS["sales"]["source"], "wait_minutes": 120})
    fresh: Any = dag.get_task("fresh")
    assert (fresh.upstream_task_ids, fresh.downstream_task_ids) == (set(), {"plan"})
    assert fresh.patience == (120, 5)
    assert fresh.doc_md and set(DagSerialization.from_dict(DagSerialization.to_dict(dag)).task_dict) == set(
        dag.task_ids
    )
    assert rendered(fresh, logical_date=LATE, run_after=LATE) == ["fresh", "sales", "--as-of", "2026-03-29"]


@pytest.mark.parametrize("threads", [0, None, "two"])
def test_threads_that_a_check_refuses_take_no_dag_away(threads: Any) -> None:
    section = {**SECTIONS["sales"], "threads": threads, "resources": {"teach": {"processes": cores()}}}
    assert nightly.make("sales", section).max_active_tasks == 1
