"""Operations have two DAGs per workload: `rollback_<workload>` goes back, `verify_<workload>` checks every morning."""

from datetime import timedelta
from functools import partial
from typing import Any

from airflow.sdk import DAG, Asset, BaseOperator, CronTriggerTimetable, Param

from dags import docs
from dags.announce import AnnounceRollbackOperator
from dags.defaults import task_defaults
from dags.notify import Recovered
from dags.project import AS_OF, as_of, release_uri, safe_run_id, workloads
from dags.runners import run_command
from dags.runners.command import Command
from tasks.core.params import Section
from tasks.core.reason import LONGEST, SHORTEST, WORD, one_line
from tasks.pipeline.resources import Resources

# After every night, before people come to work.
VERIFY_AT = "30 6 * * *"
FORM = {
    "to": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Release",
        description="Its number. Empty: the champion before the present one.",
    ),
    "reason": Param(
        type="string",
        minLength=SHORTEST,
        maxLength=LONGEST,
        pattern=WORD,
        title="Reason",
        description="Why, for the ledger and for whoever reads it later.",
    ),
}


def make_rollback(workload: str, section: Section) -> DAG:
    """Make the DAG by which an operator goes back to an earlier release."""
    with _dag(
        f"rollback_{workload}",
        workload,
        section,
        dag_display_name=f"Rollback: {section['title']}",
        description="Make an earlier release champion again, by hand",
        doc_md=docs.rollback(workload),
        schedule=None,
        params=FORM,
        user_defined_macros={
            "as_of": partial(as_of, timezone=section.get("timezone", "UTC")),
            "safe_run_id": safe_run_id,
            "one_line": one_line,
        },
    ) as dag:
        back = _task(
            workload,
            section,
            "rollback",
            "release",
            "rollback",
            workload,
            # One argument each, so that what somebody typed is never taken for another option.
            "{{ '--to=%d' % params.to if params.to else '' }}",
            "--reason={{ one_line(params.reason) }}",
            "--run-id={{ safe_run_id(run_id) }}",
            doc_md=docs.ROLLBACK,
            execution_timeout=timedelta(minutes=10),
            # "The one before" may be another one by the time of the next attempt: whoever asked looks again.
            retries=0,
        )
        announce = AnnounceRollbackOperator(
            task_id="announce",
            doc_md=docs.ANNOUNCE_ROLLBACK,
            reason="{{ one_line(params.reason) }}",
            as_of=AS_OF,
            outlets=[Asset(release_uri(workload))],
        )
        back >> [announce, _sync(workload, section)]
    return dag


def make_verify(workload: str, section: Section) -> DAG:
    """Make the DAG that checks all releases against their digests, and MLflow's registry against the ledger."""
    with _dag(
        f"verify_{workload}",
        workload,
        section,
        dag_display_name=f"Verify: {section['title']}",
        description="Check every release's digests; bring MLflow's registry in line with the ledger",
        doc_md=docs.verify(workload),
        schedule=CronTriggerTimetable(VERIFY_AT, timezone=section.get("timezone", "UTC")),
    ) as dag:
        _task(
            workload,
            section,
            "verify",
            "release",
            "verify",
            workload,
            doc_md=docs.VERIFY,
            execution_timeout=timedelta(hours=1),
        )
        _sync(workload, section)
    return dag


def _dag(dag_id: str, workload: str, section: Section, **kwargs: Any) -> DAG:
    return DAG(
        dag_id,
        catchup=False,
        max_active_runs=1,
        tags=["nightstill", workload, "releases"],
        default_args=task_defaults(workload, section),
        on_success_callback=Recovered(workload),
        **kwargs,
    )


def _sync(workload: str, section: Section) -> BaseOperator:
    return _task(
        workload,
        section,
        "sync",
        "registry",
        "sync",
        workload,
        doc_md=docs.SYNC,
        execution_timeout=timedelta(minutes=15),
    )


def _task(workload: str, section: Section, name: str, *arguments: str, **kwargs: Any) -> BaseOperator:
    limits = Resources(section.get("resources")).of("report")
    command = Command(name=f"{workload}/{name}", arguments=arguments, limits=limits)
    return run_command(section, command, task_id=name, **kwargs)


for _workload, _section in workloads().items():
    globals()[f"rollback_{_workload}"] = make_rollback(_workload, _section)
    globals()[f"verify_{_workload}"] = make_verify(_workload, _section)
