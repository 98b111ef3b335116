"""This measures how cost grows: a whole night and a scoring on 100 to 30,490 series of M5.

    python -m bench.scale --out DIR [--series 100 --series 1000 …]

Each size is a night of the real pipeline (`nightstill run`, an installation of its own), then `nightstill score`. One
JSON file a size with seconds, and peak memory by stage; one that exists is skipped.
"""

import os
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
import yaml
from rich.console import Console

from bench.files import write
from bench.sets import PROJECT, BenchSet, load

SIZES = (100, 1_000, 10_000, 30_490)
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""Linux counts the parent's peak as a forked process's own: a large parent would be measured, and not its child."""
SETTINGS = Path(__file__).with_name("scale.yaml")
WORKLOAD = "m5"


def main(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    series: Annotated[list[int] | None, typer.Option(help=f"Default: {', '.join(map(str, SIZES))}.")] = None,
) -> None:
    """Run nights of growing size."""
    console, data = Console(stderr=True), load("m5")
    for count in series or SIZES:
        path = out / f"scale-{count}.json"
        if path.is_file():
            console.print(f"{count} series: exists, skipped")
            continue
        record = night(data, count)
        write(path, record)
        console.print(f"{count} series: night {record['night_seconds']:.0f} s, scoring {record['score_seconds']:.2f} s")


def night(data: BenchSet, count: int) -> dict[str, Any]:
    """Run a night and a scoring of `count` series, spread evenly over the set."""
    from tasks.core.settings import Settings
    from tasks.pipeline.handover.run_store import RunStore

    chosen = np.unique(np.linspace(0, len(data.series) - 1, count).astype(np.int64))
    with TemporaryDirectory(prefix="nightstill-scale-") as name:
        folder = Path(name)
        for part in ("tasks", "serving", "requirements"):
            shutil.copytree(PROJECT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "dvc.yaml", folder)
        table(data, chosen).write_parquet(folder / "table.parquet")
        section = yaml.safe_load(SETTINGS.read_text())
        section["source"] = {"kind": "table", "path": str(folder / "table.parquet")}
        (folder / "params.yaml").write_text(yaml.safe_dump({"workloads": {WORKLOAD: section}}, sort_keys=False))
        places = {"NIGHTSTILL_PROJECT": str(folder), "NIGHTSTILL_HOME": str(folder / "home"), "PYTHONPATH": str(folder)}
        last = _last(data)
        seconds, _ = _timed(["run", WORKLOAD, "--as-of", str(last), "--run-id", "night"], places)
        manifests = RunStore(Settings(home=folder / "home", project=folder).runs()).manifests(WORKLOAD, "night")
        window = table(data, chosen, from_step=data.values.shape[1] - 56)
        window.write_parquet(folder / "window.parquet")
        scoring = ["score", WORKLOAD, "--as-of", str(last), "--table", str(folder / "window.parquet")]
        score_seconds, score_mb = _timed([*scoring, "--out", str(folder / "forecasts.parquet")], places)
        return {
            "series": len(chosen),
            "rows": pl.scan_parquet(folder / "table.parquet").select(pl.len()).collect().item(),
            "night_seconds": seconds,
            "stages": {
                name: {"seconds": done.seconds, "peak_mb": done.peak_memory_mb} for name, done in manifests.items()
            },
            "score_process_seconds": score_seconds,
            "score_process_mb": score_mb,
            "score_seconds": _score(folder, last),
        }


def table(data: BenchSet, chosen: "np.ndarray[Any, np.dtype[np.int64]]", from_step: int = 0) -> pl.DataFrame:
    """Return the product's table of some series: all steps from `from_step` on, and `horizon` more known ahead."""
    ahead = data.times[-1] + np.arange(1, data.horizon + 1) * np.timedelta64(1, "D")
    days = np.concatenate([data.times[from_step:], ahead])
    known = {name: np.concatenate([np.broadcast_to(values, data.values.shape)[chosen][:, from_step:],
                                   np.zeros((len(chosen), data.horizon), np.float32)], axis=1)
             for name, values in data.known.items()}  # fmt: skip
    units = np.where(data.observed, data.values, np.nan)[chosen][:, from_step:]
    units = np.concatenate([units, np.full((len(chosen), data.horizon), np.nan)], axis=1)
    begun = np.maximum(data.starts[chosen] - from_step, 0)
    keep = (np.arange(len(days)) >= begun[:, None]).ravel()
    frame = pl.DataFrame(
        {
            "date": pl.Series(np.tile(days, len(chosen)).astype("datetime64[us]")).cast(pl.Date),
            "series_id": np.repeat(data.series[chosen], len(days)),
            **{name: np.repeat(data.static[name][chosen], len(days)) for name in ("dept_id", "store_id")},
            "units": pl.Series(units.ravel().astype(np.float32)).fill_nan(None),
            **{name: values.ravel().astype(np.float32) for name, values in known.items()},
        }
    )
    return frame.filter(pl.Series(keep))


def _last(data: BenchSet) -> date:
    day: date = data.times[-1].astype("datetime64[D]").item()
    return day


def _timed(arguments: list[str], places: dict[str, str]) -> tuple[float, float]:
    """Return seconds and peak megabytes of the program. Raises CalledProcessError unless it released or rejected."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", LAUNCHER, sys.executable, "-m", "tasks", *arguments]
    done = subprocess.run(command, env={**os.environ, **places}, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 3):
        raise subprocess.CalledProcessError(done.returncode, done.args)
    return time.perf_counter() - begun, int(done.stdout) * 1024 / 1e6


def _score(folder: Path, day: date) -> float:
    """Return the best of five of Parquet to Parquet in a process that has its libraries and the release loaded."""
    from tasks.core.settings import Settings
    from tasks.releases.store import ReleaseStore
    from tasks.scoring.scorer import Scorer, to_parquet

    scorer = Scorer(ReleaseStore(Settings(home=folder / "home", project=folder).releases(), WORKLOAD), WORKLOAD)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        content, _ = to_parquet(scorer.stream({"series": pl.scan_parquet(folder / "window.parquet")}, day))
        (folder / "again.parquet").write_bytes(content)
        times.append(time.perf_counter() - begun)
    return min(times)


if __name__ == "__main__":
    typer.run(main)
