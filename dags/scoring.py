"""The consumer: one DAG per workload, `score_<workload>`, that scores with the new champion after every promotion."""

import os
from datetime import timedelta

from airflow.sdk import DAG, Asset, Param

from dags import docs
from dags.defaults import task_defaults
from dags.project import HOME, default_as_of, release_uri, workloads
from dags.runners import run_command
from dags.runners.command import Command
from tasks.core.params import Section
from tasks.pipeline.resources import Resources


def make(workload: str, section: Section) -> DAG:
    """The scoring DAG of one workload. Other teams write theirs the same way: `schedule=[Asset(…)]`."""
    timezone = section.get("timezone", "UTC")
    with DAG(
        f"score_{workload}",
        dag_display_name=f"Scoring: {section['title']}",
        description="Score with the champion into Parquet, after every promotion",
        doc_md=docs.scoring(workload),
        schedule=[Asset(release_uri(workload))],
        catchup=False,
        max_active_runs=1,
        params={"as_of": Param(None, type=["null", "string"], format="date", title="Last day of data")},
        tags=["nightstill", workload, "scoring"],
        user_defined_macros={
            "as_of": lambda params, dag_run: params["as_of"] or default_as_of(dag_run.run_after, timezone).isoformat()
        },
        default_args=task_defaults(workload, section, retries=2),
    ) as dag:
        forecasts = os.environ.get("NIGHTSTILL_FORECASTS") or str(HOME / "forecasts")
        arguments = (
            "score",
            workload,
            "--as-of",
            "{{ as_of(params, dag_run) }}",
            "--out",
            f"{forecasts}/{workload}/{{{{ as_of(params, dag_run) }}}}.parquet",
        )
        limits = Resources(section.get("resources")).of("score")
        run_command(
            section,
            Command(name=f"{workload}/score", arguments=arguments, limits=limits),
            task_id="score",
            doc_md=docs.SCORE,
            execution_timeout=timedelta(minutes=30),
        )
    return dag


for _workload, _section in workloads().items():
    globals()[f"score_{_workload}"] = make(_workload, _section)
