"""Teach, distil and fine-tune as stages: what teachers keep, and what students make of it."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.core.settings import Settings
from tasks.stages.context import Context

PROJECT = Path(__file__).parents[3]
TRAINING = {"epochs": 1, "batch_size": 32, "learning_rate": 0.01}
MODEL = {"kind": "linear-mlp", "hidden": 4, "embedding": 2, "projection": 2}
TEACHERS = {
    "big": {"model": {**MODEL, "hidden": 8}, "training": TRAINING, "keep": ["features", "weights"]},
    "plain": {"model": MODEL, "training": TRAINING},
}
STUDENTS = {
    "aligned": {
        "model": MODEL,
        "training": TRAINING,
        "alpha": 0.5,
        "start_from": "big",
        "terms": [{"kind": "hint"}, {"kind": "frequency", "weight": 0.1}],
    },
    "assisted": {
        "model": MODEL,
        "training": TRAINING,
        "alpha": 0.0,
        "assistant": {"model": {**MODEL, "hidden": 6}, "training": TRAINING},
    },
    "twin": {"model": MODEL, "training": TRAINING, "alpha": 1.0},
}


@pytest.fixture(scope="module")
def context(sales: Any, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A workspace in which both teachers have been trained."""
    from tasks.stages import teach

    root = tmp_path_factory.mktemp("night")
    section = {
        **load_workload(PROJECT / "params.yaml", "sales").model_dump(mode="json"),
        "problem": {"kind": "forecasting", **sales.options},
        "teachers": TEACHERS,
        "students": STUDENTS,
        "ensemble": "validation",
        "recipes": {"tuned": {"steps": [{"kind": "magnitude", "sparsity": 0.5, "epochs": 1}]}},
    }
    run = Run.model_validate({**section, "workload": "sales", "as_of": date(2024, 7, 14), "champion": 0})
    sales.dataset.save(root / "artifacts" / "features")
    night = Context(run, Settings(home=root / "home", project=PROJECT), root, root / "pages")
    for name in TEACHERS:
        teach.run(night, name)
    return night


def files(context: Context, kind: str, name: str) -> set[str]:
    return {path.name for path in (context.artifacts / kind / name).iterdir()}


def about(context: Context, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((context.artifacts / kind / name / "about.json").read_text())
    return found


def test_a_teacher_keeps_what_it_is_told_to(context: Context, sales: Any) -> None:
    plain = {"teacher.onnx", "soft.npy", "history.json", "about.json"}
    assert files(context, "teachers", "plain") == plain
    assert files(context, "teachers", "big") == plain | {"features.npy", "fold-0.safetensors"}
    kept = np.load(context.artifacts / "teachers" / "big" / "features.npy")
    assert kept.dtype == np.float16 and kept.shape == (len(sales.dataset.groups), 8)


@pytest.mark.parametrize(("name", "more"), [("aligned", set()), ("assisted", {"soft.npy"}), ("twin", set())])
def test_a_student_is_trained_exported_and_trained_again_to_the_same_bytes(
    context: Context, name: str, more: set[str]
) -> None:
    from tasks.stages import distil

    distil.run(context, name)
    assert (
        files(context, "students", name) == {"model.safetensors", "student.onnx", "history.json", "about.json"} | more
    )
    folder = context.artifacts / "students" / name
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    distil.run(context, name)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    assert about(context, "students", name)["alpha"] == STUDENTS[name]["alpha"]


def test_fine_tuning_follows_the_assistant_where_there_was_one(context: Context) -> None:
    """With other labels in the assistant's place, pruning ends with other weights: they are what it follows."""
    from tasks.stages import compress, distil

    for name in STUDENTS:
        distil.run(context, name)
        path = context.artifacts / "students" / name / "about.json"
        path.write_text(json.dumps({**about(context, "students", name), "valid_error": float(name != "assisted")}))
    compress.run(context, "tuned")
    first = about(context, "candidates", "tuned")
    labels = context.artifacts / "students" / "assisted" / "soft.npy"
    np.save(labels, np.load(labels) + 5)
    compress.run(context, "tuned")
    second = about(context, "candidates", "tuned")
    assert first["student"] == second["student"] == "assisted" and first["sha256"] != second["sha256"]
