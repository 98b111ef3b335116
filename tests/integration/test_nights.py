"""What each kind of night does to the ledger; no secret is told.

Nights on which nothing changed, and those of bad data, are run under Airflow: tests/e2e.
"""

import json
import shutil
from copy import deepcopy
from typing import Any

import pytest

from tasks.core.settings import Settings
from tasks.releases.ledger import Ledger
from tests import planted
from tests.conftest import LAST_DAY, Project, small_customers
from tests.in_process import whole_night


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the settings of these nights hold, and nothing of them may tell."""
    planted_ones = planted.right()
    for name, value in planted_ones.items():
        monkeypatch.setenv(name, value)
    return planted_ones


@pytest.mark.timeout(900)
def test_a_first_a_better_and_a_worse_night(
    project: Project, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=project.home, project=project.root)
    ledger = Ledger(settings.releases(), "sales")

    def night(run_id: str, section: dict[str, Any], champion: int) -> tuple[str, dict[str, Any], str]:
        """Returns the night's outcome, its verdict and the page that operations see."""
        root = project.root
        shutil.rmtree(root / "artifacts", ignore_errors=True)
        verdict = whole_night(root, settings, section, "sales", LAST_DAY, monkeypatch, run_id, champion)
        outcome = json.loads((root / "artifacts" / "promotion" / "outcome.json").read_text())
        assert planted.leaks(secrets, planted.files(root)) == []
        return outcome["outcome"], verdict, (root / "pages" / "report.html").read_text()

    # First night: there is no champion to beat, and a poorly trained student passes loose gates.
    good, poor = project.sales, deepcopy(project.sales)
    for student in poor["students"].values():
        student["training"].update(epochs=1, batches_per_epoch=2)
    poor["gates"]["accuracy"].update(limit=50.0, retention=50.0, naive_margin=0.0)
    outcome, verdict, _ = night("first", poor, champion=0)
    assert outcome == "promoted", verdict
    assert verdict["champion"] == 0
    assert [entry.release for entry in ledger.entries()] == [1]

    # Better night: a well-trained student beats the champion under stricter gates.
    outcome, verdict, page = night("better", good, champion=1)
    assert outcome == "promoted", verdict
    assert [entry.release for entry in ledger.entries()] == [1, 2]
    assert verdict["comparison"]["champion"]["high"] < 0, "the whole interval lies on the better side"
    assert "promoted" in page.lower()

    # A broken teacher, and a student that knows nothing else: worse than the champion, so it stays.
    broken = deepcopy(good)
    for teacher in broken["teachers"].values():
        teacher["training"].update(epochs=1, batches_per_epoch=1, learning_rate=1e-9)
    broken["students"] = {"student": {**good["students"]["student"], "alpha": 0.0}}
    outcome, verdict, _ = night("broken", broken, champion=2)
    assert outcome == "rejected"
    assert any("champion" in gate["gate"] for gate in verdict["gates"] if not gate["passed"])
    assert [entry.release for entry in ledger.entries()] == [1, 2]
    assert list(project.home.rglob("manifest.sig"))


def test_a_night_of_events_of_customers(
    project: Project, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    section, settings = small_customers(project.root), Settings(home=project.home, project=project.root)
    verdict = whole_night(project.root, settings, section, "customers", LAST_DAY, monkeypatch)
    # Its networks are too small for their verdict to be of interest; that there is one, and its consequence, is.
    outcome = json.loads((project.root / "artifacts" / "promotion" / "outcome.json").read_text())["outcome"]
    assert outcome == {"promote": "promoted", "reject": "rejected"}[verdict["verdict"]]
    assert {"accuracy/naive", "latency/p50", "parity"} <= {gate["gate"] for gate in verdict["gates"]}
    assert outcome in (project.root / "pages" / "report.html").read_text().lower()
    assert planted.leaks(secrets, planted.files(project.root)) == []
