"""Measure the product: `python -m bench.ours --set m5 --seed 0 --out DIR`, in the task environment.

Every option but --out may be repeated. Each combination of set and seed is a process of its own, one after the other;
one whose files exist already is skipped.
"""

from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.files import write
from bench.log import say
from bench.processes import Job, program, run_each
from bench.sets import SETS
from tasks.core.errors import UsageError


def main(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    sets: Annotated[list[str] | None, typer.Option("--set", help=f"Of {', '.join(SETS)}. Default: all.")] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Default: 0.")] = None,
    threads: Annotated[int, typer.Option(help="Of each training and of ONNX Runtime.")] = 2,
    limit: Annotated[float, typer.Option(help="Minutes of the processor after which a set's run is stopped.")] = 60,
    *,
    here: Annotated[bool, typer.Option(hidden=True, help="Measure in this process.")] = False,
) -> None:
    """Run the product on sets, and write one JSON file for each model. Exits 1 if any set failed."""
    console = Console(stderr=True)
    if unknown := {*(sets or ())} - {*SETS}:
        raise UsageError(f"no set: {', '.join(sorted(unknown))}; see --help")
    wanted = list(product(sets or SETS, seeds or [0]))
    if here:
        _measure(*wanted[0], threads, out, console)
        return
    runs = [
        Job(
            {"set": name, "peer": "released", "seed": seed},
            out / f"{name}-released-{seed}.json",
            ["--set", name, "--seed", str(seed), "--out", str(out), "--threads", str(threads), "--here"],
        )
        for name, seed in wanted
    ]
    raise typer.Exit(1 if run_each("bench.ours", runs, console, limit) else 0)


def _measure(name: str, seed: int, threads: int, out: Path, console: Console) -> None:
    from bench.ours.record import records

    say()
    for record in records(name, seed, threads, out / "models", lambda text: console.print(f"{name} {seed}: {text}")):
        write(out / f"{name}-{record['peer']}-{seed}.json", record)
        errors = ", ".join(f"{error} {value:.4g}" for error, value in record["errors"].items())
        console.print(
            f"{name} {record['peer']} {seed}: {errors}; {record['parameters']} weights, {record['bytes']} bytes"
        )


if __name__ == "__main__":
    program(main)
