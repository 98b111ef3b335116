"""The hand-over of a stage, with real DVC, on a small pipeline of its own."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tasks.core.errors import ConfigError, IntegrityError, StageFailed, UsageError
from tasks.core.settings import Settings
from tasks.core.storage import open_store
from tasks.pipeline.graph import load_graph
from tasks.pipeline.handover.locks import from_lock
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.handover.run_stage import assist_stage, assists, run_stage
from tasks.pipeline.handover.run_store import DataRemote, RunStore
from tests.integration.scenarios.test_ended_early import below

PIPELINE = """
vars: [run.yaml]
stages:
  source: {cmd: python step.py source, deps: [step.py], params: [{run.yaml: [as_of]}], outs: [artifacts/source]}
  member:
    foreach: ${members}
    do:
      cmd: python step.py member ${key}
      deps: [code, artifacts/source]
      params: [{run.yaml: ["members.${key}"]}]
      outs: ["artifacts/members/${key}"]
  join: {cmd: python step.py join, deps: [code, artifacts/members], outs: [artifacts/join.txt]}
  last: {cmd: python step.py last, deps: [artifacts/join.txt], always_changed: true, meta: {trigger: all_done}}
"""
STEP = """
import json, os, pathlib, sys, time, yaml
run = yaml.safe_load(open("run.yaml"))
pages = pathlib.Path(os.environ["NIGHTSTILL_PAGES"])
kind = sys.argv[1]
trouble = pathlib.Path(run["trouble"])
if kind == "source":
    folder = pathlib.Path("artifacts/source"); folder.mkdir(parents=True)
    (folder / "data.txt").write_text(str(run["as_of"]))
if kind == "member":
    name = sys.argv[2]
    if (trouble / name).exists():
        (pages / "error.json").write_text(json.dumps({"error": f"bad member {name}", "exit_code": 65}))
        (pages / f"member@{name}.summary.json").write_text(json.dumps({"failed": 7}))
        sys.exit(65)
    if (trouble / "hang").exists():
        (trouble / "hanging").touch()
        time.sleep(120)
    folder = pathlib.Path("artifacts/members") / name; folder.mkdir(parents=True)
    data = pathlib.Path("artifacts/source/data.txt").read_text()
    (folder / "out.txt").write_text(data + str(run["members"][name]))
    (pages / f"member@{name}.summary.json").write_text(json.dumps({"size": run["members"][name]}))
    (pages / "page.html").write_text("hello")
if kind == "join":
    files = sorted(pathlib.Path("artifacts/members").glob("*/out.txt"))
    pathlib.Path("artifacts/join.txt").write_text("+".join(f.read_text() for f in files))
if kind == "last":
    (pages / "seen.txt").write_text(str(pathlib.Path("artifacts/join.txt").exists()))
