"""Somebody approves a candidate that is held, through the real hand-over, promotion and fence."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import dvc  # noqa: F401 it keeps the streams that it finds when it is loaded: not those of one test
import pytest
import yaml

from tasks.cli.main import main
from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.core.approval import Answer, Approval
from tasks.core.errors import UsageError
from tasks.core.settings import Settings
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.handover.run_store import RunStore
from tasks.planning.approving import approve, keep_answer, report_again
from tasks.releases.ledger import Superseded
from tasks.releases.pins import pin
from tasks.releases.store import ReleaseStore
from tests.conftest import PROJECT, Project
from tests.unit.stages.test_promote import Night

REASON = "better in every store"


class Place:
    """Runs that got as far as promotion."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.section = dict(load_workload(PROJECT / "params.yaml", "sales"))
        self.store = RunStore(settings.runs())
        self.releases = ReleaseStore(settings.releases(), "sales")

    def opened(self, run_id: str = "night", *, champion: int = 0, by: tuple[str, ...] = ("anna", "bob")) -> None:
        """Open a run that got as far as promotion."""
        section = {**self.section, "approval": Approval(by=by) if by else None}
        run = Run(**section, workload="sales", as_of=date(2026, 1, 1), champion=champion)
        info = {"run_id": run_id, "created": "2026", "force": False, "git_commit": ""}
        self.store.open_run("sales", run_id, run.to_yaml(), info)

    def of_before(self) -> None:
        """Take from the run what no run.yaml had before people were asked and models made again."""
        now = yaml.safe_load(self.store.run_yaml("sales", "night"))
        before = {key: value for key, value in now.items() if key not in ("answer", "approval")}
        before["code"] = {"problem": now["code"]["problem"]}
        self.store.store.write(self.store.key("sales", "night", "run.yaml"), yaml.safe_dump(before).encode())

    def ended(self, outcome: str, run_id: str = "night", **more: Any) -> None:
        """Leave a promotion's manifest that says so."""
        summary = {"outcome": outcome, "reason": "so it is", "entry": None, **more}
        found = Manifest(stage="promote", workload="sales", run_id=run_id, status="done", reason="", summary=summary)
        self.store.finish(found, None)

    def killed(self) -> None:
        """Take away what an approval records after the ledger's entry."""
        store = self.store.store
        for key in (*store.keys("index/sales/promote/"), self.store.key("sales", "night", "promote.lock")):
            store.delete(key)
        self.ended("held")

    def outcome(self) -> str:
        """Return what the promotion's manifest says."""
        manifest = self.store.manifest("sales", "night", "promote")
        assert manifest is not None
        return str(manifest.summary["outcome"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(Settings(home=tmp_path, project=PROJECT))


def test_a_held_candidate_is_approved(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pipeline has the promotion and a short report; what the stages before it leave lies in the project."""
    pipeline = yaml.safe_load((project.root / "dvc.yaml").read_text())
    report = {
        "cmd": "cp artifacts/promotion/outcome.json $NIGHTSTILL_PAGES/report.html",
        "deps": ["artifacts/promotion"],
        "always_changed": True,
    }
    pipeline["stages"] = {"promote": pipeline["stages"]["promote"], "report": report}
    (project.root / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    context = Night(tmp_path / "made").prepare("two", champion=2, run_id="made")
    shutil.copytree(context.artifacts, project.root / "artifacts")
    place = Place(Settings(home=project.home, project=project.root))
    for name, value in place.settings.environment().items():
        monkeypatch.setenv(name, value)
    place.releases.publish({"model.onnx": b"one"}, expected=0, run_id="r", as_of=date(2026, 1, 1), reason="better")
    pin(place.releases, "until somebody has looked")
    place.opened(champion=2)
    place.of_before()
    place.ended("held")
    keep_answer(place.store, "sales", "night", Answer(decision="hold", by="", reason="nobody answered"))
    with pytest.raises(SystemExit) as done:
        main(["release", "approve", "sales", "night", "--by", "anna", "--reason", REASON])
    said = capsys.readouterr()
    assert "sales: ledger entry 3: release 3 is champion, approved by anna" in said.out.splitlines()
    assert done.value.code == 0 and "still that of before" not in said.err
    assert "nobody answered" not in place.store.run_yaml("sales", "night"), "an answer takes a former one's place"
    entry = place.releases.release()
    assert (entry.seq, entry.run_id, entry.approved_by, entry.approved_why) == (3, "night", "anna", REASON)
    manifest = place.store.manifest("sales", "night", "promote")
    assert manifest is not None and manifest.energy in ("estimated", "measured")
    assert manifest.cpu_seconds > 0 and manifest.joules > 0
    assert place.outcome() == "promoted"
    page = place.store.page("sales", "night", "report", "report.html")
    assert page is not None and b'"promoted"' in page, "the report tells it"
    place.killed()
    assert approve(place.settings, "sales", "night", "bob", "I have looked too") == entry
    assert place.outcome() == "promoted"
    keep_answer(place.store, "sales", "night", Answer(decision="reject", by="bob", reason="too late"))
    assert "too late" not in place.store.run_yaml("sales", "night"), "what is released is not unsaid"
    assert approve(place.settings, "sales", "night", "bob", "asked for once more") == entry, "nothing is done twice"


def test_who_is_not_named_does_not_approve(place: Place) -> None:
    place.opened()
    place.ended("held")
    before = place.store.run_yaml("sales", "night")
    with pytest.raises(UsageError, match=r"--by 'mallory': may not approve; sales\.approval\.by names anna, bob"):
        approve(place.settings, "sales", "night", "mallory", REASON)
    assert place.store.run_yaml("sales", "night") == before and place.releases.champion() is None


def test_a_report_that_fails_undoes_nothing(place: Place) -> None:
    said = report_again(place.settings, "sales", "night")
    assert said.startswith("the run's report is still that of before (") and "run-stage report" in said


@pytest.mark.parametrize("by", ["a b", "anna\nmallory", "\x1b[31manna", "a" * 101])
def test_only_a_name_is_taken_for_one(by: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["release", "approve", "sales", "night", "--by", by, "--reason", REASON])
    assert done.value.code == 64 and "--by" in capsys.readouterr().err


def test_a_system_that_does_not_know_its_user_asks_for_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)
    with pytest.raises(SystemExit) as done:
        main(["release", "approve", "sales", "night", "--reason", REASON])
    assert done.value.code == 64 and "--by: this system does not know its user" in capsys.readouterr().err


@pytest.mark.parametrize("by", [("anna",), ()])
def test_a_moved_fence_lets_nothing_pass(place: Place, by: tuple[str, ...]) -> None:
    place.opened(by=by)
    place.ended("held")
    place.releases.publish({"model.onnx": b"one"}, expected=0, run_id="r", as_of=date(2026, 1, 1), reason="better")
    with pytest.raises(Superseded, match=r"ledger entry 1, a promote .* compared with entry none"):
        approve(place.settings, "sales", "night", "anna", REASON)
    assert len(place.releases.ledger.entries()) == 1


@pytest.mark.parametrize("outcome", ["rejected", "superseded", "unchanged", "dry-run"])
def test_only_what_is_held_can_be_approved(place: Place, outcome: str) -> None:
    place.opened()
    place.ended(outcome)
    with pytest.raises(UsageError, match=rf"ended as {outcome} \(so it is\); only a candidate that is held"):
        approve(place.settings, "sales", "night", "anna", REASON)


def test_a_run_that_has_not_come_to_its_promotion_cannot_be_approved(place: Place) -> None:
    place.opened()
    with pytest.raises(UsageError, match="has not come to its promotion"):
        approve(place.settings, "sales", "night", "anna", REASON)
