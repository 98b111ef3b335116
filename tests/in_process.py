"""A night's stages one after the other in the test's own process, which imports their libraries once."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.config.run import Run
from tasks.core.files import read_json
from tasks.core.settings import Settings
from tasks.stages import (
    compress,
    distil,
    evaluate,
    features,
    keep,
    label,
    promote,
    refit,
    report,
    snapshot,
    teach,
    validate,
)
from tasks.stages.context import Context
from tests.conftest import PROJECT


def make(context: Context) -> None:
    """Run a workload's stages up to the candidates that are judged."""
    for stage in (snapshot, validate, features):
        stage.run(context)
    run = context.run
    for name in run.code.kept:
        keep.run(context, name)
        label.run(context, name)
    for stage, names in ((teach, run.code.taught), (distil, run.students), (compress, run.recipes)):
        for name in names:
            stage.run(context, name)
    for name in run.code.refit:
        refit.run(context, name)


def judge(context: Context) -> dict[str, Any]:
    """Run a workload's stages up to evaluate, and return the verdict."""
    make(context)
    evaluate.run(context)
    verdict: dict[str, Any] = read_json(context.artifacts / "evaluation" / "verdict.json")
    return verdict


def whole_night(
    root: Path,
    settings: Settings,
    section: dict[str, Any],
    workload: str,
    as_of: date,
    patch: pytest.MonkeyPatch,
    run_id: str = "r1",
    champion: int = 0,
) -> dict[str, Any]:
    """Run all stages of a workload in the folder `root`, compared with ledger entry `champion`; return the verdict."""
    run = Run(**section, workload=workload, as_of=as_of, champion=champion)
    (root / "run.yaml").write_text(run.to_yaml())
    context = Context(run, settings, root, root / "pages", run_id=run_id)
    patch.chdir(root)  # where a stage works
    verdict = judge(context)
    promote.run(context)
    report.run(context)
    return verdict


def night_of(
    root: Path, workload: str, section: dict[str, Any], as_of: date, **tables: pl.DataFrame
) -> tuple[Path, Settings, dict[str, Any]]:
    """Run a night in an empty folder, over `<name>.parquet` of each table; return the folder, settings and verdict."""
    shutil.copy(PROJECT / "dvc.yaml", root)
    for name, table in tables.items():
        table.write_parquet(root / f"{name}.parquet")
    settings = Settings(home=root / "home", project=root)
    with pytest.MonkeyPatch.context() as patch:
        verdict = whole_night(root, settings, section, workload, as_of, patch)
    return root, settings, verdict
