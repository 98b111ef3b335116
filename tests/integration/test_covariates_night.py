"""A night on a table with every sort of column, stage by stage: what is released scores what the gates measured."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.compression.runtime import run_onnx
from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.core.errors import DataError
from tasks.core.files import read_json
from tasks.core.settings import Settings
from tasks.problems import get_problem
from tasks.releases.store import ReleaseStore
from tasks.scoring.scorer import Scorer
from tasks.stages import snapshot, validate
from tasks.stages.context import Context
from tests.in_process import judge
from tests.weather import AHEAD, AS_OF, CHECKS, PROBLEM, weather_table

PROJECT = Path(__file__).parents[2]
TRAINING = {"epochs": 2, "batch_size": 32, "learning_rate": 0.01}


def night(root: Path, table: pl.DataFrame) -> Context:
    """A workspace just before the night, whose source is the table."""
    section = load_workload(PROJECT / "params.yaml", "sales").model_dump(mode="json")
    student = {"model": {"kind": "linear-mlp", "hidden": 8, "embedding": 2}, "training": TRAINING}
    gates = section["gates"]
    gates["accuracy"] |= {"limit": 100, "naive_margin": 0, "retention": 100, "max_gain": 1, "resamples": 200}
    gates["segments"] |= {"by": ["region"], "limit": 100, "min_rows": 1}
    gates["latency"] |= {"rounds": 10, "max_p50_ratio": 1e6, "max_p95_ratio": 1e6}
    gates["parity"] |= {"tolerance": 0.05}
    gates["robustness"] = [{"kind": kind, "level": 0.1, "limit": 100} for kind in ("noise", "missing", "shift")]
    section |= {
        "source": {"kind": "table", "path": "weather.parquet"},
        "problem": PROBLEM,
        "checks": CHECKS,
        "teachers": {
            "lightgbm": {"model": {"kind": "lightgbm", "trees": 10, "leaves": 8, "min_leaf": 5}},
            "mlp": {"model": {"kind": "mlp", "hidden": 16, "blocks": 1, "projection": 2}, "training": TRAINING},
        },
        "students": {"student": {**student, "alpha": 0.5}, "twin": {**student, "alpha": 1.0}},
        "recipes": {"fp32": {}, "chain": {"steps": [{"kind": "neurons", "keep": 0.5}, {"kind": "int8-weights"}]}},
    }
    table.write_parquet(root / "weather.parquet")
    run = Run(**section, workload="weather", as_of=AS_OF, champion=0)
    return Context(run, Settings(home=root / "home", project=root), root, root / "pages")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A night up to its verdict."""
    context = night(tmp_path_factory.mktemp("night"), weather_table())
    judge(context)
    return context


def test_every_gate_finds_its_numbers(judged: Context) -> None:
    verdict = read_json(judged.artifacts / "evaluation" / "verdict.json")
    assert {model["role"] for model in verdict["models"]} >= {"candidate", "teacher", "naive"}
    refused = [gate for gate in verdict["gates"] if not gate["passed"] and "accuracy" not in gate["gate"]]
    assert refused == []
    assert np.isfinite([model["error"] for model in verdict["models"]]).all()


def test_drift_looks_at_each_column(judged: Context) -> None:
    profile: dict[str, Any] = read_json(judged.artifacts / "evaluation" / "profile.json")["inputs"]
    assert profile.keys() >= {"temperature", "offer", "price", "visitors", "sky", "day_type", "floor_area"}
    assert 0.1 < profile["offer"]["missing"] < 0.3 and set(profile["sky"]["shares"]) == {"clear", "rain", "snow"}


@pytest.mark.parametrize("recipe", ["fp32", "chain"])
def test_what_is_released_scores_raw_rows(judged: Context, recipe: str) -> None:
    model = (judged.artifacts / "candidates" / recipe / "model.onnx").read_bytes()
    releases = ReleaseStore(judged.settings.releases(), recipe)
    files = {
        "model.onnx": model,
        "contract.json": (judged.artifacts / "features" / "contract.json").read_bytes(),
        "run.yaml": judged.run.to_yaml().encode(),
    }
    releases.publish(files, expected=0, run_id="run", as_of=AS_OF, reason="a test")
    scorer, table = Scorer(releases, recipe), weather_table()
    scores = scorer.score({"series": table}, AS_OF)
    assert scores.height == 5 * AHEAD and scores["p50"].is_finite().all()
    # The same rows as features has them: the last origin of all is the one that is scored.
    problem = get_problem(judged.run.problem)
    dataset = problem.load(judged.artifacts / "features")
    dataset.origins += AHEAD  # type: ignore[attr-defined]  # from the test's origin to as_of
    expected = run_onnx(model, dataset.inputs(dataset.splits["test"]))
    found = scores.select("p10", "p50", "p90", "mean").to_numpy().reshape(expected.shape)
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)
    # What is missing is not zero, and what the past's weather was matters to who is asked.
    zero = scorer.score({"series": table.with_columns(pl.col("offer").fill_null(0.0))}, AS_OF)
    assert not np.allclose(zero["p50"].to_numpy(), scores["p50"].to_numpy())
    with pytest.raises(DataError, match=r"price: > 0: broken by 1 rows, e\.g\. row 0: .*price=-1\.0"):
        scorer.score(
            {"series": table.with_columns(price=pl.when(pl.int_range(pl.len()) == 0).then(-1.0).otherwise("price"))},
            AS_OF,
        )


def test_bad_rows_stop_at_validation(tmp_path: Path) -> None:
    first = pl.int_range(pl.len()) == 0
    context = night(tmp_path, weather_table().with_columns(price=pl.when(first).then(0.0).otherwise("price")))
    snapshot.run(context)
    message = r"price: > 0: observed 1 of 790 rows, e\.g\. date=2026-01-01, series_id=shop0, price=0.0"
    with pytest.raises(DataError, match=message):
        validate.run(context)
