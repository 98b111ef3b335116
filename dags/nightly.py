"""One DAG per workload of params.yaml, `nightly_<workload>`, with the stages of dvc.yaml as its tasks."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import (  # type: ignore[attr-defined]  # its stub lacks the names of deadlines
    DAG,
    Asset,
    BaseOperator,
    CronTriggerTimetable,
    DeadlineAlert,
    DeadlineReference,
    Param,
    SyncCallback,
    TaskGroup,
    TriggerRule,
)

from dags import docs
from dags.announce import AnnounceOperator
from dags.defaults import task_defaults
from dags.notify import deadline_missed
from dags.project import default_as_of, pipeline, release_uri, safe_run_id, workloads
from dags.runners import run_command
from dags.runners.command import Command
from tasks.core.params import Section
from tasks.pipeline.graph import Graph, Stage
from tasks.pipeline.handover.manifest import run_key
from tasks.pipeline.resources import Resources

PROMOTE = "promote"
RUN_ID = "{{ safe_run_id(run_id) }}"
FORM = {
    "as_of": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Last day of data",
        description="Empty: the day before the run, in the workload's timezone.",
    ),
    "force": Param(False, type="boolean", title="Force", description="Run every stage even if nothing changed."),
    "dry_run": Param(False, type="boolean", title="Dry run", description="Stop short of the release."),
}


def make(workload: str, section: Section) -> DAG:
    """The nightly DAG of one workload."""
    graph = pipeline(section)
    minutes = int(section["deadline_minutes"]) if "deadline_minutes" in section else 240
    timezone = section.get("timezone", "UTC")

    def as_of(params: Mapping[str, Any], dag_run: Any) -> str:
        return params["as_of"] or default_as_of(dag_run.logical_date or dag_run.run_after, timezone).isoformat()

    dag = DAG(
        f"nightly_{workload}",
        dag_display_name=f"Nightly: {section['title']}",
        description=section.get("description", ""),
        doc_md=docs.dag(workload, section),
        schedule=CronTriggerTimetable(section["schedule"], timezone=timezone),
        catchup=False,
        max_active_runs=1,
        params=FORM,
        tags=["nightstill", workload, section["problem"]["kind"]],
        user_defined_macros={"as_of": as_of, "safe_run_id": safe_run_id},
        deadline=DeadlineAlert(
            name="late",
            # Not when it was queued: Airflow 3.3 refuses to clear tasks of a run with a deadline of that kind.
            reference=DeadlineReference.DAGRUN_LOGICAL_DATE,
            interval=timedelta(minutes=minutes),
            callback=SyncCallback(deadline_missed, kwargs={"workload": workload, "minutes": minutes}),
        ),
        default_args=task_defaults(workload, section),
    )
    with dag:
        plan = run_command(
            section,
            _command(
                workload,
                section,
                "plan",
                "plan",
                *_run_of(workload),
                "--as-of",
                "{{ as_of(params, dag_run) }}",
                "{{ '--force' if params.force else '' }}",
                "{{ '--dry-run' if params.dry_run else '' }}",
                result="run.yaml",
            ),
            task_id="plan",
            doc_md=docs.PLAN,
            execution_timeout=timedelta(minutes=10),
        )
        tasks = _stages(workload, section, graph, plan)
        if PROMOTE in tasks:
            announce = AnnounceOperator(
                task_id="announce",
                doc_md=docs.ANNOUNCE,
                workload=workload,
                promote_task_id=tasks[PROMOTE].task_id,
                outlets=[Asset(release_uri(workload))],
            )
            tasks[PROMOTE] >> announce
    return dag


def _run_of(workload: str) -> list[str]:
    return ["--workload", workload, "--run-id", RUN_ID]


def _command(workload: str, section: Section, name: str, *arguments: str, result: str) -> Command:
    return Command(
        name=f"{workload}/{name}",
        arguments=arguments,
        result=run_key(workload, RUN_ID, result),
        limits=Resources(section.get("resources")).of(name),
    )


def _stages(workload: str, section: Section, graph: Graph, plan: BaseOperator) -> dict[str, BaseOperator]:
    """A task for every stage; the members of a fan-out stage share a group."""
    groups: dict[str, TaskGroup] = {}
    tasks: dict[str, BaseOperator] = {}
    for stage in graph.stages.values():
        kind, _, member = stage.name.partition("@")
        if member and kind not in groups:
            groups[kind] = TaskGroup(kind)
        tasks[stage.name] = run_command(
            section,
            _command(
                workload,
                section,
                stage.name,
                "run-stage",
                stage.name,
                *_run_of(workload),
                result=f"{stage.name}.json",
            ),
            task_id=member or kind,
            task_group=groups.get(kind),
            doc_md=docs.stage(stage),
            execution_timeout=timedelta(minutes=int(stage.meta.get("timeout_minutes", 60))),
            # A stage that runs in any case still needs an open run: `plan` must have succeeded.
            trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS if stage.runs_always else TriggerRule.ALL_SUCCESS,
        )
        parents = [tasks[name] for name in _parents(graph, stage)]
        if not parents or stage.runs_always:
            parents.append(plan)
        tasks[stage.name].set_upstream(parents)
    return tasks


def _parents(graph: Graph, stage: Stage) -> list[str]:
    """Upstream stages; without those that another one waits for already, unless the stage waits for all to end."""
    if stage.runs_always:
        return list(stage.upstream)
    implied = {ancestor for name in stage.upstream for ancestor in graph.ancestors(name)}
    return [name for name in stage.upstream if name not in implied]


for _workload, _section in workloads().items():
    globals()[f"nightly_{_workload}"] = make(_workload, _section)
