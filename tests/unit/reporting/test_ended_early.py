"""The page says of a kept teacher that it was trained with tonight's rows, and why."""

import json
from datetime import date
from typing import Any

import pytest

from tasks.config.run import Run
from tasks.reporting.collect import collect
from tests.unit.reporting.conftest import Night

TOLD = {"since": "2026-11-16", "drifted": "price", "psi": 0.31}


@pytest.mark.parametrize("more", [{"ended": "input price has moved by 0.31, more than 0.25"}, {"learned_rows": 3}])
def test_a_note_tells_of_a_period_that_ended_early_and_of_no_other(
    night: Night, run: Run, more: dict[str, Any]
) -> None:
    kept = run.model_copy(update={"code": run.code.model_copy(update={"kept": {"lstm": date(2026, 11, 16)}})})
    material = night(run=kept)
    folder = material.artifacts / "teachers" / "lstm"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "about.json").write_text(json.dumps({"kept": {**TOLD, **more}}))
    notes = collect(material).notes
    if "ended" not in more:
        assert notes == ()
        return
    (note,) = notes
    assert note == (
        "Teacher lstm, kept since 2026-11-16, was trained with tonight's rows: "
        "input price has moved by 0.31, more than 0.25."
    )
