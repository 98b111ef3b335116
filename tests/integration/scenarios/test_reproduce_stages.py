"""What `reproduce` says of stages that behave or do not: a pipeline of small stages under real DVC, in this process."""

import json
import os
import shutil
from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.core.errors import IntegrityError, UsageError
from tasks.core.settings import Settings
from tasks.core.storage import FolderStore, open_store
from tasks.pipeline.handover.machine import describe_machine
from tasks.pipeline.handover.run_stage import run_stage
from tasks.pipeline.handover.run_store import DataRemote, RunStore
from tasks.pipeline.handover.workspace import lock_file_text
from tasks.planning import run_all
from tasks.rebuild.reproduction import Reproduction, prepare
from tasks.releases.store import ReleaseStore

PIPELINE = """
vars: [run.yaml]
stages:
  source: {cmd: python step.py source, deps: [step.py], params: [{run.yaml: [as_of]}], outs: [artifacts/source]}
  compress:
    foreach: ${recipes}
    do:
      cmd: python step.py compress ${key}
      deps: [step.py, artifacts/source]
      params: [{run.yaml: ["recipes.${key}"]}]
      outs: ["artifacts/candidates/${key}"]
  promote: {cmd: python step.py promote, deps: [artifacts/candidates], outs: [artifacts/promotion]}
"""
STEP = """
import os, pathlib, sys, yaml
run = yaml.safe_load(open("run.yaml"))
kind, name = sys.argv[1], sys.argv[-1]
folder = pathlib.Path("artifacts") / ("source" if kind == "source" else f"candidates/{name}")
folder.mkdir(parents=True)
if kind == "source":
    (folder / "data.txt").write_text(str(run["as_of"]))
else:
    data = pathlib.Path("artifacts/source/data.txt").read_text()
    (folder / "about.json").write_text("{}")
    (folder / "model.onnx").write_text(data + str(run["recipes"][name]) + os.environ.get("WIND", ""))
"""
STAGES = ("source", "compress@a", "compress@b")


