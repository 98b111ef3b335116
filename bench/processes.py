"""Measurements run as processes of their own, one after the other, so that seconds and peak memory are theirs alone."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.files import write
from tasks.core.errors import NightstillError

# Threads that wait must not spin: on a busy machine they would steal from those that work.
QUIET = {"OMP_WAIT_POLICY": "passive", "POLARS_VERBOSE": "0", "NIXTLA_ID_AS_COL": "1", "PYTHONWARNINGS": "ignore"}
CHECK_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """A job is `python -m module *options`, which writes `file`; `competitor`: set, peer and seed, for stops.

    `again`: its file lacks something, so that it runs although there is one.
    """

    competitor: Mapping[str, str | int]
    file: Path
    options: Sequence[str]
    again: bool = False


def run_each(module: str, jobs: Sequence[Job], console: Console, limit_minutes: float) -> int:
    """Run each job without its file, or that is to run again. Returns how many failed.

    One that takes more of the processor than the limit is stopped, and its record notes it: slowness is a result too.
    """
    failed = 0
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(jobs))
        for job in jobs:
            label = " ".join(map(str, job.competitor.values()))
            bar.update(task, description=label)
            if job.file.is_file() and not job.again:
                console.print(f"{label}: exists, skipped")
            else:
                command = [sys.executable, "-m", module, *job.options]
                process = subprocess.Popen(command, env={**QUIET, **os.environ})
                if not _ended_in_time(process, 60 * limit_minutes):
                    console.print(f"{label}: stopped after {limit_minutes:g} min")
                    write(job.file, {**job.competitor, "stopped_after_minutes": limit_minutes})
                elif process.returncode:
                    failed += 1
            bar.advance(task)
    return failed


def _ended_in_time(process: subprocess.Popen[bytes], limit: float) -> bool:
    """Wait for the process; kill it once it has used more seconds of the processor than the limit.

    The kernel's own limit (RLIMIT_CPU) makes a process's clock as coarse as its ticks: short calls would take no time.
    """
    clock = ~process.pid << 3 | 2  # clock_getcpuclockid(3), which Python lacks for processes
    while True:
        try:
            process.wait(CHECK_SECONDS)
            return True
        except subprocess.TimeoutExpired:
            if time.clock_gettime(clock) > limit:
                process.kill()
                process.wait()
                return False


def program(main: Callable[..., None]) -> None:
    """Run `main` as a command line; an error of ours is one line and its exit code."""
    try:
        typer.run(main)
    except NightstillError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
