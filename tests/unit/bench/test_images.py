"""The bench of images: what a night's record and its tables tell, and trainings that were broken off."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bench.images import record
from bench.images.__main__ import section_of
from bench.images.record import differences
from bench.images.table import tables
from bench.rows.nights import Night, night_of_section
from tasks.core.errors import UsageError
from tasks.core.files import write_json
from tasks.distillation import trainer
from tasks.distillation.parts import check_students
from tasks.stages import compress
from tests.unit.problems.vision.shapes import png

CLASSES = 10


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table as the benchmark's: numbers for labels, and images whose brightness tells them."""
    rng = np.random.default_rng(1)
    labels = [number % CLASSES for number in range(240)]
    images = [png((rng.integers(0, 24, (32, 32, 3)) + 24 * label).clip(0, 255).astype(np.uint8)) for label in labels]
    path = tmp_path_factory.mktemp("cifar") / "train.parquet"
    pl.DataFrame({"label": labels, "jpg": images}).write_parquet(path)
    return path


def small(cifar: Path, folder: Path, epochs: int = 1, without: Collection[str] = ()) -> Night:
    """The night of the settings with narrow networks, and classes as this table has them; `without` some teachers."""
    section = section_of("cifar10", cifar, None, epochs, 7, folder)
    section["teachers"] = {name: model for name, model in section["teachers"].items() if name not in without}
    section["problem"]["classes"] = [str(label) for label in range(CLASSES)]
    section["problem"] |= {"valid_share": 0.2, "test_share": 0.2}
    for part in ("teachers", "students"):
        for model in section[part].values():
            model["model"]["widths"] = [4, 4] if part == "students" else [8, 8]
    (folder / "validate.done").touch()  # by other tests, and it takes seconds
    return night_of_section("cifar10", section, folder)


def test_a_record_tells_of_each_file_what_it_gets_wrong_and_what_made_it(
    cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (compress, record):  # times are told, and how exactly is tested elsewhere
        monkeypatch.setattr(module, "ROUNDS", 2)
    night = small(cifar, tmp_path)
    write_json(night.context.artifacts / "evaluation" / "verdict.json", {"verdict": "promote", "winner": "int8-static"})
    (tmp_path / "evaluate.done").write_text("60.0")
    found = {"set": "cifar10", "images": None, "epochs": 1, **record.measured(night)}
    artifacts = night.context.artifacts
    assert [*found["models"]] == [
        *("teachers", "teacher wide", "teacher second", "student student", "student twin"),
        *("candidate fp32", "candidate int8-static", "candidate int8-weights"),
    ]
    assert found["models"]["candidate int8-static"]["bytes"] == len(
        (artifacts / "candidates" / "int8-static" / "model.onnx").read_bytes()
    )
    together, *members = (found["models"][name] for name in ("teachers", "teacher wide", "teacher second"))
    assert together["bytes"] == sum(member["bytes"] for member in members)
    assert together["log_loss"] < max(member["log_loss"] for member in members), "of the mean of what they say"
    assert sum(found["rows"].values()) == 240
    assert all(line["p50_us"]["64"] > line["p50_us"]["1"] > 0 for line in found["models"].values())
    steps = found["steps"]["int8-static"]
    assert [step["step"] for step in steps][1:] == ["int8-static"] and steps[0]["bytes"] > steps[1]["bytes"]
    assert found["seconds"].keys() >= {"teach@wide", "distil@student", "distil@twin", "evaluate"}
    models, gaps, compressed, told = tables(found)
    assert len(models.splitlines()) == 2 + 8 and len(gaps.splitlines()) == 2 + 14
    assert f"| {steps[1]['bytes']:,} |" in compressed and f"| int8-static | {found['compressed']} |" in compressed
    assert "1 epochs, seed 7: promote int8-static." in told and ", evaluate 1.0," in told and "; in all 1." in told


def test_what_one_model_gets_wrong_more_often_is_paired_by_row() -> None:
    wrong = {
        "teacher wide": np.array([True, False, False, False]),
        "student twin": np.array([True, True, False, False]),
        "candidate fp32": np.array([False, True, True, True]),
    }
    found = {(gap["model"], gap["against"]): gap for gap in differences(wrong)}
    assert len(found) == 4
    gap = found["candidate fp32", "teacher wide"]
    assert gap["difference"] == pytest.approx(0.5)
    assert gap["standard_error"] == pytest.approx(0.5), "of -1, 1, 1, 1: a deviation of 1 over the root of 4"
    assert found["candidate fp32", "student twin"]["difference"] == pytest.approx(0.25)


def test_a_training_that_was_broken_off_goes_on_after_its_last_epoch(
    cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Exception):
        pass

    def until(epoch: int) -> Any:
        def predict(*args: Any, **options: Any) -> Any:
            done.append(1)
            if len(done) > epoch:
                raise Broken
            return whole(*args, **options)

        return predict

    done: list[int] = []
    whole = trainer.predict
    broken, night = (small(cifar, tmp_path / name, 3, without=["second"]) for name in "ab")
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "predict", until(2))
        with pytest.raises(Broken):
            broken.teach()
    assert not (tmp_path / "a" / "teach@wide.done").exists()
    with caplog.at_level("INFO"):
        broken.teach()
    epochs = [record.message for record in caplog.records if record.message.startswith("wide fold 1/1 epoch")]
    assert len(epochs) == 1 and "epoch 3" in epochs[0]
    assert not [*(tmp_path / "a" / "checkpoints").rglob("*.safetensors")], "nothing is kept of what has ended"
    night.teach()
    place = Path("artifacts") / "teachers" / "wide" / "teacher.onnx"
    assert (tmp_path / "a" / place).read_bytes() == (tmp_path / "b" / place).read_bytes()


def test_a_set_without_settings_is_refused(cifar: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--set cifar100: .*settings\.yaml has no such workload; there are: cifar10"):
        section_of("cifar100", cifar, None, None, 7, tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "resnet", "resnet-short"])
def test_the_settings_of_each_set_are_a_night_and_a_trial_is_shorter(name: str, cifar: Path, tmp_path: Path) -> None:
    section = section_of(name, cifar, 100, 2, 11, tmp_path)
    night = night_of_section(name, section, tmp_path)
    run = night.context.run
    check_students(night.problem, run.teachers, run.students)
    assert night.problem.kind == "vision" and run.seed == 11 and run.students.keys() == {"student", "twin"}
    epochs = [teacher.training.epochs for teacher in run.teachers.values() if teacher.training]
    assert {*epochs, *(student.training.epochs for student in run.students.values())} == {2}
    counts = pl.read_parquet(tmp_path / "labels.parquet")["label"].value_counts()["count"]
    assert counts.to_list() == [10] * CLASSES, "the first of each class alike"
