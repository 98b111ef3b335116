"""Each workload that is shown has one DAG, `nightly_<workload>`, with the stages of dvc.yaml as its tasks."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
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
from dags.approval import ANSWER, ApproveOperator
from dags.defaults import task_defaults
from dags.notify import Recovered, deadline_missed
from dags.project import AS_OF, as_of, forecasts_uri, pipeline, release_uri, safe_run_id, workloads
from dags.runners import run_command, runner_of
from dags.runners.command import Command
from dags.waiting import wait_for_data
from tasks.core.approval import Approval, parse_approval
from tasks.core.params import DEADLINE_MINUTES, Section, patience, upstream_asset
from tasks.pipeline.graph import Graph, Stage
from tasks.pipeline.handover.manifest import run_key
from tasks.pipeline.resources import Resources, side_by_side

VALIDATE, EVALUATE, PROMOTE = "validate", "evaluate", "promote"
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
    """Make the nightly DAG of one workload."""
    graph = pipeline(section)
    approval = parse_approval(section.get("approval"), f"workloads.{workload}.approval")
    # What people may take is not the night's own time.
    minutes = int(section.get("deadline_minutes", DEADLINE_MINUTES)) + (approval.minutes if approval else 0)
    timezone = section.get("timezone", "UTC")
    dag = DAG(
        f"nightly_{workload}",
        dag_display_name=f"Nightly: {section['title']}",
        description=section.get("description", ""),
        doc_md=docs.dag(workload, section),
        schedule=_schedule(section, timezone),
        catchup=False,
        max_active_runs=1,
        params=FORM,
        tags=["nightstill", workload, section["problem"]["kind"]],
        user_defined_macros={"as_of": partial(as_of, timezone=timezone), "safe_run_id": safe_run_id},
        deadline=DeadlineAlert(
            name="late",
            # Not when it was queued: Airflow 3.3 refuses to clear tasks of a run with a deadline of that kind.
            reference=DeadlineReference.DAGRUN_LOGICAL_DATE,
            interval=timedelta(minutes=minutes),
            callback=SyncCallback(deadline_missed, kwargs={"workload": workload, "minutes": minutes}),
        ),
        default_args=task_defaults(workload, section),
        on_success_callback=Recovered(workload),
    )
    if runner_of(section) == "process":  # tasks share this machine's cores; containers have limits of their own
        processes = Resources(section.get("resources")).processes
        dag.max_active_tasks = side_by_side(dag.max_active_tasks, section.get("threads", 1), processes)
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
                AS_OF,
                "{{ '--force' if params.force else '' }}",
                "{{ '--dry-run' if params.dry_run else '' }}",
                result="run.yaml",
            ),
            task_id="plan",
            doc_md=docs.PLAN,
            execution_timeout=timedelta(minutes=10),
        )
        if patience(section).wait:
            _fresh(workload, section) >> plan
        tasks = _stages(workload, section, graph, plan)
        if PROMOTE in tasks:
            announce = AnnounceOperator(
                task_id="announce",
                doc_md=docs.ANNOUNCE,
                workload=workload,
                promote_task_id=tasks[PROMOTE].task_id,
                as_of=AS_OF,
                outlets=[Asset(release_uri(workload))],
            )
            tasks[PROMOTE] >> announce
            if approval:
                _ask(workload, approval, tasks, shadow=bool(section.get("shadow_nights")))
            # Beside `announce`, not behind it: a run's state is that of its last tasks, and one in which the training
            # failed has failed though its forecasts were made.
            # Where people are asked, forecasts do not wait for them: what they release is scored by `score_<workload>`.
            # With nights in shadow nobody is asked at night but before a first release; the candidate forecasts too.
            settled = EVALUATE if approval and not section.get("shadow_nights") else PROMOTE
            [tasks[name] for name in (VALIDATE, settled) if name in tasks] >> _score(workload, section)
    return dag


def _schedule(section: Section, timezone: str) -> Any:
    schedule = section.get("schedule")
    if schedule is None:
        return None
    upstream = upstream_asset(schedule)
    return [Asset(upstream)] if upstream else CronTriggerTimetable(schedule, timezone=timezone)


def _fresh(workload: str, section: Section) -> BaseOperator:
    """Wait for data before the run is opened, because opening fixes the champion to compare with."""
    limits = Resources(section.get("resources")).of("fresh")
    return wait_for_data(
        section,
        Command(name=f"{workload}/fresh", arguments=("fresh", workload, "--as-of", AS_OF), limits=limits),
        patience(section),
        task_id="fresh",
        doc_md=docs.FRESH,
        execution_timeout=timedelta(minutes=30),
    )


def _ask(workload: str, approval: Approval, tasks: Mapping[str, BaseOperator], *, shadow: bool) -> None:
    """Put the question between evaluation and promotion."""
    ask = ApproveOperator(task_id="approve", workload=workload, approval=approval, shadow=shadow)
    tasks[EVALUATE] >> ask >> tasks[PROMOTE]


def _score(workload: str, section: Section) -> BaseOperator:
    """Make the night's forecasts: the champion scores the night's snapshot, however the candidate fared."""
    limits = Resources(section.get("resources")).of("score")
    return run_command(
        section,
        Command(name=f"{workload}/score", arguments=("score", workload, "--keep", "--run-id", RUN_ID), limits=limits),
        task_id="score",
        doc_md=docs.SCORE_NIGHT,
        outlets=[Asset(forecasts_uri(workload))],
        execution_timeout=timedelta(minutes=30),
        # Once the promotion was decided or came to nothing, if the data are valid: without these neither succeeds.
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
    )


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
    """Make a task for every stage; the members of a fan-out stage share a group."""
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
                ANSWER if stage.name == PROMOTE and section.get("approval") else "",
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
    """Return upstream stages; without those that another one waits for already, unless the stage waits for all."""
    if stage.runs_always:
        return list(stage.upstream)
    implied = {ancestor for name in stage.upstream for ancestor in graph.ancestors(name)}
    return [name for name in stage.upstream if name not in implied]


for _workload, _section in workloads().items():
    globals()[f"nightly_{_workload}"] = make(_workload, _section)
