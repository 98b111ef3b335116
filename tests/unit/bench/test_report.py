"""The benchmark's page, from records made by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.report import main, page
from tasks.core.errors import UsageError


def record(peer: str, seed: int, wape: float, weights: int = 10, **more: Any) -> dict[str, Any]:
    return {
        "set": "m5",
        "peer": peer,
        "seed": seed,
        "errors": {"wape": wape, "wql": wape / 2, "rmsse": 0.7, "coverage": 0.81},
        "parameters": weights,
        "bytes": 4 * weights,
        "train_seconds": 12.0,
        "predict_seconds": 0.5,
        "rows_per_second": {"full": 1000.0, "batch_1": 10.0},
        "peak_memory_mb": 100.0,
        **more,
    }


SPEED = {"onnx_us": 20.0, "onnx_floor_us": 4.0, "onnx_many_ms": 9.0}
RECORDS = [
    *(record("teacher", seed, 0.5, 100_000, **{**SPEED, "onnx_us": 1000.0}) for seed in range(3)),
    *(record("twin", seed, 0.52, 200, **SPEED) for seed in range(3)),
    *(record("student", seed, 0.52 * (0.96 + 0.01 * seed), 200, **SPEED) for seed in range(3)),
    *(record("released", seed, 0.495, 200, **SPEED) for seed in range(3)),
    record("lightgbm", 0, 0.55),
]
STOPPED = [{"set": "m5", "peer": "statistical", "seed": 0, "stopped_after_minutes": 20}]
SIZE = {
    "series": 100,
    "rows": 1000,
    "night_seconds": 60.0,
    "stages": {"teach@mlp": {"seconds": 9.0, "peak_mb": 700.0}, "snapshot": {"seconds": 3.0, "peak_mb": 900.0}},
    "score_seconds": 0.1,
    "score_process_seconds": 1.0,
    "score_process_mb": 300.0,
}


def test_the_page_compares_student_with_teacher_and_twin_over_seeds() -> None:
    line = next(line for line in page(RECORDS, [], [], {"cores": 2}).splitlines() if line.startswith("| m5 |"))
    cells = [cell.strip() for cell in line.split("|")[2:-1]]
    # 0.52 * 0.97 / 0.5; 0.495 / 0.5; mean 0.97, spread 0.01, t = 4.303 over three seeds: half 0.02484.
    assert cells[:3] == ["1.0088 ± 0.0104", "0.9900 ± 0.0000", "0.9700 (0.9452 … 0.9948)"]
    assert cells[3:6] == ["1/500", "1/500", "1/50"]
    assert cells[6:] == ["16.0 ± 0.0", "9.0 ± 0.0"]


def test_what_was_stopped_is_said_and_enters_no_table() -> None:
    text = page(RECORDS, STOPPED, [], {})
    assert "Stopped, unfinished: statistical after 20 minutes." in text
    assert (
        "| statistical |" not in text and "| lightgbm | 1 | 0.5500 | 0.2750 | 0.7000 | 0.8100 | 10 | 40 | 12 |" in text
    )


def test_what_records_say_of_themselves_is_said_once_for_all_of_them() -> None:
    noted = [record(peer, 0, 0.6, note="rounded") for peer in ("nhits", "tide")]
    sizes = [{**SIZE, "rows": rows, "note": "elsewhere"} for rows in (1000, 2000)]
    text = page([*RECORDS, *noted], [], sizes, {})
    assert "Note on nhits (seed 0), tide (seed 0): rounded." in text and text.count("Note: elsewhere.") == 1
    assert "Note" not in page(RECORDS, STOPPED, [SIZE], {})


def test_published_figures_stand_with_what_they_are_of_and_unchecked_ones_are_marked() -> None:
    parts = page(RECORDS, STOPPED, [SIZE], {}).split("## ")
    of_students, of_m5 = (next(part for part in parts if part.startswith(head)) for head in ("Student against", "m5"))
    assert "TimeDistill" in of_students and "0.96]*" in of_students and "LightGBM wape 0.732 (" in of_m5
    assert sum("TimeDistill" in part for part in parts) == 1


def test_a_folder_without_records_replaces_no_page(tmp_path: Path) -> None:
    kept = tmp_path / "page" / "records" / "m5-lightgbm-0.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("measured")
    with pytest.raises(UsageError, match=r"--results: there is no record in .*typo; name the folder of `make bench`"):
        main(tmp_path / "typo", out=tmp_path / "page")
    assert kept.read_text() == "measured" and [path.name for path in (tmp_path / "page").iterdir()] == ["records"]


def test_a_page_and_a_picture_are_written_with_the_speeds_that_were_measured_apart(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for row in [*RECORDS, *STOPPED]:
        plain = {key: value for key, value in row.items() if not key.startswith("onnx")}
        (tmp_path / f"m5-{row['peer']}-{row['seed']}.json").write_text(json.dumps(plain))
    names = ("teacher", "twin", "student", "released")
    speeds = {f"m5-{seed}-{name}": SPEED for seed in range(3) for name in names}
    (tmp_path / "speed.json").write_text(json.dumps(speeds))
    (tmp_path / "scale").mkdir()
    for factor in (1, 10):
        size = {**SIZE, "series": 100 * factor, "rows": 1000 * factor, "night_seconds": 60.0 * factor}
        (tmp_path / "scale" / f"scale-{factor}.json").write_text(json.dumps(size))
    kept = tmp_path / "page" / "records"
    (kept / "scale").mkdir(parents=True)
    (kept / "m5-lightgbm-7.json").write_text("of an earlier page")
    main(tmp_path, tmp_path / "scale", tmp_path / "page")
    copied = {path.name for path in tmp_path.glob("*.json")}
    assert {path.name for path in kept.glob("*.json")} == copied
    assert {path.name for path in (kept / "scale").iterdir()} == {"scale-1.json", "scale-10.json"}
    first = (tmp_path / "page" / "README.md").read_bytes()
    main(kept, kept / "scale", tmp_path / "page")  # a page of its own records is the same page, and they stay
    assert (tmp_path / "page" / "README.md").read_bytes() == first
    assert {path.name for path in kept.glob("*.json")} == copied
    text = (tmp_path / "page" / "README.md").read_text()
    assert "| 16.0 ± 0.0 |" in text and "statistical after 20 minutes" in text
    assert "| 1,000 | 10,000 | 600 | 900 (snapshot) | 0.10 | 1.00 | 300 |" in text
    assert "a night: all sizes 1.00, two largest 1.00; Parquet to Parquet: all sizes 0.00" in text
    for picture in ("m5", "scale"):
        assert (tmp_path / "page" / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
