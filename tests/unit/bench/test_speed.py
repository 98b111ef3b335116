"""Timing the models that the benchmark left behind."""

import json
from pathlib import Path

import pytest

from bench.ours import speed
from bench.ours.speed import inputs_of, main
from tasks.compression.export import export_onnx
from tests.unit.problems.forecasting.models.windows import CONTRACT, model_of, windows_of


def test_every_model_is_timed_and_members_of_an_ensemble_add_up(tmp_path: Path) -> None:
    windows = {name: tensor.numpy() for name, tensor in windows_of(2).items()}
    small = export_onnx(model_of("linear"), CONTRACT, windows)
    for place in ("teacher/one", "teacher/two", "student/student"):
        path = tmp_path / "models" / "m5-0" / f"{place}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(small)
    gone = {"onnx_us": 7.0, "onnx_ratio": 0.1, "onnx_floor_us": 5.0, "onnx_many_ms": 1.0}
    (tmp_path / "speed.json").write_text(json.dumps({"m5-1-student": gone, "m5-0-student": gone}))
    main(tmp_path)
    found = json.loads((tmp_path / "speed.json").read_text())
    assert found.pop("m5-1-student") == gone != found["m5-0-student"]
    assert set(found) == {"m5-0-teacher", "m5-0-student"}
    for one in found.values():
        assert 0 < one["onnx_floor_us"] < one["onnx_us"] and one["onnx_many_ms"] > 0
    assert found["m5-0-teacher"]["onnx_us"] > found["m5-0-student"]["onnx_us"]


def test_what_was_timed_beside_a_neighbour_is_timed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The machine's clock: the floor is 2 us where nobody else is at work.
    floors = {"calm": [2.0], "once": [5.0, 2.1], "worse": [4.0, 6.0, 3.0], "busy": [9.0, 8.0, 7.0]}
    for night in floors:
        path = tmp_path / "models" / night / "student" / "one.onnx"
        path.parent.mkdir(parents=True)
        path.write_text(night)

    def timed(models: dict[str, dict[str, bytes]], threads: int) -> dict[str, dict[str, float]]:
        floor = floors[models["student"]["one"].decode()].pop(0)
        return {"student": {"onnx_us": 5 * floor, "onnx_floor_us": floor, "onnx_many_ms": threads}}

    monkeypatch.setattr(speed, "_speeds", timed)
    main(tmp_path)
    found = json.loads((tmp_path / "speed.json").read_text())
    assert not any(floors.values())
    assert {name: one["onnx_us"] for name, one in found.items()} == {
        "calm-student": 10.0, "once-student": 10.5, "worse-student": 15.0, "busy-student": 35.0
    }  # fmt: skip


def test_inputs_are_those_that_the_files_ask_for() -> None:
    windows = {name: tensor.numpy() for name, tensor in windows_of(2).items()}
    made = inputs_of([export_onnx(model_of("linear"), CONTRACT, windows)], 5)
    assert {name: values.shape for name, values in made.items()} == {
        "units": (5, 14), "observed": (5, 14), "future": (5, 5, 3), "static": (5, 3)
    }  # fmt: skip
    assert made["static"].dtype == "int64" and (made["units"] > 0).any()
