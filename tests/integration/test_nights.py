"""What each kind of night does to the ledger, and what a line of another kind of learning reruns; no secret is told.

Nights on which nothing changed, and those of bad data, are run under Airflow: tests/e2e.
"""

import json
import shutil
from copy import deepcopy
from typing import Any

import pytest

from tasks.core.settings import Settings
from tasks.pipeline.handover.run_store import RunStore
from tasks.planning.opening import open_run
from tasks.planning.run_all import run_all
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


@pytest.mark.timeout(900)
def test_a_line_of_forecasting_reruns_nothing_of_a_tabular_workload(project: Project, secrets: dict[str, str]) -> None:
    """The other way round: tests/integration/scenarios/test_reproduce.py, which has a night of `sales` already."""
    del project.params["workloads"]["sales"]
    project.params["workloads"]["customers"] = small_customers(project.root)
    project.save()
    settings = Settings(home=project.home, project=project.root)
    store = RunStore(settings.runs())

    def night(run_id: str) -> dict[str, str]:
        run, _ = open_run(settings, "customers", run_id, LAST_DAY, dry_run=True)
        codes = run_all(settings, run, run_id, jobs=2)
        logs = settings.home / "logs" / "customers" / run_id
        assert set(codes.values()) == {0}, "\n".join(path.read_text() for path in sorted(logs.iterdir()))
        return {name: manifest.status for name, manifest in store.manifests("customers", run_id).items()}

    first = night("first")
    project.touch("tasks/problems/forecasting/panel.py")
    again = night("other-kind")
    assert set(first.values()) == {"done"} and again.keys() == first.keys()
    assert {name for name, status in again.items() if status != "reused"} == {"report"}
    assert planted.leaks(secrets, planted.files(project.root)) == []
