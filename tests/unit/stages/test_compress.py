"""The compress stage on a small student: fixed steps and a search, with and without an answer."""

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.core.errors import UsageError
from tasks.core.files import write_json
from tasks.core.settings import Settings
from tasks.stages.context import Context

PROJECT = Path(__file__).parents[3]
SEARCH = {
    "limits": {"retention": 1.5},
    "trials": 4,
    "space": [
        {"kind": "neurons", "keep": [0.25, 1.0], "epochs": 0},
        {"kind": "numbers", "choices": ["none", "fp16"]},
    ],
}
RECIPES = {
    "fixed": {"steps": [{"kind": "fp16"}]},
    "smallest": {"search": SEARCH},
    "impossible": {"search": {**SEARCH, "limits": {"retention": 1.5, "bytes": 100}}},
}


@pytest.fixture
def night(sales: Any, tmp_path: Path) -> Any:
    """Makes the context of a workspace in which a student with random weights has been trained, so to say."""
    from tasks.core.config import Spec
    from tasks.distillation.trainer import set_up
    from tasks.problems.blocks.weights import save_weights
    from tasks.problems.models import build_model

    model = {"kind": "linear-mlp", "hidden": 16, "embedding": 2}
    section = {
        **load_workload(PROJECT / "params.yaml", "sales").model_dump(mode="json"),
        "problem": {"kind": "forecasting", **sales.options},
        "recipes": RECIPES,
    }
    training = section["students"]["twin"]["training"]
    section["students"] = {"twin": {"model": model, "training": training, "alpha": 1.0}}
    run = Run.model_validate({**section, "workload": "sales", "as_of": date(2024, 7, 14), "champion": 0})
    set_up(7, 1)
    weights = save_weights(build_model(Spec.model_validate(model), sales.dataset.contract))

    def make(name: str) -> Context:
        root = tmp_path / name
        folder = root / "artifacts" / "students" / "twin"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(weights)
        write_json(folder / "about.json", {"valid_error": 1.0})
        sales.dataset.save(root / "artifacts" / "features")
        settings = Settings(home=tmp_path / "home", project=PROJECT)
        return Context(run, settings, root, root / "pages", checkpoints=str(root / "checkpoints"))

    return make


def compressed(context: Context, recipe: str) -> dict[str, Any]:
    """about.json after the stage."""
    from tasks.stages import compress

    compress.run(context, recipe)
    about: dict[str, Any] = json.loads((context.artifacts / "candidates" / recipe / "about.json").read_text())
    return about


def test_fixed_steps(night: Any) -> None:
    context = night("a")
    about = compressed(context, "fixed")
    model = (context.artifacts / "candidates" / "fixed" / "model.onnx").read_bytes()
    assert (about["steps"], about["sha256"]) == (["fp16"], hashlib.sha256(model).hexdigest())
    times = json.loads((context.pages / "compress@fixed.latency.json").read_text())["steps"]
    assert [row["step"] for row in times] == ["student", "fp16"] and "p50_us" not in str(about)
    assert "search" not in about and not (context.artifacts / "candidates" / "fixed" / "trials.json").exists()


def test_a_search_writes_a_candidate_like_any_other(sales: Any, night: Any) -> None:
    from tasks.compression.runtime import run_onnx

    context, again = night("a"), night("b")
    about = compressed(context, "smallest")
    folder = context.artifacts / "candidates" / "smallest"
    model = (folder / "model.onnx").read_bytes()
    assert about["feasible"] is True and about["student"] == "twin" and about["bytes"] == len(model)
    assert about["sha256"] == hashlib.sha256(model).hexdigest()
    rows = sales.dataset.splits["valid"]
    output = run_onnx(model, sales.dataset.inputs(rows))
    assert about["valid_error"] == pytest.approx(sales.problem().score(output, sales.dataset.target(rows)).error)
    trials = json.loads((folder / "trials.json").read_text())
    chosen = next(trial for trial in trials["trials"] if trial["number"] == trials["chosen"])
    assert (chosen["bytes"], chosen["error"]) == (about["bytes"], pytest.approx(about["valid_error"]))
    assert chosen["steps"] == about["search"]["steps"] and about["steps"] == [step["kind"] for step in chosen["steps"]]
    assert len(list(Path(context.checkpoints).glob("trial-*.json"))) == 4
    compressed(again, "smallest")
    for name in ("about.json", "trials.json", "model.onnx"):
        assert (again.artifacts / "candidates" / "smallest" / name).read_bytes() == (folder / name).read_bytes()


def test_times_are_on_the_page_and_nowhere_else(night: Any) -> None:
    context = night("a")
    about = compressed(context, "smallest")
    times = json.loads((context.pages / "compress@smallest.search.json").read_text())
    assert [row["number"] for row in times["trials"]] == [0, 1, 2, 3] and times["chosen"]["ratio_p50"] > 0
    trials = (context.artifacts / "candidates" / "smallest" / "trials.json").read_text()
    for word in ("latency", "ratio", "seconds", "_us"):
        assert word not in json.dumps(about) and word not in trials


def test_a_search_without_an_answer_leaves_the_reason_and_no_model(night: Any) -> None:
    from tasks.stages.evaluate import _candidate

    context = night("a")
    about = compressed(context, "impossible")
    folder = context.artifacts / "candidates" / "impossible"
    assert about["feasible"] is False and "bytes (limit 100, nearest " in about["reason"]
    assert sorted(path.name for path in folder.iterdir()) == ["about.json", "trials.json"]
    summary = json.loads((context.pages / "compress@impossible.summary.json").read_text())
    assert summary == {"student": "twin", "reason": about["reason"]}
    candidate = _candidate(folder, "impossible")
    assert candidate.model is None and candidate.about["reason"] == about["reason"]


def test_an_unknown_recipe_is_wrong_usage(night: Any) -> None:
    with pytest.raises(UsageError, match="no recipe 'none'; there are: fixed, smallest, impossible"):
        compressed(night("a"), "none")
