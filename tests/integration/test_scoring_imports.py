"""What starts often starts fast: neither torch nor MLflow is loaded for scoring, nor polars for a page of nights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("problem", ["forecasting", "tabular"])
def test_scoring_does_without_torch(problem: str) -> None:
    code = f"""
import sys
import tasks.scoring.scorer, tasks.releases.store, tasks.problems.{problem}.problem
assert not {{"torch", "mlflow"}} & set(sys.modules), "a heavy library is imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)


def test_nights_are_shown_without_libraries_of_numbers() -> None:
    code = """
import sys
import tasks.cli.main, tasks.cli.after, tasks.nights.page, tasks.nights.shadow
assert not {"numpy", "polars", "scipy", "torch", "mlflow"} & set(sys.modules), "a heavy library is imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)


def test_onnx_runtime_reports_nothing_to_its_makers(tmp_path: Path) -> None:
    """It keeps an identifier of the machine and what it is about to send below the home folder."""
    unsaid = {"ORT_DISABLE_TELEMETRY", "CI", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in unsaid}
    command = [sys.executable, "-c", "import tasks.compression.runtime"]
    subprocess.run(command, check=True, cwd=PROJECT, env={**environment, "HOME": str(tmp_path)})
    assert not list(tmp_path.iterdir())
