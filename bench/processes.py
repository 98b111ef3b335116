"""Measurements as processes of their own, one after the other, so that seconds and peak memory are theirs alone."""

import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.files import write
from tasks.errors import NightstillError

# Threads that wait must not spin: on a busy machine they would steal from those that work.
QUIET = {"OMP_WAIT_POLICY": "passive", "POLARS_VERBOSE": "0", "NIXTLA_ID_AS_COL": "1", "PYTHONWARNINGS": "ignore"}


@dataclass(frozen=True)
class Job:
    """`python -m module *options`, which writes `file`; `competitor`: set, peer and seed, for the record of a stop."""

    competitor: Mapping[str, str | int]
    file: Path
    options: Sequence[str]


def run_each(module: str, jobs: Sequence[Job], console: Console, limit_minutes: float) -> int:
    """Run each job without its file. Returns how many failed.

    One that takes more of the processor than the limit is stopped, and its record says so: slowness is a result too.
    """
    failed = 0
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(jobs))
        for job in jobs:
            label = " ".join(map(str, job.competitor.values()))
            bar.update(task, description=label)
            if job.file.is_file():
                console.print(f"{label}: exists, skipped")
            else:
                command = [sys.executable, "-m", module, *job.options]
                process = subprocess.Popen(command, env={**QUIET, **os.environ})
                seconds = math.ceil(60 * limit_minutes)
                resource.prlimit(process.pid, resource.RLIMIT_CPU, (seconds, seconds + 60))
                code = process.wait()
                if code == -signal.SIGXCPU:
                    console.print(f"{label}: stopped after {limit_minutes:g} min")
                    write(job.file, {**job.competitor, "stopped_after_minutes": limit_minutes})
                elif code:
                    failed += 1
            bar.advance(task)
    return failed


def program(main: Callable[..., None]) -> None:
    """Run `main` as a command line; an error of ours is one line and its exit code."""
    try:
        typer.run(main)
    except NightstillError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
