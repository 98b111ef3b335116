"""A released night is rebuilt bit by bit, and what differs is named: real DVC, real training, real releases."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.core.settings import Settings
from tasks.pipeline.handover.run_store import RunStore
from tasks.planning.opening import open_run
from tasks.planning.run_all import run_all
from tasks.rebuild.reproduction import Reproduction, StageResult, prepare
from tasks.releases.origin import LOCK, SURROUNDINGS, lock_stages
from tasks.releases.store import ReleaseStore
from tests.conftest import LAST_DAY, PROJECT, Project

pytestmark = pytest.mark.timeout(900)


class Released:
    """A small project, in git, with release 1 of one night. `teacher`: further fields of its teachers."""

    def __init__(self, root: Path, teacher: Mapping[str, Any] | None = None) -> None:
        self.project = Project(root)
        params = self.project.sales
        params["teachers"] = {name: {**fields, **(teacher or {})} for name, fields in params["teachers"].items()}
        params["students"] = {name: student for name, student in params["students"].items() if student["alpha"] < 1}
        params["recipes"] = {"fp32": {}}
        params["gates"]["accuracy"].update(limit=50.0, retention=50.0, naive_margin=0.0)
        self.project.save()
        self.commit = self.git_commit()
        self.settings = Settings(home=self.project.home, project=self.project.root)
        self.releases = ReleaseStore(self.settings.releases(), "sales")
        self.night("night")
        assert self.releases.release().release == 1, "the night was not promoted"

    def git_commit(self) -> str:
        def git(*arguments: str) -> str:
            identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
            command = ["git", "-C", str(self.project.root), *identity, *arguments]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

        git("init", "-q")
        (self.project.root / ".gitignore").write_text(".nightstill\n__pycache__\n")
        git("add", "-A")
        git("commit", "-q", "-m", "all")
        return git("rev-parse", "HEAD")

    @property
    def surroundings(self) -> dict[str, Any]:
        """What release 1 says it was made on."""
        found: dict[str, Any] = json.loads(self.releases.read(self.releases.release(1), SURROUNDINGS))
        return found

    @contextmanager
    def changed(self, path: str, old: str, new: str) -> Iterator[None]:
        """A file of the project, changed for a while."""
        file = self.project.root / path
        before = file.read_text()
        assert old in before
        file.write_text(before.replace(old, new, 1))
        try:
            yield
        finally:
            file.write_text(before)

    def command(self, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`nightstill release reproduce sales 1`, in a folder that is not the project's."""
        environment = {**os.environ, **self.settings.environment(), "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-m", "tasks", "release", "reproduce", "sales", "1", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    def night(self, run_id: str) -> dict[str, str]:
        """Why each stage ran or was reused. Raises AssertionError when one failed."""
        run, _ = open_run(self.settings, "sales", run_id, LAST_DAY)
        codes = run_all(self.settings, run, run_id, jobs=2)
        logs = self.settings.home / "logs" / "sales" / run_id
        assert set(codes.values()) == {0}, "\n".join(path.read_text() for path in sorted(logs.iterdir()))
        manifests = RunStore(self.settings.runs()).manifests("sales", run_id)
        return {name: manifest.reason for name, manifest in manifests.items()}

    def reproduce(self, number: int = 1) -> Reproduction:
        with prepare(self.settings, self.releases, self.releases.release(number)) as rebuild:
            return rebuild.run(jobs=2)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    root = tmp_path_factory.mktemp("reproduce") / "project"
    root.mkdir()
    patch = pytest.MonkeyPatch()
    patch.delenv("NIGHTSTILL_GIT_COMMIT", raising=False)
    yield Released(root)
    patch.undo()


def stages(found: Reproduction) -> dict[str, StageResult]:
    return {stage.stage: stage for stage in found.stages}


def again(released: Released, **changes: bytes) -> int:
    """The same release once more under a new number, with some of its files replaced."""
    entry = released.releases.release(1)
    files = {name: released.releases.read(entry, name) for name in released.releases.files(entry)} | changes
    last = released.releases.champion()
    assert last is not None
    return released.releases.publish(
        files, expected=last.seq, run_id="again", as_of=date(2026, 6, 30), reason="for a test"
    ).release


def test_a_release_knows_what_made_it(released: Released) -> None:
    entry, facts = released.releases.release(1), released.surroundings
    assert facts["git_commit"] == released.commit
    names = set(lock_stages(released.releases.read(entry, LOCK)))
    assert (
        set(facts["stages"])
        == names
        == {*("snapshot", "validate", "features", "teach@lstm", "distil@student", "compress@fp32", "evaluate")}
    )
    for made in facts["stages"].values():
        assert made["libraries"]["torch"] and made["processor"] and made["cores"]


def test_a_line_of_a_tabular_workload_reruns_nothing_of_a_night_of_sales(released: Released) -> None:
    """The champion is new, and nothing else: what reads it runs again."""
    with released.changed("tasks/problems/tabular/history.py", "\n", "\n# changed\n"):
        reasons = released.night("other-kind")
    ran = {name: reason for name, reason in reasons.items() if not reason.startswith("reused from run night")}
    assert ran.keys() == {"validate", "evaluate", "promote", "report"}
    assert ran["validate"] == "runs: param run.yaml:champion: 0 -> 1"
    assert "code" not in ran["evaluate"] + ran["promote"]
    assert released.releases.release().release == 1


def test_a_release_is_rebuilt_bit_by_bit_with_its_own_code(released: Released, tmp_path: Path) -> None:
    """By the command, with a checkout that has moved on and whose source is gone."""
    table = released.project.root / "sales.parquet"
    whole = table.read_bytes()
    table.unlink()
    stores = [Path(place) for place in (released.settings.run_store, released.settings.release_store)]
    before = [sorted(store.rglob("*")) for store in stores]
    with released.changed(
        "tasks/stages/compress.py", "def run(", "raise SystemExit('not of the release')\n\n\ndef run("
    ):
        done = released.command(tmp_path, "--out", str(tmp_path / "out"))
    table.write_bytes(whole)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit-equal: release 1" in done.stdout
    assert f"the code is that of the release's commit {released.commit[:12]}" in done.stderr
    assert [sorted(store.rglob("*")) for store in stores] == before, "nothing is published"
    rebuilt = RunStore(Settings(home=tmp_path / "home", run_store=str(tmp_path / "out" / "store")).runs())
    manifests = rebuilt.manifests("sales", "reproduce")
    assert {name for name, manifest in manifests.items() if manifest.status == "reused"} == {"snapshot"}
    assert "promote" not in manifests and "report" not in manifests


def test_a_changed_source_file_a_changed_parameter_and_what_they_changed_are_named(released: Released) -> None:
    """Without a commit the code is the checkout's."""
    facts = released.surroundings | {"git_commit": "unknown"}
    text = released.releases.read(released.releases.release(1), "run.yaml").decode()
    assert text.count("\nseed: 7\n") == 1
    changes = {
        SURROUNDINGS: json.dumps(facts).encode(),
        "run.yaml": text.replace("\nseed: 7\n", "\nseed: 8\n").encode(),
    }
    number = again(released, **changes)
    with released.changed("tasks/distillation/trainer.py", "[seed, loop.epoch]", "[seed, loop.epoch + 1]"):
        found = released.reproduce(number)
    assert not found.equal and found.model not in (None, found.released_model)
    assert found.code == "the code is this folder's: the release does not name a commit"
    by = stages(found)
    assert (by["snapshot"].status, by["features"].status, by["validate"].status) == ("pulled", "equal", "equal")
    code = "code tasks/distillation changed: tasks/distillation/trainer.py changed"
    assert by["teach@lstm"].status == "differs"
    assert by["teach@lstm"].why == (code, "param run.yaml:seed: 7 -> 8")
    assert "teacher.onnx" in by["teach@lstm"].outputs[0].files
    assert by["compress@fp32"].status == "differs" and "data artifacts/students changed" in by["compress@fp32"].why
    assert found.reasons == (code, "param run.yaml:seed: 7 -> 8")


def test_a_stage_that_fails_stops_only_what_needs_it(released: Released) -> None:
    facts = released.surroundings | {"git_commit": f"{released.commit}-dirty"}
    number = again(released, **{SURROUNDINGS: json.dumps(facts).encode()})
    with released.changed(
        "tasks/stages/features.py", "def run(", "raise RuntimeError('broken on purpose')\n\n\ndef run("
    ):
        found = released.reproduce(number)
    by = stages(found)
    assert (by["validate"].status, by["features"].status) == ("equal", "failed")
    assert "broken on purpose" in by["features"].why[0]
    assert {by[name].status for name in ("teach@lstm", "distil@student", "compress@fp32", "evaluate")} == {
        "not rebuilt"
    }
    assert not found.equal and found.model is None
    assert found.code.startswith("the code is this folder's: the release's differed from commit ")
