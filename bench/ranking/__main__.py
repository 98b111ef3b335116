"""Measure recommenders side by side: `python -m bench.ranking [--set movielens …] [--seed 0 …]`.

It runs in the task environment. Each set and seed is a process of its own: baselines, peers (in the environment
`bench-ranking`), and a night up to its released file, on the same rows, whose equal times are ordered by a hash, over
the whole catalogue, by one metric. What has run is kept, so that a run that was broken off goes on, and one with a peer
more asks that peer alone. Prints a Markdown table of each set.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.files import write
from bench.processes import Job, program, run_each
from bench.ranking.peers import PEERS
from bench.ranking.sets import SETS
from bench.ranking.table import tables
from tasks.core.errors import UsageError
from tasks.core.files import read_json
from tasks.core.settings import Settings

MINUTES = 60.0


def main(
    out: Annotated[Path | None, typer.Option(help="Folder of records. Default: below NIGHTSTILL_HOME.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help=f"Of {', '.join(SETS)}. Default: all.")] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Default: 0.")] = None,
    peers: Annotated[list[str] | None, typer.Option("--peer", help=f"Of {', '.join(PEERS)}. Default: all.")] = None,
    python: Annotated[
        Path | None, typer.Option(help="The peers' Python. Default: `make bench-ranking-setup`'s.")
    ] = None,
    *,
    here: Annotated[bool, typer.Option(hidden=True, help="Measure in this process.")] = False,
) -> None:
    """Measure what is missing, then print the tables. Exits 1 if anything failed."""
    home = Settings().home
    out = out or home / "bench-ranking"
    python = python or home / "envs" / "bench-ranking" / "bin" / "python"
    wanted = list(product(sets or SETS, seeds or [0]))
    if unknown := {*(sets or ()), *(peers or ())} - {*SETS, *PEERS}:
        raise UsageError(f"no set or peer: {', '.join(sorted(unknown))}; see --help")
    if here:
        from bench.ranking.record import measured

        name, seed = wanted[0]
        folder = home / "bench-ranking" / "nights" / f"{name}-{seed}"
        write(_file(out, name, seed), measured(name, seed, folder, dict.fromkeys(peers or PEERS, python)))
        return
    jobs = [_job(out, name, seed, peers or PEERS, python) for name, seed in wanted]
    failed = run_each("bench.ranking", jobs, Console(stderr=True), MINUTES)
    records = [read_json(job.file) for job in jobs if job.file.is_file()]
    print("\n\n".join(tables([record for record in records if "models" in record])))
    raise typer.Exit(1 if failed else 0)


def _job(out: Path, name: str, seed: int, peers: Sequence[str], python: Path) -> Job:
    """Return the job of a set and seed; it runs again with all peers of before where one of `peers` was not asked."""
    file = _file(out, name, seed)
    # One that took too long says so, and has no models: it would again.
    asked = read_json(file).get("models") if file.is_file() else None
    lacks = asked is not None and not {*peers} <= {*asked}
    those = [peer for peer in PEERS if peer in peers or peer in (asked or ())]
    options = [f"--set={name}", f"--seed={seed}", f"--out={out}", f"--python={python}"]
    return Job({"set": name, "seed": seed}, file, [*options, *(f"--peer={peer}" for peer in those), "--here"], lacks)


def _file(out: Path, name: str, seed: int) -> Path:
    return out / f"{name}-{seed}.json"


if __name__ == "__main__":
    program(main)
