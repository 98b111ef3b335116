"""Measure peers: `python -m bench.peers --set m5 --peer lightgbm --seed 0 --out DIR`, in the environment `bench`.

Every option but --out may be repeated. Each combination is a process of its own, one after the other, so that seconds
and peak memory are its own; one whose file exists already is skipped.
"""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.peers import PEERS
from bench.peers.base import Unsuitable
from bench.sets import SETS
from tasks.errors import NightstillError, UsageError

# Threads that wait must not spin: on a busy machine they would steal from those that work.
QUIET = {"OMP_WAIT_POLICY": "passive", "POLARS_VERBOSE": "0", "NIXTLA_ID_AS_COL": "1", "PYTHONWARNINGS": "ignore"}


def main(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    sets: Annotated[list[str] | None, typer.Option("--set", help=f"Of {', '.join(SETS)}. Default: all.")] = None,
    peers: Annotated[list[str] | None, typer.Option("--peer", help=f"Of {', '.join(PEERS)}. Default: all.")] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Default: 0.")] = None,
    *,
    here: Annotated[bool, typer.Option(hidden=True, help="Measure in this process.")] = False,
) -> None:
    """Run peers on sets, and write one JSON file for each combination. Exits 1 if any of them failed."""
    wanted = list(product(sets or SETS, peers or PEERS, seeds or [0]))
    console = Console(stderr=True)
    if unknown := ({name for name, _, _ in wanted} - {*SETS}) | ({peer for _, peer, _ in wanted} - {*PEERS}):
        raise UsageError(f"no set or peer: {', '.join(sorted(unknown))}; see --help")
    if here:
        _measure(*wanted[0], out)
        return
    failed = 0
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(wanted))
        for name, peer, seed in wanted:
            bar.update(task, description=f"{name} {peer} {seed}")
            if _file(out, name, peer, seed).is_file():
                console.print(f"{name} {peer} {seed}: exists, skipped")
            else:
                command = ["--set", name, "--peer", peer, "--seed", str(seed), "--out", str(out), "--here"]
                environment = {**QUIET, **os.environ}
                ended = subprocess.run([sys.executable, "-m", "bench.peers", *command], check=False, env=environment)
                failed += ended.returncode != 0
            bar.advance(task)
    raise typer.Exit(1 if failed else 0)


def _measure(name: str, peer: str, seed: int, out: Path) -> None:
    from bench.files import write
    from bench.peers.record import measure

    console = Console(stderr=True)
    try:
        record = measure(name, peer, seed)
    except Unsuitable as error:
        console.print(f"{name} {peer}: left out: {error}", soft_wrap=True)
        return
    write(_file(out, name, peer, seed), record)
    errors = ", ".join(f"{error} {value:.4g}" for error, value in record["errors"].items())
    seconds = f"trained in {record['train_seconds']:.0f} s, forecast in {record['predict_seconds']:.1f} s"
    console.print(f"{name} {peer} {seed}: {errors}; {seconds}, {record['peak_memory_mb']:.0f} MB", soft_wrap=True)


def _file(out: Path, name: str, peer: str, seed: int) -> Path:
    return out / f"{name}-{peer}-{seed}.json"


if __name__ == "__main__":
    try:
        typer.run(main)
    except NightstillError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
