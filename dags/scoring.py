"""The consumer is one DAG per workload, `score_<workload>`, that scores when another release became champion.

Nights score with the champion themselves, whatever became of their candidate: what a promotion's event makes this DAG
score again is there already, and stays as it is.
"""

from datetime import timedelta
from functools import partial

from airflow.sdk import DAG, Asset, Param

from dags import docs
from dags.defaults import task_defaults
from dags.notify import Recovered
from dags.project import AS_OF, as_of, release_uri, workloads
from dags.runners import run_command
from dags.runners.command import Command
from tasks.core.params import Section
from tasks.pipeline.resources import Resources


def make(workload: str, section: Section) -> DAG:
    """Make the scoring DAG of one workload. Other teams write theirs the same way: `schedule=[Asset(…)]`."""
    with DAG(
        f"score_{workload}",
        dag_display_name=f"Scoring: {section['title']}",
        description="Score with the champion when another release became it, or by hand",
        doc_md=docs.scoring(workload),
        schedule=[Asset(release_uri(workload))],
        catchup=False,
        max_active_runs=1,
        params={"as_of": Param(None, type=["null", "string"], format="date", title="Last day of data")},
        tags=["nightstill", workload, "scoring"],
        user_defined_macros={"as_of": partial(as_of, timezone=section.get("timezone", "UTC"))},
        default_args=task_defaults(workload, section, retries=2),
        on_success_callback=Recovered(workload),
    ) as dag:
        limits = Resources(section.get("resources")).of("score")
        arguments = ("score", workload, "--keep", "--as-of", AS_OF)
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