"""


class Place:
    """A small project with its stores."""

    def __init__(self, root: Path, run_store: str = "", dvc_remote: str = "") -> None:
        self.project = root / "project"
        self.trouble = root / "trouble"
        for folder in (self.project / "tasks", self.project / "code", self.trouble):
            folder.mkdir(parents=True)
        (self.project / "tasks" / "x.py").write_text("")
        (self.project / "code" / "a.py").write_text("1")
        (self.project / "step.py").write_text(STEP)
        (self.project / "dvc.yaml").write_text(PIPELINE)
        self.settings = Settings(home=root / "home", project=self.project, run_store=run_store, dvc_remote=dvc_remote)
        self.store = RunStore(self.settings.runs())

    def open(self, run_id: str, *, force: bool = False, **changes: object) -> None:
        run = {"as_of": "2026-01-01", "members": {"x": 1, "y": 2}, "trouble": str(self.trouble), **changes}
        info = {"run_id": run_id, "force": force, "git_commit": "abc", "created": run_id}
        self.store.open_run("w", run_id, yaml.safe_dump(run), info)

    def go(self, run_id: str, *stages: str) -> list[Manifest]:
        return [run_stage(self.settings, "w", run_id, stage).manifest for stage in stages]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


ALL = ("source", "member@x", "member@y", "join", "last")


def test_a_night_then_an_unchanged_night_then_changes(place: Place) -> None:
    place.open("r1")
    first = place.go("r1", *ALL)
    assert [manifest.status for manifest in first] == ["done"] * 5
    lock = place.store.lock(first[3])
    remote = DataRemote(open_store(place.settings.dvc_remote))
    assert remote.read(lock, "artifacts/join.txt") == b"2026-01-011+2026-01-012"
    assert first[1].summary == {"size": 1}
    assert place.store.page("w", "r1", "member@x", "page.html") == b"hello"
    # What we foretell of a lock is what DVC then wrote, folders that span several outputs included.
    assert all(from_lock(place.store.lock(manifest)).key == manifest.inputs_key for manifest in first)

    again = run_stage(place.settings, "w", "r1", "join")
    assert again.already and again.manifest == first[3]

    place.open("r2")
    second = place.go("r2", *ALL)
    assert [manifest.status for manifest in second] == ["reused"] * 4 + ["done"]
    assert second[1].reused_from == "r1"
    assert place.store.page("w", "r2", "member@x", "page.html") == b"hello"

    place.open("r3", members={"x": 1, "y": 5})
    (place.project / "code" / "a.py").write_text("2")
    third = place.go("r3", *ALL)
    assert [manifest.status for manifest in third] == ["reused", "done", "done", "done", "done"]
    assert third[1].reason == "runs: code code changed"
    assert third[2].reason == "runs: code code changed; param run.yaml:members.y: 2 -> 5"
    assert "data artifacts/members changed" in third[3].reason

    place.open("r4", force=True)
    assert place.go("r4", "source")[0].reason == "runs: forced"


def test_hosts_that_share_nothing_but_s3_hand_over(tmp_path: Path, bucket: str) -> None:
    one, other = (Place(tmp_path / name, f"s3://{bucket}/runs", f"s3://{bucket}/data") for name in ("one", "other"))
    one.open("r1", trouble="none")
    first = one.go("r1", "source", "member@x")
    assert [manifest.status for manifest in first] == ["done"] * 2
    then = other.go("r1", "member@y", "join", "last")
    assert [manifest.status for manifest in then] == ["done"] * 3
    remote = DataRemote(open_store(other.settings.dvc_remote))
    assert remote.read(other.store.lock(then[1]), "artifacts/join.txt") == b"2026-01-011+2026-01-012"
    other.open("r2", trouble="none")
    assert {manifest.status for manifest in other.go("r2", *ALL[:4])} == {"reused"}


def test_a_failed_stage_keeps_its_own_words_and_exit_code(place: Place) -> None:
    place.open("r1")
    (place.trouble / "x").touch()
    with pytest.raises(StageFailed, match="bad member x") as caught:
        place.go("r1", "source", "member@x")
    assert caught.value.exit_code == 65
    failed = place.store.manifests("w", "r1")["member@x"]
    assert (failed.status, failed.error, failed.exit_code) == ("failed", "bad member x", 65)
    assert failed.summary == {"failed": 7}
    with pytest.raises(IntegrityError, match=r"join: upstream not finished in run r1: member@x, member@y"):
        place.go("r1", "join")
    partial = place.go("r1", "last")[0]
    assert partial.status == "partial"
    assert place.store.page("w", "r1", "last", "seen.txt") == b"False"
    (place.trouble / "x").unlink()
    assert place.go("r1", "member@x")[0].status == "done"
    assert place.store.manifests("w", "r1")["member@x"].status == "done"


def test_what_a_later_stage_refused_as_bad_data_is_fetched_anew(place: Place) -> None:
    place.open("r1")
    (place.trouble / "x").touch()
    with pytest.raises(StageFailed, match="bad member x"):
        place.go("r1", "source", "member@x")
    # Cleared in the same run, and in another run.
    assert place.go("r1", "source")[0].reason == "runs: member@x of run r1 refused its data"
    place.open("r2")
    assert place.go("r2", "source")[0].reason == "runs: member@x of run r1 refused its data"
    (place.trouble / "x").unlink()
    assert place.go("r2", "member@x")[0].status == "done"
    assert run_stage(place.settings, "w", "r2", "source").already
    place.open("r3")
    assert place.go("r3", "source")[0].status == "reused"


def test_a_killed_stage_leaves_nothing_and_can_be_started_again(place: Place) -> None:
    place.open("r1")
    place.go("r1", "source")
    (place.trouble / "hang").touch()
    code = "import sys; from tasks.pipeline.handover.run_stage import run_stage; "
    code += "from tasks.core.settings import Settings; "
    code += "run_stage(Settings(), 'w', 'r1', 'member@x')"
    environment = {**os.environ, **place.settings.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, start_new_session=True)
    time.sleep(4)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert place.store.manifest("w", "r1", "member@x") is None
    (place.trouble / "hang").unlink()
    assert place.go("r1", "member@x")[0].status == "done"


def alone(place: Place, temporary: Path, *, size: int | None = None) -> "subprocess.Popen[str]":
    """A stage by the program itself, as a container has it; no file may have more than `size` bytes."""
    temporary.mkdir()
    environment = {
        **os.environ,
        **place.settings.environment(),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TMPDIR": str(temporary),
    }
    command = [sys.executable, "-m", "tasks", "run-stage", "member@x", "--workload", "w", "--run-id", "r1"]
    process = subprocess.Popen(command, cwd=temporary, env=environment, stderr=subprocess.PIPE, text=True)
    if size is not None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))
    return process


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")
def test_a_stage_that_is_ended_alone_leaves_nothing(place: Place, tmp_path: Path) -> None:
    place.open("r1")
    place.go("r1", "source")
    (place.trouble / "hang").touch()
    temporary = tmp_path / "tmp"
    process = alone(place, temporary)
    end = time.monotonic() + 60
    while not (place.trouble / "hanging").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert list(temporary.glob("nightstill-*"))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert list(temporary.iterdir()) == []
    assert below(place.settings.home) == []


def test_a_stage_on_a_full_disk_leaves_no_part_of_a_file(place: Place, tmp_path: Path) -> None:
    place.open("r1", members={"x": "x" * 100_000, "y": 2})
    place.go("r1", "source")
    process = alone(place, tmp_path / "tmp", size=50_000)
    _, said = process.communicate(timeout=120)
    assert process.returncode, said
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")] == []
    assert place.store.manifest("w", "r1", "member@x") is None


def test_lost_and_tampered_things_are_noticed(place: Place) -> None:
    place.open("r1")
    source, member = place.go("r1", "source", "member@x")
    lock_path = Path(place.settings.run_store) / "runs" / "w" / "r1" / "source.lock"
    whole = lock_path.read_text()
    lock_path.write_text(whole.replace("artifacts", "artefacts"))
    with pytest.raises(IntegrityError, match=r"source\.lock: not the lock that its manifest names"):
        place.go("r1", "member@y")
    lock_path.write_text(whole)
    digest = place.store.lock(member)["outs"][0]["md5"]
    (Path(place.settings.dvc_remote) / "files" / "md5" / digest[:2] / digest[2:]).unlink()
    place.open("r2")
    place.go("r2", "source")
    assert place.go("r2", "member@x")[0].reason == "runs: artifacts/members/x of run r1 is gone from the remote"
    assert source.finished


def test_unknown_runs_and_stages_are_named(place: Place) -> None:
    with pytest.raises(UsageError, match="no run 'r9' of w"):
        place.go("r9", "source")
    place.open("r1")
    with pytest.raises(UsageError, match=r"no stage 'nope' in dvc\.yaml; there are: source, member@x"):
        place.go("r1", "nope")


def test_a_lock_foretold_is_the_lock_that_plain_dvc_writes(place: Place, tmp_path: Path) -> None:
    place.open("r1")
    manifests = place.go("r1", *ALL)
    laptop = place.project
    (laptop / "run.yaml").write_text(place.store.run_yaml("w", "r1"))
    environment = {
        **os.environ,
        "NIGHTSTILL_PAGES": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for command in (["init", "--no-scm", "-q"], ["repro", "-q"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=laptop, env=environment, check=True)
    theirs = yaml.safe_load((laptop / "dvc.lock").read_text())["stages"]
    assert theirs == {manifest.stage: place.store.lock(manifest) for manifest in manifests}
    assert set(load_graph(PIPELINE, {"members": {"x": 1, "y": 2}}).stages) == set(theirs)


def test_a_further_machine_runs_the_command_and_writes_nothing(place: Place) -> None:
    place.open("r1")
    place.go("r1", "source")
    before = sorted(place.store.store.keys(""))
    assert assist_stage(place.settings, "w", "r1", "member@x")
    (place.trouble / "x").touch()
    with pytest.raises(StageFailed, match="bad member x"):
        assist_stage(place.settings, "w", "r1", "member@x")
    assert sorted(place.store.store.keys("")) == before, "it told of itself"
    with pytest.raises(IntegrityError, match="upstream not finished"):
        assist_stage(place.settings, "w", "r1", "join")


def test_a_further_machine_has_nothing_to_do_where_the_first_has_not(place: Place) -> None:
    place.open("r1")
    place.go("r1", "source", "member@x")
    assert not assist_stage(place.settings, "w", "r1", "member@x"), "finished before"
    place.open("r2")
    place.go("r2", "source")
    assert not assist_stage(place.settings, "w", "r2", "member@x"), "reused"
    place.open("r3", force=True)
    place.go("r3", "source")
    assert assist_stage(place.settings, "w", "r3", "member@x")


def test_a_machine_knows_its_place_among_others_or_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PET_NODE_RANK", raising=False)
    monkeypatch.delenv("NIGHTSTILL_NODES", raising=False)
    assert not assists()
    monkeypatch.setenv("NIGHTSTILL_NODES", "2")
    with pytest.raises(ConfigError, match=r"tells no machine its place .*mlPolicy\.torch"):
        assists()
    for place in range(2):
        monkeypatch.setenv("PET_NODE_RANK", str(place))
        assert assists() == bool(place)
