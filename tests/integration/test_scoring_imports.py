"""Scoring starts fast: neither torch nor MLflow is loaded for it."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("problem", ["forecasting", "tabular"])
def test_scoring_does_without_torch(problem: str) -> None:
    code = f"""
import sys
import tasks.releases.scoring, tasks.releases.store, tasks.problems.{problem}.problem
assert not {{"torch", "mlflow"}} & set(sys.modules), "a heavy library is imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)
