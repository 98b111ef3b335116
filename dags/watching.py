"""Each workload has one DAG `watch_<workload>`: what came of its forecasts, after each night and every morning."""

from datetime import timedelta
from functools import partial
from typing import Any

from airflow.sdk import (
    DAG,
    Asset,
    AssetOrTimeSchedule,
    BaseOperator,
    CronTriggerTimetable,
    Param,
    TriggerRule,
)

from dags import docs
from dags.announce import AnnounceShadowOperator, AnnounceWatchOperator
from dags.defaults import task_defaults
from dags.notify import Recovered
from dags.project import AS_OF, as_of, forecasts_uri, release_uri, workloads
from dags.runners import run_command
from dags.runners.command import Command
from tasks.core.params import Section
from tasks.pipeline.resources import Resources

# Truth may come without a night, and before people come to work.
WATCH_AT = "45 6 * * *"


def make(workload: str, section: Section) -> DAG:
    """Make the watching DAG of one workload."""
    timezone = section.get("timezone", "UTC")
    with DAG(
        f"watch_{workload}",
        dag_display_name=f"Watch: {section['title']}",
        description="Compare kept forecasts with what came of them; act on a regression",
        doc_md=docs.watching(workload),
        schedule=_schedule(workload, section),
        catchup=False,
        max_active_runs=1,
        params={"as_of": Param(None, type=["null", "string"], format="date", title="Last day of truth")},
        tags=["nightstill", workload, "watching"],
        user_defined_macros={"as_of": partial(as_of, timezone=timezone)},
        default_args=task_defaults(workload, section, retries=2),
        on_success_callback=Recovered(workload),
    ) as dag:
        limits = Resources(section.get("resources")).of("score")
        watch = run_command(
            section,
            Command(
                name=f"{workload}/watch",
                arguments=("watch", workload, "--as-of", AS_OF),
                result=f"watch/{workload}/{AS_OF}.json",
                limits=limits,
            ),
            task_id="watch",
            doc_md=docs.WATCH,
            execution_timeout=timedelta(minutes=30),
        )
        announce = AnnounceWatchOperator(
            task_id="announce",
            doc_md=docs.ANNOUNCE_WATCH,
            workload=workload,
            watch_task_id="watch",
            as_of=AS_OF,
            outlets=[Asset(release_uri(workload))],
        )
        pages = run_command(
            section,
            Command(
                name=f"{workload}/nights", arguments=("nights", workload, "--last", "365", "--page"), limits=limits
            ),
            task_id="nights",
            doc_md=docs.NIGHTS,
            execution_timeout=timedelta(minutes=15),
            # Also before there is anything to watch, and when watching failed: then most of all.
            trigger_rule=TriggerRule.ALL_DONE,
        )
        watch >> [announce, pages]
        if section.get("shadow_nights"):
            watch >> _shadow(workload, section) >> [_announce_shadow(workload), pages]
    return dag


def _shadow(workload: str, section: Section) -> BaseOperator:
    """Judge the candidate in shadow, behind the watch, whose rollback comes first."""
    resources = Resources(section.get("resources"))
    return run_command(
        section,
        Command(
            name=f"{workload}/shadow",
            arguments=("shadow", workload, "--as-of", AS_OF),
            result=f"shadow/{workload}/days/{AS_OF}.json",
            limits=resources.of("score").or_more(resources.of("promote")),  # it does both
        ),
        task_id="shadow",
        doc_md=docs.SHADOW,
        execution_timeout=timedelta(minutes=45),
        # Also before there is anything to watch.
        trigger_rule=TriggerRule.ALL_DONE,
    )


def _announce_shadow(workload: str) -> BaseOperator:
    return AnnounceShadowOperator(
        task_id="announce_shadow",
        doc_md=docs.ANNOUNCE_SHADOW,
        workload=workload,
        shadow_task_id="shadow",
        as_of=AS_OF,
        outlets=[Asset(release_uri(workload))],
    )


def _schedule(workload: str, section: Section) -> Any:
    """Return when it runs: a workload whose nights are started by hand is not asked every morning."""
    kept = [Asset(forecasts_uri(workload))]
    if section.get("schedule") is None:
        return kept
    morning = CronTriggerTimetable(WATCH_AT, timezone=section.get("timezone", "UTC"))
    return AssetOrTimeSchedule(timetable=morning, assets=kept)


for _workload, _section in workloads().items():
    globals()[f"watch_{_workload}"] = make(_workload, _section)
