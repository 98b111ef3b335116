"""One DAG, `tidy`, removes what old nights of all workloads left: every Sunday if a setting says how many stay."""

import os
from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from dags import docs
from dags.defaults import task_defaults
from dags.notify import Recovered
from dags.runners import run_command
from dags.runners.command import Command
from tasks.pipeline.resources import Resources

KEEP = os.environ.get("NIGHTSTILL_KEEP_NIGHTS", "")
ALL = "all"
# When no night is under way.
TIDY_AT = "0 12 * * 0"

with DAG(
    "tidy",
    dag_display_name="Tidy up",
    description="Remove runs, checkpoints, forecasts and data of old nights that nothing needs",
    doc_md=docs.TIDYING,
    schedule=CronTriggerTimetable(TIDY_AT, timezone="UTC") if KEEP else None,
    catchup=False,
    max_active_runs=1,
    params={
        "keep_nights": Param(int(KEEP or 90), type="integer", minimum=1, title="Nights of each workload that stay"),
        "remove": Param(
            bool(KEEP), type="boolean", title="Remove", description="Without it the log only says what would go."
        ),
    },
    tags=["nightstill", "retention"],
    default_args=task_defaults(ALL, {}, retries=2),
    on_success_callback=Recovered(ALL),
) as dag:
    run_command(
        {},
        Command(
            name=f"{ALL}/tidy",
            arguments=(
                "tidy",
                "--keep-nights={{ params.keep_nights }}",
                "{{ '--remove' if params.remove else '' }}",
            ),
            limits=Resources({}).of("report"),
        ),
        task_id="tidy",
        doc_md=docs.TIDY,
        execution_timeout=timedelta(hours=2),
    )
