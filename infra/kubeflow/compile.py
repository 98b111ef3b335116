"""Compile a Kubeflow Pipelines v2 pipeline per workload, from the graph that all runners share (`make kubeflow`).

    python -m infra.kubeflow.compile [WORKLOAD …] [--out FOLDER]

Writes `nightly_<workload>.yaml` to .nightstill/kubeflow: `plan` opens the run, then every stage is one container of the
task image. A pipeline has the parameters `as_of`, `force`, `dry_run` and `run_id`; without a `run_id` it is Kubeflow's.

What ends every night is the exit task of a `dsl.ExitHandler` around all stages, and not a task that ignores failures
upstream: Kubeflow's backend runs such a task once after each of its upstream tasks, an exit task once after all of
them, and it counts the run as failed if one of them failed. As it has room for one, that task first makes the
champion's forecasts, then runs the stage with the trigger `all_done` (the report). `plan` stays outside: without an
open run there is nothing to end.

Arguments are put together by the container's shell, as a backend can neither leave out an empty argument nor fill in
its own run ID anywhere but in a task's input.

Exit code 0: written; 64: no such workload; 78: a setting, params.yaml or dvc.yaml is wrong.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kfp import compiler, dsl, kubernetes  # type: ignore[import-untyped]

from infra.kubeflow.settings import (
    NEEDED_SECRETS,
    BadConfiguration,
    Project,
    Settings,
    UnknownWorkload,
    home,
)
from tasks.pipeline.graph import Graph, Stage
from tasks.pipeline.handover.surroundings import SECRETS
from tasks.pipeline.resources import Limits, Resources, ResourcesError

PLAN, SCORE = "plan", "score"
PLAN_MINUTES, SCORE_MINUTES = 10, 30
WORKSPACE = "/workspace"
USER = 10001
# A stage's name is the first argument after the shell's own four words, in each of the scripts.
PLAN_SCRIPT = """\
as_of=$5 force=$6 dry_run=$7
set -- "$1" --workload "$2" --run-id "${3:-$4}"
if [ -n "$as_of" ]; then set -- "$@" --as-of "$as_of"; fi
case $force in [Tt]rue) set -- "$@" --force ;; esac
case $dry_run in [Tt]rue) set -- "$@" --dry-run ;; esac
exec nightstill "$@"
"""
STAGE_SCRIPT = 'exec nightstill run-stage "$1" --workload "$2" --run-id "${3:-$4}"\n'
# Exit code 4: without a release, or valid data, there is nothing to forecast. That is told, and no failure.
SCORE_SCRIPT = """\
nightstill score "$2" --keep --run-id "${3:-$4}" && score=0 || score=$?
if [ $score -eq 4 ]; then score=0; fi
"""
END_SCRIPT = SCORE_SCRIPT + 'nightstill run-stage "$1" --workload "$2" --run-id "${3:-$4}" && exit $score\n'
RETRIES = {"num_retries": 2, "backoff_duration": "60s", "backoff_factor": 2.0, "backoff_max_duration": "1200s"}


class Pipeline:
    """A pipeline compiles one workload. Raises BadConfiguration on a graph or limits that it cannot express."""

    def __init__(self, workload: str, section: Mapping[str, Any], graph: Graph, settings: Settings) -> None:
        self.workload, self.section, self.graph, self.settings = workload, section, graph, settings
        self.exit_stage = exit_stage(graph)
        try:
            self.resources = Resources(section.get("resources"))
        except ResourcesError as error:
            raise BadConfiguration(f"params.yaml: workloads.{workload}.{error}") from error
        for name, nodes in self.resources.nodes.items():
            raise BadConfiguration(
                f"params.yaml: workloads.{workload}.resources.{name}.nodes: {nodes}, but a pipeline's step is one pod; "
                "set nodes: 1 with more processes, or let Airflow's runner kubernetes run it"
            )

    def write(self, path: Path) -> None:
        """Compile it into a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        pipeline = dsl.pipeline(
            name=f"nightly-{self.workload}",
            display_name=f"Nightly: {self.section['title']}",
            description=self.section.get("description", ""),
        )
        compiler.Compiler().compile(pipeline(self._build()), str(path))

    def _build(self) -> Callable[..., None]:
        def nightly(as_of: str = "", force: bool = False, dry_run: bool = False, run_id: str = "") -> None:
            plan = self._set_up(
                PLAN,
                _plan_component(self.settings.image, self.workload)(
                    run_id=run_id,
                    job_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                    as_of=as_of,
                    force=force,
                    dry_run=dry_run,
                ),
                self.resources.of(PLAN),
                PLAN_MINUTES,
            )
            with dsl.ExitHandler(self._end(run_id), name="stages"):
                self._stages(plan, run_id)

        return nightly

    def _stages(self, plan: Any, run_id: Any) -> None:
        tasks: dict[str, Any] = {}
        for stage in self.graph.stages.values():
            if stage is not self.exit_stage:
                tasks[stage.name] = self._stage(stage, run_id)
                tasks[stage.name].after(*([tasks[name] for name in stage.upstream] or [plan]))

    def _stage(self, stage: Stage, run_id: Any) -> Any:
        limits, minutes = self.resources.of(stage.name), int(stage.meta.get("timeout_minutes", 60))
        return self._task(stage.name, STAGE_SCRIPT, run_id, limits, minutes)

    def _end(self, run_id: Any) -> Any:
        """Make the exit task: the forecasts, then the stage that runs in any case, if there is one."""
        limits, stage = self.resources.of(SCORE), self.exit_stage
        if stage is None:
            return self._task(SCORE, f"{SCORE_SCRIPT}exit $score\n", run_id, limits, SCORE_MINUTES)
        minutes = SCORE_MINUTES + int(stage.meta.get("timeout_minutes", 60))
        return self._task(stage.name, END_SCRIPT, run_id, limits.or_more(self.resources.of(stage.name)), minutes)

    def _task(self, name: str, script: str, run_id: Any, limits: Limits, minutes: int) -> Any:
        component = _component(self.settings.image, self.workload, name, script)
        task = component(run_id=run_id, job_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        return self._set_up(name, task, limits, minutes)

    def _set_up(self, name: str, task: Any, limits: Limits, minutes: int) -> Any:
        task.set_display_name(name)
        # Our own hand-over decides what is reused; Kubeflow knows nothing of the code inside the image.
        task.set_caching_options(enable_caching=False)
        task.set_retry(**RETRIES)
        task.set_cpu_limit(f"{limits.cpus:g}")
        task.set_memory_limit(limits.memory)
        for variable, value in self.settings.environment.items():
            task.set_env_variable(variable, value)
        kubernetes.set_timeout(task, minutes * 60)
        kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
        kubernetes.empty_dir_mount(task, "workspace", WORKSPACE, size_limit=limits.workspace)
        if self.settings.secret:
            needed = dict.fromkeys((*NEEDED_SECRETS, *self.settings.further_variables))
            others = [variable for variable in SECRETS if variable not in needed]
            kubernetes.use_secret_as_env(task, self.settings.secret, {variable: variable for variable in needed})
            kubernetes.use_secret_as_env(
                task, self.settings.secret, {variable: variable for variable in others}, optional=True
            )
        return task


def exit_stage(graph: Graph) -> Stage | None:
    """Return the stage that runs in any case. Raises BadConfiguration where no exit handler fits its trigger."""
    found = [stage for stage in graph.stages.values() if stage.runs_always]
    if not found:
        return None
    names = ", ".join(stage.name for stage in found)
    if len(found) > 1:
        raise BadConfiguration(f"dvc.yaml: stages {names}: Kubeflow has room for one with the trigger all_done")
    others = set(graph.stages) - {found[0].name}
    if ignored := others - set(graph.ancestors(found[0].name)):
        raise BadConfiguration(
            f"dvc.yaml: stages.{names}: under Kubeflow a stage with the trigger all_done ends the run, "
            f"but it does not read from {', '.join(sorted(ignored))}"
        )
    return found[0]


def component_name(stage: str) -> str:
    """Return a stage's name as Kubeflow writes names."""
    return re.sub(r"[^a-z0-9]+", "-", stage.lower()).strip("-")


def _plan_component(image: str, workload: str) -> Any:
    def plan(run_id: str, job_id: str, as_of: str, force: bool, dry_run: bool) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(
            image=image,
            command=["sh", "-c", PLAN_SCRIPT, "nightstill"],
            args=[PLAN, workload, run_id, job_id, as_of, force, dry_run],
        )

    return dsl.container_component(plan)


def _component(image: str, workload: str, name: str, script: str) -> Any:
    def run_stage(run_id: str, job_id: str) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(
            image=image,
            command=["sh", "-c", script, "nightstill"],
            args=[name, workload, run_id, job_id],
        )

    run_stage.__name__ = component_name(name)
    return dsl.container_component(run_stage)


def write(workload: str, folder: Path, project: Project, settings: Settings) -> Path:
    """Compile one workload into a folder. Returns the file. Raises UnknownWorkload, BadConfiguration."""
    section = project.section(workload)
    path = folder / f"nightly_{workload}.yaml"
    Pipeline(workload, section, project.graph(section), settings).write(path)
    return path


def main(arguments: list[str]) -> int:
    """Run the command line of the module's text. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="make kubeflow", description="Compile Kubeflow pipelines.")
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help="default: all of params.yaml and NIGHTSTILL_WORKLOADS",
    )
    parser.add_argument("--out", type=Path, help="folder to write to; default: .nightstill/kubeflow")
    asked = parser.parse_args(arguments)
    project = Project.here()
    try:
        settings = Settings.of(os.environ)
        for workload in asked.workloads or project.shown():
            print(write(workload, asked.out or home() / "kubeflow", project, settings))
    except (UnknownWorkload, BadConfiguration) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
