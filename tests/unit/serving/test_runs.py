"""A request of many texts or images is split into runs, of which each takes little memory."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from serving.client import Champion
from tasks.compression.runtime import OnnxModel
from tasks.releases.store import ReleaseStore
from tests.unit.serving.test_tokens import CONTRACT, RUN, model


def test_no_run_of_texts_has_more_than_128_rows_and_numbers_are_equal(
    releases: ReleaseStore, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"model.onnx": model(), "contract.json": json.dumps(CONTRACT).encode(), "run.yaml": RUN}
    releases.publish(files, expected=0, run_id="r", as_of=date(2026, 1, 1), reason="better")
    champion = Champion.open(str(folder), "sales", cache=cache)
    inputs = {"words": np.random.default_rng(0).integers(0, 8, (300, 4))}
    whole = OnnxModel(model())(inputs)
    rows: list[int] = []
    run = onnxruntime.InferenceSession.run

    def noted(self: Any, names: Any, given: Any, *more: Any) -> Any:
        rows.append(len(given["words"]))
        return run(self, names, given, *more)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", noted)
    np.testing.assert_array_equal(champion.predict(inputs), whole)
    assert rows == [128, 128, 44]
