"""Measure the workloads of rows: `python -m bench.rows --out DIR [--seed 7 …]`, in the task environment.

Each workload's night is run by each seed, up to the verdict; LightGBM and CatBoost are tuned on the same rows. Prints
a Markdown table: test errors, the median over seeds, and the released model's against the peers'.
"""

import logging
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from bench.files import write
from bench.log import say
from bench.rows.nights import WORKLOADS, Night, night_of
from bench.rows.trees import PEERS, tuned
from tasks.core.files import read_json

HEAD = (
    "| workload | error | naive | teachers | twin | student | released | LightGBM | CatBoost "
    "| against LightGBM | CatBoost | bytes | weights |\n" + "|---" * 13 + "|"
)

log = logging.getLogger(__name__)


def night_record(night: Night) -> dict[str, Any]:
    """Run a night, and return the test error of the first model of each part, and of the file to be released."""
    verdict = night.judge()
    record: dict[str, Any] = {"promoted": verdict["winner"] is not None, "reason": verdict["reason"]}
    for model in verdict["models"]:
        if model["role"] in ("naive", "teacher", "twin", "student"):
            record.setdefault(model["role"], model["error"])
        elif model["name"] == verdict["winner"]:
            record |= {key: model[key] for key in ("bytes", "parameters")} | {"released": model["error"]}
    return record


def peer_record(name: str, night: Night, trials: int) -> dict[str, Any]:
    """Tune a peer on the night's rows."""
    seed = night.context.run.seed
    found: dict[str, Any] = tuned(night.problem, night.dataset(), *PEERS[name], trials=trials, seed=seed)
    return found


def line(workload: str, metric: str, records: dict[str, list[dict[str, Any]]]) -> str:
    """Return a line of the table: medians over seeds."""
    nights = records["night"]

    def middle(key: str) -> float:
        found = [record[key] for record in nights if record.get(key) is not None]
        return median(found) if found else float("nan")

    peers = [median(record["test"] for record in records[name]) for name in PEERS]
    errors = [*(middle(key) for key in ("naive", "teacher", "twin", "student", "released")), *peers]
    ratios = [middle("released") / peer for peer in peers]
    numbers = [*(f"{value:.4g}" for value in errors), *(f"{value:.3f}" for value in ratios)]
    numbers += [f"{middle(key):,.0f}" for key in ("bytes", "parameters")]
    return "| " + " | ".join([workload, metric, *numbers]) + " |"


def main(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    workloads: Annotated[list[str] | None, typer.Option("--workload", help="Default: all.")] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Default: the workload's own.")] = None,
    trials: Annotated[int, typer.Option(help="Settings that each peer tries.")] = 12,
) -> None:
    """Measure what is missing, then print the table."""
    say()
    lines = []
    for workload in workloads or WORKLOADS:
        records: dict[str, list[dict[str, Any]]] = {name: [] for name in ("night", *PEERS)}
        wanted: list[int | None] = [*seeds] if seeds else [None]
        for seed in wanted:
            night = night_of(workload, out / "nights" / (workload if seed is None else f"{workload}-{seed}"), seed)
            for name, found in records.items():
                ours = name == "night"
                file = out / f"{workload}-{night.context.run.seed}-{name}{'' if ours else f'-{trials}'}.json"
                if not file.is_file():
                    write(file, night_record(night) if ours else peer_record(name, night, trials))
                found.append(read_json(file))
                log.info("%s %s: %s", workload, name, found[-1])
        lines.append(line(workload, night.problem.primary_metric, records))
    print("\n".join([HEAD, *lines]))


if __name__ == "__main__":
    typer.run(main)
