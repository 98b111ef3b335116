"""Measure peers: `python -m bench.peers --set m5 --peer lightgbm --seed 0 --out DIR`, in the environment `bench`.

Every option but --out may be repeated. Each combination is a process of its own, one after the other, so that seconds
and peak memory are its own; one whose file exists already is skipped. Settings are chosen at seed 0, if that was
measured, for the other seeds too: those show what the training's chance is worth, not the tuning's.
"""

import json
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.peers import PEERS
from bench.peers.base import Unsuitable
from bench.processes import Job, program, run_each
from bench.sets import SETS
from tasks.core.errors import UsageError


def main(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    sets: Annotated[list[str] | None, typer.Option("--set", help=f"Of {', '.join(SETS)}. Default: all.")] = None,
    peers: Annotated[list[str] | None, typer.Option("--peer", help=f"Of {', '.join(PEERS)}. Default: all.")] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Default: 0.")] = None,
    limit: Annotated[float, typer.Option(help="Minutes of the processor after which one of them is stopped.")] = 20,
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
    runs = [
        Job(
            {"set": name, "peer": peer, "seed": seed},
            _file(out, name, peer, seed),
            ["--set", name, "--peer", peer, "--seed", str(seed), "--out", str(out), "--here"],
        )
        for name, peer, seed in wanted
    ]
    raise typer.Exit(1 if run_each("bench.peers", runs, console, limit) else 0)


def _measure(name: str, peer: str, seed: int, out: Path) -> None:
    from bench.files import write
    from bench.peers.record import measure

    console = Console(stderr=True)
    tuned = _tuned(_file(out, name, peer, 0)) if seed else None
    try:
        record = measure(name, peer, seed, tuned)
    except Unsuitable as error:
        console.print(f"{name} {peer}: left out: {error}", soft_wrap=True)
        return
    write(_file(out, name, peer, seed), record)
    errors = ", ".join(f"{error} {value:.4g}" for error, value in record["errors"].items())
    seconds = f"trained in {record['train_seconds']:.0f} s, forecast in {record['predict_seconds']:.1f} s"
    console.print(f"{name} {peer} {seed}: {errors}; {seconds}, {record['peak_memory_mb']:.0f} MB", soft_wrap=True)


def _tuned(file: Path) -> dict[str, Any] | None:
    """Return the record in `file`, if it is one of a measurement."""
    record: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return record if "settings" in record else None


def _file(out: Path, name: str, peer: str, seed: int) -> Path:
    return out / f"{name}-{peer}-{seed}.json"


if __name__ == "__main__":
    program(main)
