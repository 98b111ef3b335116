"""Measurements as processes of their own, one after the other, so that seconds and peak memory are theirs alone."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tasks.errors import NightstillError

# Threads that wait must not spin: on a busy machine they would steal from those that work.
QUIET = {"OMP_WAIT_POLICY": "passive", "POLARS_VERBOSE": "0", "NIXTLA_ID_AS_COL": "1", "PYTHONWARNINGS": "ignore"}


def run_each(module: str, wanted: Sequence[tuple[str, Path, Sequence[str]]], console: Console) -> int:
    """Run `python -m module OPTIONS` for each (label, file, OPTIONS) without its file. Returns how many failed."""
    failed = 0
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(wanted))
        for label, file, options in wanted:
            bar.update(task, description=label)
            if file.is_file():
                console.print(f"{label}: exists, skipped")
            else:
                command = [sys.executable, "-m", module, *options]
                failed += subprocess.run(command, check=False, env={**QUIET, **os.environ}).returncode != 0
            bar.advance(task)
    return failed


def program(main: Callable[..., None]) -> None:
    """Run `main` as a command line; an error of ours is one line and its exit code."""
    try:
        typer.run(main)
    except NightstillError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
