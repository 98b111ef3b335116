"""Measure students and released files by seeds, on one night's teachers: `python -m bench.ranking.students NIGHT`.

It runs in the task environment. NIGHT is a folder with the run.yaml and artifacts of a night up to its teachers: the
project's own after `make repro WORKLOAD=recommendation AS_OF=2026-10-07`. For each seed the stages distil and compress
are run anew in OUT, and the test rows are scored.
"""

import logging
from pathlib import Path
from typing import Annotated

import typer

from tasks.config.run import parse_run
from tasks.core.files import RUN_FILE
from tasks.core.settings import Settings
from tasks.gates.evaluation_set import EvaluationSet
from tasks.problems import get_problem
from tasks.stages import compress, distil
from tasks.stages.context import Context

SEEDS = (7, 1, 2)


def measured(night: Path, out: Path, seed: int) -> list[str]:
    """Return a line of the table for each student and recipe of a seed."""
    run = parse_run((night / RUN_FILE).read_text(), str(night / RUN_FILE)).model_copy(update={"seed": seed})
    context = Context(run, Settings(), out / str(seed), out / str(seed) / "pages")
    for part in ("features", "teachers"):
        place = context.artifacts / part
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)  # a link to another night's
        place.symlink_to((night / "artifacts" / part).resolve())
    problem = get_problem(run.problem)
    evaluation = EvaluationSet(problem, problem.load(context.artifacts / "features"))
    files = {}
    for stage, names, folder, file in (
        (distil, run.students, "students", "student.onnx"),
        (compress, run.recipes, "candidates", "model.onnx"),
    ):
        for name in names:
            stage.run(context, name)
            files[name] = (context.artifacts / folder / name / file).read_bytes()
    lines = []
    for name, data in files.items():
        score = evaluation.score(evaluation.run(data))
        beside = f"{score.metrics['hr_10']:.4f} | {score.metrics['coverage']:.3f}"
        lines.append(f"| {seed} | {name} | {1 - score.error:.4f} | {beside} | {len(data):,} |")
    return lines


def main(
    night: Annotated[Path, typer.Argument(help="Folder with run.yaml and artifacts.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path(".nightstill/bench-ranking"),
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Of students and fine-tuning.")] = None,
) -> None:
    """Print a Markdown table."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    print("| seed | model | NDCG@10 | HR@10 | coverage | bytes |\n" + "|---" * 6 + "|")
    for seed in seeds or SEEDS:
        print("\n".join(measured(night, out, seed)), flush=True)


if __name__ == "__main__":
    typer.run(main)
