"""This module runs one set through the product's stages, as they run at night, in a folder of their own."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.ours.adapt import FREQUENCIES, as_of, promotions_of, table_of, windows_of
from bench.sets import BenchSet
from tasks.config.run import Run
from tasks.core.files import RUN_FILE, read_json
from tasks.core.settings import Settings
from tasks.gates.gate import Candidate
from tasks.problems.forecasting.dataset import Windows
from tasks.problems.forecasting.options import Options
from tasks.problems.forecasting.panel import SERIES, build_panel
from tasks.stages import compress, distil, refit, snapshot, teach, validate
from tasks.stages.context import Context
from tasks.stages.refit import first_choice

TABLE = "table.parquet"
SETTINGS = Path(__file__).with_name("settings.yaml")
UNUSED = {
    "title": "benchmark",
    "schedule": "0 0 * * *",
    "gates": {
        "accuracy": {"limit": 1, "naive_margin": 0, "retention": 1, "champion_margin": 0},
        "segments": {"by": [], "limit": 0},
        "size": {"max_bytes": 1},
        "latency": {"max_p50_ratio": 1, "max_p95_ratio": 1},
        "parity": {"tolerance": 1},
    },
}
"""A workload must have these fields, and these stages do not read them."""


@dataclass
class Night:
    """A night has the stages' outputs in `artifacts`, and the seconds that each stage took.

    `candidates`: the folder of those that would be judged.
    """

    windows: Windows
    artifacts: Path
    candidates: Path
    run: Run
    seconds: dict[str, float] = field(default_factory=dict)

    def about(self, kind: str, name: str) -> dict[str, Any]:
        """Return about.json of a teacher or student."""
        about: dict[str, Any] = read_json(self.artifacts / kind / name / "about.json")
        return about


def settings_of(data: BenchSet, seed: int, threads: int) -> Run:
    """Return the set's section of settings.yaml as a run of the product."""
    sections = yaml.safe_load(SETTINGS.read_text())
    section = sections["sets"][data.name]
    problem = {
        "kind": "forecasting",
        "horizon": data.horizon,
        "frequency": FREQUENCIES[data.frequency],
        "metric": data.metric,
        "promotions": list(promotions_of(data, section["problem"].get("price"))),
        "price": None,
        **section["problem"],
    }
    return Run.model_validate(
        {
            **UNUSED,
            **section,
            "problem": problem,
            "workload": data.name,
            "source": {"kind": "table", "path": TABLE},
            "as_of": as_of(data),
            "champion": 0,
            "seed": seed,
            "threads": threads,
        }
    )


def prepare(data: BenchSet, run: Run, folder: Path) -> tuple[Context, Windows]:
    """Take the snapshot of a table of the set and validate it, as for a user; the origins alone are the set's own.

    `data` is sealed: no test value can be read. Raises DataError when validation refuses the table.
    """
    options = Options.model_validate(run.problem.options)
    (folder / RUN_FILE).write_text(run.to_yaml())
    table_of(data, options).write_parquet(folder / TABLE)
    context = Context(run, Settings(project=folder), folder, folder / "pages")
    snapshot.run(context)
    validate.run(context)
    panel = build_panel(context.tables()[SERIES], run.as_of, options)
    windows = windows_of(panel, data, options)
    windows.save(context.artifacts / "features")
    return context, windows


def run_night(data: BenchSet, seed: int, threads: int, folder: Path, say: Callable[[str], None]) -> Night:
    """Prepare the sealed set, teach, distil and compress; train again with the newest rows where `refit` says so."""
    run = settings_of(data, seed, threads)
    context, windows = prepare(data, run, folder)
    night = Night(windows, context.artifacts, context.candidates, run)
    parts = ((teach, run.teachers), (distil, run.students), (compress, run.recipes), (refit, run.code.refit))
    for stage, names in parts:
        for name in names:
            begun = time.process_time()
            stage.run(context, name)
            what = f"{stage.__name__.rpartition('.')[2]}@{name}"
            night.seconds[what] = time.process_time() - begun
            say(f"{what}: {night.seconds[what]:.0f} s")
    return night


def released(night: Night) -> Candidate:
    """Return the candidate that the pipeline would choose first, before the gates."""
    names = (*night.run.recipes, *night.run.code.refit)
    return first_choice(night.candidates, names, night.run.gates.selection_tolerance)