class Place:
    """A project, and release 1 of its only night."""

    def __init__(self, root: Path) -> None:
        self.project = root / "project"
        (self.project / "tasks").mkdir(parents=True)
        (self.project / "tasks" / "x.py").write_text("")
        (self.project / "step.py").write_text(STEP)
        (self.project / "dvc.yaml").write_text(PIPELINE)
        self.settings = Settings(home=root / "home", project=self.project)
        self.releases = ReleaseStore(self.settings.releases(), "w")
        store = RunStore(self.settings.runs())
        run = {"as_of": "2026-01-01", "recipes": {"a": 1, "b": 2}}
        info = {"run_id": "r", "force": False, "git_commit": "unknown", "created": "r"}
        store.open_run("w", "r", yaml.safe_dump(run), info)
        locks = {stage: store.lock(run_stage(self.settings, "w", "r", stage).manifest) for stage in STAGES}
        made = describe_machine()
        self.model = b"2026-01-012"
        self.files = {
            "model.onnx": self.model,
            "run.yaml": yaml.safe_dump(run).encode(),
            "dvc.lock": lock_file_text(locks).encode(),
            "verdict.json": b'{"winner": "b"}',
            "surroundings.json": json.dumps({"git_commit": "unknown", "stages": dict.fromkeys(STAGES, made)}).encode(),
        }
        self.digest = locks["source"]["outs"][0]["md5"]

    def release(self, surroundings: bytes | None = None, without: str = "") -> int:
        """The release again, from other surroundings or without one of its files."""
        changes = {} if surroundings is None else {"surroundings.json": surroundings}
        files = {name: data for name, data in (self.files | changes).items() if name != without}
        last = self.releases.champion()
        expected = last.seq if last else 0
        return self.releases.publish(
            files, expected=expected, run_id="r", as_of=date(2026, 1, 1), reason="for a test"
        ).release

    def made_on(self, **changes: Any) -> bytes:
        """surroundings.json of another machine."""
        facts = describe_machine() | changes
        return json.dumps({"git_commit": "unknown", "stages": dict.fromkeys(STAGES, facts)}).encode()

    def reproduce(self, number: int) -> Reproduction:
        with prepare(self.settings, self.releases, self.releases.release(number)) as rebuild:
            return rebuild.run(jobs=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    def start(_: object, settings: Settings, workload: str, run_id: str, stage: str) -> int:
        try:
            run_stage(settings, workload, run_id, stage)
        except Exception:  # noqa: BLE001 the manifest of the failure tells
            return 70
        return 0

    patch = pytest.MonkeyPatch()
    patch.setattr(run_all._Processes, "run", start)
    patch.delenv("NIGHTSTILL_GIT_COMMIT", raising=False)
    yield Place(tmp_path_factory.mktemp("place"))
    patch.undo()


@pytest.fixture
def wind() -> Iterator[None]:
    """What no lock knows of changes the outputs."""
    os.environ["WIND"] = "from the west"
    yield
    del os.environ["WIND"]


def results(found: Reproduction) -> dict[str, str]:
    return {stage.stage: stage.status for stage in found.stages}


def why(found: Reproduction, stage: str) -> tuple[str, ...]:
    return next(one.why for one in found.stages if one.stage == stage)


def test_bit_equal(place: Place) -> None:
    found = place.reproduce(place.release())
    assert found.equal and found.reasons == found.surroundings == ()
    assert found.model == found.released_model == sha256(place.model).hexdigest()
    assert results(found) == {"source": "pulled", "compress@a": "equal", "compress@b": "equal"}
    assert json.loads(json.dumps(found.to_json()))["equal"] is True


def test_equal_bytes_from_another_machine_are_equal_and_the_machine_is_told(place: Place) -> None:
    libraries = describe_machine()["libraries"] | {"numpy": "1.0"}
    facts = place.made_on(processor="Abacus", libraries=libraries, threads={"OMP_NUM_THREADS": "64"})
    found = place.reproduce(place.release(facts))
    assert found.equal
    told = {line.split(":")[0]: line for line in found.surroundings}
    assert told["library numpy"].startswith("library numpy: 1.0 -> ")
    assert told["processor"].startswith("processor: Abacus -> ")
    assert "64" in told["threads"]


def test_other_bytes_from_equal_inputs_are_laid_to_the_machine(place: Place, wind: None) -> None:
    found = place.reproduce(place.release(place.made_on(processor="Abacus")))
    assert not found.equal and found.model != found.released_model
    assert results(found)["compress@b"] == "differs"
    (line,) = why(found, "compress@b")
    assert line.startswith("processor: Abacus -> ")
    (output,) = next(one.outputs for one in found.stages if one.stage == "compress@b")
    assert output.files == ("model.onnx",), "about.json is equal"


def test_other_bytes_on_an_equal_machine_are_chance(place: Place, wind: None) -> None:
    found = place.reproduce(place.release())
    assert why(found, "compress@a") == (
        "compress@a: equal inputs on an equal machine made other outputs: it depends on chance",
    )


def test_a_release_that_does_not_say_what_made_it(place: Place, wind: None) -> None:
    found = place.reproduce(place.release(without="surroundings.json"))
    assert "does not say what machine" in why(found, "compress@a")[0]
    assert found.code == "the code is this folder's: the release does not name a commit"


def test_stages_that_came_and_went(place: Place) -> None:
    pipeline = place.project / "dvc.yaml"
    changed = PIPELINE.replace("source:", "origin:").replace("artifacts/source", "artifacts/origin")
    step = STEP.replace('"source" if', '"origin" if').replace("artifacts/source", "artifacts/origin")
    pipeline.write_text(changed)
    (place.project / "step.py").write_text(step)
    try:
        found = place.reproduce(place.release())
    finally:
        pipeline.write_text(PIPELINE)
        (place.project / "step.py").write_text(STEP)
    assert not found.equal
    assert why(found, "origin") == ("origin: is not part of the release's lock",)
    assert why(found, "source") == ("source: dvc.yaml has no such stage",)
    assert results(found)["source"] == "not rebuilt"
    assert "code step.py changed" in found.reasons


def test_without_a_lock_nothing_can_be_rebuilt(place: Place) -> None:
    with pytest.raises(UsageError, match=r"has no dvc\.lock, so nobody knows what it was made from"):
        place.reproduce(place.release(without="dvc.lock"))


def test_a_folder_in_use_is_left_alone(place: Place, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    entry = place.releases.release(place.release())
    with pytest.raises(UsageError, match="is not empty"), prepare(place.settings, place.releases, entry, tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_changed_data_are_refused(place: Place, tmp_path: Path) -> None:
    entry = place.releases.release(place.release())
    remote = DataRemote(open_store(place.settings.dvc_remote))
    (file,) = remote.tree(place.digest)
    path = Path(place.settings.dvc_remote) / "files" / "md5" / file["md5"][:2] / file["md5"][2:]
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"2026-01-02")
    try:
        with (
            pytest.raises(IntegrityError, match="not the data that its digest names"),
            prepare(place.settings, place.releases, entry, tmp_path),
        ):
            pass
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("inner", [False, True])
def test_data_that_are_gone_are_named(place: Place, tmp_path: Path, inner: bool) -> None:
    (file,) = DataRemote(open_store(place.settings.dvc_remote)).tree(place.digest)
    lost = file["md5"] if inner else place.digest
    remote = tmp_path / "remote"
    shutil.copytree(place.settings.dvc_remote, remote)
    (remote / "files" / "md5" / lost[:2] / lost[2:]).unlink()
    settings = Settings(home=tmp_path, project=place.project, dvc_remote=str(remote))
    number = place.release()
    with (
        pytest.raises(IntegrityError, match=rf"w release {number}: data of source \({lost}\) are gone from {remote}"),
        prepare(settings, place.releases, place.releases.release(number)),
    ):
        pass


def test_what_is_copied_is_all_there_and_what_is_gone_is_named(place: Place, tmp_path: Path) -> None:
    origin, target = DataRemote(open_store(place.settings.dvc_remote)), DataRemote(FolderStore(tmp_path))
    lock = {"outs": [{"path": "artifacts/source", "md5": place.digest}]}
    origin.copy(lock, target)
    assert target.read(lock, "artifacts/source/data.txt") == b"2026-01-01"
    with pytest.raises(KeyError, match="00ff"):
        origin.copy({"outs": [{"path": "x", "md5": "00ff"}]}, target)
