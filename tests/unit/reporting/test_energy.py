"""The energy of a thousand predictions, in the report and on the page of nights."""

from pathlib import Path
from typing import Any

import pytest

from tasks.core.storage import FolderStore
from tasks.nights import page as nights_page
from tasks.nights.collect import collect as collect_nights
from tasks.nights.standing import standing
from tasks.reporting import page
from tasks.reporting.collect import collect
from tasks.reporting.energy import per_thousand, told


def row(model: str, batch: int, p50: float) -> dict[str, Any]:
    return {"model": model, "batch": batch, "p50_us": p50}


TIMES = {
    "threads": 2,
    "models": [
        row("fp16", 1, 20.0),
        row("fp16", 1000, 500.0),
        row("teacher trees", 1, 900.0),
        row("teacher trees", 1000, 30_000.0),
        row("teacher net", 1000, 20_000.0),
        row("champion", 1000, 1000.0),
    ],
}


def test_it_is_seconds_at_the_largest_batch_times_threads_times_watts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_WATTS_PER_CORE", "5")
    found = per_thousand(TIMES, ["trees", "net"], "fp16")
    assert found == pytest.approx({"candidate": 0.005, "teacher": 0.5, "champion": 0.01})
    assert "the candidate 0.005 J and the teachers 0.5 J, 100 times as much" in told(found)
    assert "estimated" in told(found)


def test_what_was_not_timed_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "teacher" not in per_thousand(TIMES, ["trees", "other"], "fp16"), "an ensemble is all of its members"
    assert "candidate" not in per_thousand(TIMES, ["trees"], "") and told({"teacher": 1.0}) == ""
    broken = {"threads": 1, "models": [row("fp16", 1000, float("nan"))]}
    assert per_thousand(broken, [], "fp16") == per_thousand({}, ["trees"], "fp16") == {}
    monkeypatch.setenv("NIGHTSTILL_WATTS_PER_CORE", "many")
    assert per_thousand(TIMES, ["trees", "net"], "fp16") == {}


def test_the_report_tells_it(night: Any) -> None:
    facts = collect(night())
    assert set(facts.joules) >= {"candidate", "teacher"}
    assert told(facts.joules) in page.render(facts)


def test_the_page_of_nights_shows_both_and_nights_of_before_none(tmp_path: Path) -> None:
    runs, releases = FolderStore(tmp_path / "runs"), FolderStore(tmp_path / "releases")
    for number, summary in enumerate((b"{}", b'{"joules_per_thousand": {"candidate": 0.25, "teacher": 50.0}}')):
        folder = f"runs/sales/r{number}"
        created = f'{{"run_id": "r{number}", "as_of": "2026-01-0{number + 1}", "created": "2026-01-0{number + 2}"}}'
        runs.write(f"{folder}/run.json", created.encode())
        manifest = (
            b'{"stage": "report", "workload": "sales", "run_id": "r", "status": "done", "reason": "", "summary": %s}'
        )
        runs.write(f"{folder}/report.json", manifest % summary)
    found = collect_nights(runs, releases, "sales", 30)
    assert [night.thousand for night in found.nights] == [{}, {"candidate": 0.25, "teacher": 50.0}]
    shown = nights_page.render(found, standing(found, found.nights[-1].as_of))
    assert "candidate 0.25 J and the teachers 50 J, 200 times as much" in shown
    assert nights_page.THOUSAND in shown and "teacher 50" in shown
