"""Whole nights without an orchestrator: what each kind of night must do to the ledger, and that they tell no secret.

Nights on which nothing changed, and those of bad data, are run under Airflow: tests/e2e.
"""

import json
from datetime import date
from typing import Any

import pytest

from tasks.core.settings import Settings
from tasks.pipeline.handover.queries import read_outcome, read_verdict
from tasks.pipeline.handover.run_store import RunStore
from tasks.planning.opening import open_run
from tasks.planning.run_all import run_all
from tasks.releases.ledger import Ledger
from tests import planted
from tests.conftest import small_customers

LAST_DAY = date(2026, 6, 30)


class Nights:
    """Runs of one small project. `secrets`: what its settings hold, which nothing of these nights may tell."""

    def __init__(self, project: Any, secrets: dict[str, str]) -> None:
        self.project, self.secrets = project, secrets
        self.settings = Settings(home=project.home, project=project.root)
        self.store = RunStore(self.settings.runs())
        self.workloads: dict[str, str] = {}

    def night(self, run_id: str, as_of: date = LAST_DAY, workload: str = "sales", **options: bool) -> dict[str, int]:
        self.project.save()
        self.workloads[run_id] = workload
        run, _ = open_run(self.settings, workload, run_id, as_of, **options)
        return run_all(self.settings, run, run_id, jobs=2)

    def stages(self, run_id: str) -> set[str]:
        return set(self.store.manifests(self.workloads[run_id], run_id))

    def reused(self, run_id: str) -> set[str]:
        manifests = self.store.manifests(self.workloads[run_id], run_id)
        return {name for name, manifest in manifests.items() if manifest.status == "reused"}

    def outcome(self, run_id: str) -> dict[str, Any] | None:
        return read_outcome(self.settings, "sales", run_id)

    def verdict(self, run_id: str) -> dict[str, Any]:
        verdict = read_verdict(self.settings, "sales", run_id)
        assert verdict is not None
        return verdict

    def releases(self) -> list[int]:
        return [entry.release for entry in Ledger(self.settings.releases(), "sales").entries()]

    def logs(self, run_id: str) -> str:
        folder = self.settings.home / "logs" / self.workloads[run_id] / run_id
        return "\n".join(f"== {path.name}\n{path.read_text()}" for path in sorted(folder.iterdir()))

    def leaks(self) -> list[str]:
        return planted.leaks(self.secrets, planted.files(self.project.root))


@pytest.fixture
def nights(project: Any, monkeypatch: pytest.MonkeyPatch) -> Nights:
    secrets = planted.right()
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    return Nights(project, secrets)


@pytest.mark.timeout(900)
def test_a_first_a_better_and_a_worse_night(nights: Nights) -> None:
    project = nights.project
    good_training = dict(project.sales["students"]["student"]["training"])
    poor = {**good_training, "epochs": 1, "batches_per_epoch": 2}
    for student in project.sales["students"].values():
        student["training"] = poor
    project.sales["gates"]["accuracy"].update(limit=50.0, retention=50.0)
    strict = project.sales["gates"]["accuracy"]["naive_margin"]
    project.sales["gates"]["accuracy"]["naive_margin"] = 0.0

    # First night: there is no champion to beat, and a poorly trained student passes loose gates.
    codes = nights.night("first")
    assert set(codes.values()) == {0}, nights.logs("first")
    outcome = nights.outcome("first")
    assert outcome is not None and outcome["outcome"] == "promoted", json.dumps(nights.verdict("first"))
    assert nights.verdict("first")["champion"] == 0
    assert nights.releases() == [1]

    # Better night: a well-trained student beats the champion under stricter gates.
    for student in project.sales["students"].values():
        student["training"] = good_training
    project.sales["gates"]["accuracy"].update(limit=0.6, retention=1.3, naive_margin=strict)
    codes = nights.night("better")
    assert set(codes.values()) == {0}, nights.logs("better")
    outcome = nights.outcome("better")
    assert outcome is not None and outcome["outcome"] == "promoted", json.dumps(nights.verdict("better"))
    assert nights.releases() == [1, 2]
    comparison = nights.verdict("better")["comparison"]
    assert comparison["champion"]["high"] < 0, "the whole interval of the difference lies on the better side"
    manifests = nights.store.manifests("sales", "better")
    assert {manifests[name].status for name in ("snapshot", "features", "teach@lstm")} == {"reused"}
    assert manifests["validate"].reason == "runs: param run.yaml:champion: 0 -> 1"
    assert manifests["distil@student"].reason.startswith(
        "runs: param run.yaml:students.student.training.batches_per_epoch"
    )
    page = nights.store.page("sales", "better", "report", "report.html")
    assert page is not None and b"promoted" in page.lower()

    # A broken teacher, and students that know nothing else: worse than the champion, so it stays.
    for teacher in project.sales["teachers"].values():
        teacher["training"] = {**teacher["training"], "epochs": 1, "batches_per_epoch": 1, "learning_rate": 1e-9}
    good_students = project.sales["students"]
    project.sales["students"] = {"student": {**good_students["student"], "alpha": 0.0}}
    codes = nights.night("broken")
    assert set(codes.values()) == {0}, nights.logs("broken")
    outcome = nights.outcome("broken")
    assert outcome is not None and outcome["outcome"] == "rejected"
    refused = {gate["gate"] for gate in nights.verdict("broken")["gates"] if not gate["passed"]}
    assert any("champion" in gate for gate in refused)
    assert nights.releases() == [1, 2]

    # A line of the other kind of learning is none of this workload's business: the night runs nothing anew.
    project.touch("tasks/problems/tabular/history.py")
    nights.night("other-kind")
    assert nights.reused("other-kind") == nights.stages("broken") - {"report"}
    assert list(project.home.rglob("manifest.sig")) and nights.leaks() == []


def test_a_line_of_forecasting_reruns_nothing_of_a_tabular_workload(nights: Nights) -> None:
    project = nights.project
    del project.params["workloads"]["sales"]
    project.params["workloads"]["customers"] = small_customers(project.root)
    assert set(nights.night("first", workload="customers", dry_run=True).values()) == {0}, nights.logs("first")
    project.touch("tasks/problems/forecasting/panel.py")
    nights.night("other-kind", workload="customers", dry_run=True)
    assert nights.reused("other-kind") == nights.stages("first") - {"report"}
    assert nights.leaks() == []
