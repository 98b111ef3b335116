"""Measure texts side by side: `python -m bench.texts [--set phrasebank …]`, in the task environment.

`--data` is a folder with `banking77_train.parquet` and `banking77_test.parquet` (columns text, label),
`financial_phrasebank.parquet` (Text, Sentiment) and `amazon_reviews_20k.parquet` (reviewText, Positive), or some of
them, or folders with them. A sixth of the rows that are not tested validates. Each part of a set (a fold of PhraseBank,
else a seed) is a process of its own: a night's own stages up to the verdict, scikit-learn's TF-IDF with two linear
models, and fastText (in the environment `bench-texts`) on the same rows. What has run is kept, so that a run that was
broken off goes on. Prints Markdown tables of the test rows.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.files import write
from bench.processes import Job, program, run_each
from bench.texts.record import measured
from bench.texts.sets import SETS
from bench.texts.table import picture, tables
from tasks.core.errors import UsageError
from tasks.core.files import read_json
from tasks.core.settings import Settings

MINUTES = 60.0


def main(
    data: Annotated[Path, typer.Option(help="Folder below which the sets' files are.")],
    out: Annotated[Path | None, typer.Option(help="Folder of records. Default: below NIGHTSTILL_HOME.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help=f"Of {', '.join(SETS)}. Default: all.")] = None,
    parts: Annotated[list[int] | None, typer.Option("--part", help="Folds or seeds, from 0. Default: all.")] = None,
    python: Annotated[Path | None, typer.Option(help="fastText's Python. Default: `make bench-texts-setup`'s.")] = None,
    drawn: Annotated[Path | None, typer.Option("--picture", help="Draw here what is taken for what.")] = None,
    *,
    here: Annotated[bool, typer.Option(hidden=True, help="Measure in this process.")] = False,
) -> None:
    """Measure what is missing, then print the tables. Exits 1 if anything failed."""
    if unknown := {*(sets or ())} - {*SETS}:
        raise UsageError(f"no set: {', '.join(sorted(unknown))}; see --help")
    home = Settings().home
    out = out or home / "bench-texts"
    python = python or home / "envs" / "bench-texts" / "bin" / "python"
    wanted = [(name, part) for name in sets or SETS for part in parts or range(SETS[name].parts)]
    if over := [f"{name} has {SETS[name].parts}" for name, part in wanted if not 0 <= part < SETS[name].parts]:
        raise UsageError(f"--part: {over[0]}, counted from 0")
    if here:
        name, part = wanted[0]
        folder = home / "bench-texts" / "nights" / f"{name}-{part}"
        write(out / f"{name}-{part}.json", measured(name, part, data, folder, python if python.exists() else None))
        return
    if not python.exists():
        Console(stderr=True).print("fastText is left out: run `make bench-texts-setup` for it")
    jobs = [
        Job(
            {"set": name, "part": part},
            out / f"{name}-{part}.json",
            [f"--data={data}", f"--out={out}", f"--set={name}", f"--part={part}", f"--python={python}", "--here"],
        )
        for name, part in wanted
    ]
    failed = run_each("bench.texts", jobs, Console(stderr=True), MINUTES)
    records = [record for job in jobs if job.file.is_file() and "models" in (record := read_json(job.file))]
    print("\n\n".join(tables(records)))
    if drawn is not None and records:
        picture(records, drawn)
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    program(main)
