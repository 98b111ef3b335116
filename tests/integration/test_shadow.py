"""A candidate's nights in shadow come to their end, through the real hand-over, promotion and fence."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dvc  # noqa: F401 it keeps the streams that it finds when it is loaded: not those of one test
import pytest
import yaml

from tasks.cli.main import main
from tasks.config.run import parse_run
from tasks.core.approval import Approval
from tasks.core.errors import NotYetError
from tasks.planning.approving import approve
from tasks.planning.shadowing import Settled, day_key, settle
from tasks.releases.pins import pin
from tests.conftest import Project
from tests.unit.watching.shadowing import NIGHTS, Waiting
from tests.unit.watching.shop import START, by_leak, by_weekday

SOUND, OTHER = by_weekday(1.0), by_weekday(1.001)


def day(offset: int) -> date:
    return START + timedelta(days=offset)


class Place(Waiting):
    """A project whose pipeline has the promotion alone; what the stages before it leave lies in the project."""

    def __init__(self, project: Project, *, report: bool = False, **section: Any) -> None:
        super().__init__(project.root, **section)
        pipeline = yaml.safe_load((project.root / "dvc.yaml").read_text())
        page = {
            "cmd": "cp artifacts/promotion/outcome.json $NIGHTSTILL_PAGES/report.html",
            "deps": ["artifacts/promotion"],
            "always_changed": True,
        }
        pipeline["stages"] = {"promote": pipeline["stages"]["promote"], **({"report": page} if report else {})}
        (project.root / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
        self.artifacts = project.root / "artifacts"
        self.shop.release(SOUND, START)

    def nights(self, content: bytes, count: int = NIGHTS + 1) -> None:
        """Open a run with this candidate, and let it forecast beside the champion."""
        for folder, files in self.opened("r1", content).items():
            (self.artifacts / folder).mkdir(parents=True, exist_ok=True)
            for name, data in files.items():
                (self.artifacts / folder / name).write_bytes(data)
        about = {"source": "table", "rows": 12, "entities": 12, "shift_weeks": None, "notes": []}
        (self.artifacts / "snapshot").mkdir(exist_ok=True)
        (self.artifacts / "snapshot" / "about.json").write_text(json.dumps(about))
        for offset in range(count):
            self.night(day(offset), "r1")

    def settled(self, until: int = NIGHTS + 1) -> Settled:
        """The morning's look, with the truth up to a day."""
        return settle(self.settings, "sales", self.section, day(until), lambda: self.shop.raw(day(until)))

    def outcome(self) -> dict[str, Any]:
        """What the promotion of the candidate's run says now."""
        manifest = self.runs.manifest("sales", "r1", "promote")
        assert manifest is not None
        return manifest.summary

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.releases.ledger.entries()]

    def killed(self) -> None:
        """Take away what is recorded after the ledger's entry."""
        store = self.runs.store
        for key in (*store.keys("index/sales/promote/"), *store.keys("shadow/")):
            store.delete(key)
        self.ended("r1", outcome="held", reason="in shadow", shadow="waits")


@pytest.fixture
def environment(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name, value in Waiting(project.root).settings.environment().items():
        monkeypatch.setenv(name, value)
    return project


def test_after_its_nights_it_is_released_with_what_they_showed(
    environment: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(environment, report=True)
    place.nights(OTHER)
    assert place.settled(NIGHTS - 1).outcome == "in-shadow" and place.kinds() == ["promote"]
    params = yaml.safe_load((environment.root / "params.yaml").read_text())
    params["workloads"]["sales"] |= {"shadow_nights": NIGHTS, "checks": {}}
    (environment.root / "params.yaml").write_text(yaml.safe_dump(params))
    place.shop.table(day(NIGHTS + 1)).write_parquet(environment.root / "sales.parquet")
    with pytest.raises(SystemExit) as done:
        main(["shadow", "sales", "--as-of", str(day(NIGHTS + 1))])
    said = capsys.readouterr()
    assert done.value.code == 0, said.err
    told = json.loads(said.out.splitlines()[-1])
    assert (told["outcome"], told["watched"]) == ("promoted", "r1")
    entry = place.releases.release()
    assert (entry.seq, entry.run_id, entry.approved_by) == (2, "r1", "")
    answer = parse_run(place.runs.run_yaml("sales", "r1")).answer
    assert answer is not None and answer.winner == entry.model_sha256, "nights of this winner"
    assert entry.reason.startswith("fp16 passes all 9 gates; 6 nights in shadow: live error against the champion: ")
    evidence = entry.reason.partition("; evidence ")[2]
    assert json.loads((Path(place.settings.forecasts) / evidence).read_text())["outcome"] == "passed"
    assert place.outcome()["outcome"] == "promoted" and place.outcome()["reason"] == entry.reason
    page = place.runs.page("sales", "r1", "report", "report.html")
    assert page is not None and b'"promoted"' in page, "the report tells it"
    # A second look on the same day, and one after a kill behind the entry: nothing is done twice, it is told.
    assert place.settled().outcome == "promoted" and place.kinds() == ["promote", "promote"]
    place.killed()
    again = place.settled()
    assert (again.outcome, place.kinds()) == ("promoted", ["promote", "promote"])
    place.runs.store.delete("shadow/sales/ended/r1.json")
    assert place.settled().outcome == "promoted", "killed before it was told"


def test_a_leak_that_passed_the_gates_is_refused(environment: Project) -> None:
    place = Place(environment)
    place.nights(by_leak())
    found = place.settled()
    assert found.outcome == "rejected" and "worse by more than 5.0%" in found.reason
    assert place.kinds() == ["promote"] and place.outcome()["outcome"] == "rejected"
    assert found.evidence in place.outcome()["reason"]
    assert json.loads(place.runs.store.read(day_key("sales", day(NIGHTS + 1))))["summary"]["outcome"] == "rejected"


def test_one_that_the_ledger_went_on_without_is_superseded(environment: Project) -> None:
    place = Place(environment)
    place.nights(OTHER, 2)
    pin(place.releases, "the sale lasts")
    before = place.kinds()
    found = place.settled()
    assert found.outcome == "superseded" and "was written meanwhile" in found.reason
    assert place.outcome()["outcome"] == "superseded" and place.kinds() == before
    assert place.settled().outcome == "superseded", "it is told again on that day"
    with pytest.raises(NotYetError, match="no candidate is in shadow"):
        place.settled(NIGHTS + 2)


def test_with_approval_people_are_asked_once_its_nights_are_over(environment: Project) -> None:
    place = Place(environment, approval=Approval(by=("anna",)))
    place.nights(OTHER)
    found = place.settled()
    assert found.outcome == "held" and found.reason.startswith("waits for the approval of anna; 6 nights in shadow: ")
    assert place.kinds() == ["promote"]
    entry = approve(place.settings, "sales", "r1", "anna", "as good, and smaller")
    assert (entry.approved_by, entry.approved_why) == ("anna", "as good, and smaller")
    assert "6 nights in shadow: live error against the champion" in entry.reason and "; evidence " in entry.reason
