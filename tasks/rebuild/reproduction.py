"""This module rebuilds a release in fresh workspaces from its own lock, parameters and code, and compares the result.

Data come from the DVC remote by the digests of the lock; stages run through the hand-over as in a night, but with a run
store and a remote of their own, so nothing former is reused and nothing is published.
"""

import io
import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from tasks.config.plugins import installed
from tasks.config.run import Run, parse_run
from tasks.core.documents import read_yaml
from tasks.core.errors import ConfigError, IntegrityError, UsageError
from tasks.core.settings import Settings
from tasks.core.storage import open_store
from tasks.pipeline.graph import CANDIDATES, Graph, load_graph
from tasks.pipeline.handover.locks import Lock, differences, from_lock, outputs
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.handover.plugins import named
from tasks.pipeline.handover.run_store import DataRemote, RunStore
from tasks.pipeline.handover.workspace import PIPELINE_FILE
from tasks.pipeline.resources import side_by_side
from tasks.planning.run_all import Observer, run_graph
from tasks.releases.ledger import Entry
from tasks.releases.manifest import sha256
from tasks.releases.origin import (
    CODE,
    LOCK,
    SURROUNDINGS,
    changed_files,
    code_dependencies,
    code_digests,
    lock_stages,
)
from tasks.releases.store import MODEL, ReleaseStore

RUN_ID = "reproduce"
PUBLISHING = ("promote", "report")
FILES_SHOWN = 6
_CODE_KEY = re.compile(r"\$\{\s*code\.(\w+)")

Status = Literal["equal", "differs", "failed", "not rebuilt", "pulled"]


@dataclass(frozen=True)
class Output:
    """An output of a stage has DVC's digests, None for a missing one. `files`: which differ, within a folder."""

    path: str
    released: str | None
    rebuilt: str | None
    files: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Return whether it is the same, byte for byte."""
        return self.released == self.rebuilt


@dataclass(frozen=True)
class StageResult:
    """A stage result tells how a stage ended. `why`: what differs in its inputs, or else in its surroundings.

    `pulled`: data of the release, which are taken and not rebuilt.
    """

    stage: str
    status: Status
    outputs: tuple[Output, ...]
    why: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Reproduction:
    """A reproduction holds a release and the outputs that were rebuilt from its lock.

    `code`: whose code it was. `surroundings`: how libraries, processor and threads differ, whether or not that changed
    anything. `model`: SHA-256, None for no model.
    """

    workload: str
    release: int
    code: str
    surroundings: tuple[str, ...]
    stages: tuple[StageResult, ...]
    released_model: str
    model: str | None

    @property
    def equal(self) -> bool:
        """Return whether every output of every stage is the same, byte for byte, the released model among them."""
        return self.model == self.released_model and all(found.status in ("equal", "pulled") for found in self.stages)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return the root differences: without the data that differ only because an earlier stage's do."""
        return tuple(
            dict.fromkeys(line for found in self.stages for line in found.why if not line.startswith("data artifacts/"))
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"equal": self.equal, "reasons": list(self.reasons), **asdict(self)}


@contextmanager
def prepare(settings: Settings, releases: ReleaseStore, entry: Entry, out: Path | None = None) -> Iterator["Rebuild"]:
    """Prepare the rebuild of an entry's release, below `out`, or in a folder that is removed.

    Raises UsageError when the release has no lock, or `out` is in use; IntegrityError when its data are gone.
    """
    if out is not None:
        if out.exists() and any(out.iterdir()):
            raise UsageError(f"{out}: is not empty; name a folder that is")
        out.mkdir(parents=True, exist_ok=True)
        yield Rebuild(settings, releases, entry, out.absolute())
        return
    with tempfile.TemporaryDirectory(prefix="nightstill-reproduce-", ignore_cleanup_errors=True) as folder:
        yield Rebuild(settings, releases, entry, Path(folder))


class Rebuild:
    """This is a release about to be rebuilt. `about`: whose code; `stages`: what will run, upstream ones first."""

    def __init__(self, settings: Settings, releases: ReleaseStore, entry: Entry, folder: Path) -> None:
        self.releases, self.entry = releases, entry
        listed = releases.files(entry)
        if LOCK not in listed:
            raise UsageError(
                f"{releases.workload} release {entry.release}: has no {LOCK}, so nobody knows what it was made from"
            )
        self.lock = releases.read(entry, LOCK)
        self.released: Mapping[str, Lock] = {
            name: lock for name, lock in lock_stages(self.lock).items() if name not in PUBLISHING
        }
        known = json.loads(releases.read(entry, SURROUNDINGS)) if SURROUNDINGS in listed else {}
        self.surroundings: Mapping[str, Any] = known.get("stages", {})
        commit = known.get("git_commit", "")
        project, self.about = _code(settings.project, commit, folder / "code")
        text = releases.read(entry, "run.yaml").decode()
        self.run_yaml = _with_plugins(text, (project / PIPELINE_FILE).read_text())
        self.changed = (
            changed_files(json.loads(releases.read(entry, CODE)), json.loads(code_digests(project, self.lock)))
            if CODE in listed
            else []
        )
        self.settings = Settings(
            home=folder / "home",
            project=project,
            run_store=str(folder / "store"),
            dvc_remote=str(folder / "remote"),
            release_store=settings.release_store,
            tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
            signing_key="",
            trusted_keys=settings.trusted_keys,
        )
        self.store = RunStore(self.settings.runs())
        self.origin, self.remote = (DataRemote(open_store(one.dvc_remote)) for one in (settings, self.settings))
        info = {"run_id": RUN_ID, "workload": releases.workload, "force": True, "git_commit": commit, "created": ""}
        self.store.open_run(releases.workload, RUN_ID, self.run_yaml, info)
        for name in self.pulled:
            self._pull(name, settings.dvc_remote)

    @cached_property
    def graph(self) -> Graph:
        """Return the pipeline of the code that runs, under the release's parameters."""
        return load_graph((self.settings.project / PIPELINE_FILE).read_text(), read_yaml(self.run_yaml))

    @property
    def pulled(self) -> list[str]:
        """Return the stages that read nothing but the source: their data are the release's."""
        return [name for name, stage in self.graph.stages.items() if not stage.upstream and name in self.released]

    @cached_property
    def stages(self) -> list[str]:
        """Return the stages that have to run for all that the lock names."""
        known = [name for name in self.released if name in self.graph.stages]
        wanted = {*known, *(parent for name in known for parent in self.graph.ancestors(name))} - set(self.pulled)
        return [name for name in self.graph.stages if name in wanted]

    def run(self, *, jobs: int = 2, observe: Observer = lambda *_: None) -> Reproduction:
        """Rebuild all stages, even if some fail, and compare."""
        part = Graph({name: self.graph.stages[name] for name in self.stages})
        fitting = stages_at_once(read_yaml(self.run_yaml), jobs)
        run_graph(self.settings, part, self.releases.workload, RUN_ID, jobs=fitting, observe=observe)
        manifests = self.store.manifests(self.releases.workload, RUN_ID)
        order = [*self.pulled, *self.stages, *(name for name in self.released if name not in self.graph.stages)]
        return Reproduction(
            workload=self.releases.workload,
            release=self.entry.release,
            code=self.about,
            surroundings=tuple(dict.fromkeys(line for one in manifests.values() for line in self._elsewhere(one))),
            stages=tuple(self._compare(name, manifests.get(name)) for name in order),
            released_model=self.entry.model_sha256,
            model=self._model(manifests),
        )

    def _pull(self, name: str, remote: str) -> None:
        """Take the data of a stage from the release."""
        lock = self.released[name]
        try:
            self.origin.copy(lock, self.remote)
        except KeyError as error:
            raise IntegrityError(
                f"{self.releases.workload} release {self.entry.release}: data of {name} ({error.args[0]}) are gone "
                f"from {remote}; it cannot be rebuilt without them"
            ) from None
        manifest = Manifest(
            stage=name,
            workload=self.releases.workload,
            run_id=RUN_ID,
            status="reused",
            reason="data of the release",
            inputs_key=from_lock(lock).key,
        )
        self.store.finish(manifest, lock)

    def _compare(self, name: str, manifest: Manifest | None) -> StageResult:
        lock = self.released.get(name)
        before = outputs(lock) if lock else {}
        if manifest is None or not manifest.finished:
            status: Status = "failed" if manifest else "not rebuilt"
            missing = "a stage before it failed" if name in self.graph.stages else f"{PIPELINE_FILE} has no such stage"
            rows = tuple(Output(path, digest, None) for path, digest in before.items())
            return StageResult(name, status, rows, (f"{name}: {manifest.error if manifest else missing}",))
        found = self.store.lock(manifest)
        now = outputs(found)
        rows = tuple(self._output(path, before.get(path), now.get(path)) for path in dict.fromkeys((*before, *now)))
        equal = all(row.equal for row in rows)
        if name in self.pulled:
            return StageResult(name, "pulled", rows)
        why = self._inputs(name, lock, found)
        if not equal and not why:
            why = self._elsewhere(manifest) or [self._chance(name)]
        return StageResult(name, "equal" if equal else "differs", rows, tuple(why), manifest.seconds)

    def _inputs(self, name: str, lock: Lock | None, found: Lock) -> list[str]:
        """Return the differences in a stage's inputs, with the files where the release lists them."""
        if lock is None:
            return [f"{name}: is not part of the release's lock"]
        code = code_dependencies(self.lock)
        before, now = from_lock(lock), from_lock(found)
        lines = differences(before, now, {*before.deps, *now.deps} - set(code))
        return [f"{line}{self._files(line)}" for line in lines]

    def _files(self, line: str) -> str:
        if not line.startswith("code "):
            return ""
        path = line.split(" ")[1]
        mine = [file for file in self.changed if file.split(" ")[0] == path or file.startswith(f"{path}/")]
        mine = [file for file in mine if file.split(" ")[0] != path]
        more = f" and {len(mine) - FILES_SHOWN} more" if len(mine) > FILES_SHOWN else ""
        return f": {'; '.join(mine[:FILES_SHOWN])}{more}" if mine else ""

    def _elsewhere(self, manifest: Manifest) -> list[str]:
        """Return how a stage's surroundings differ from the ones that the release names for it."""
        before, now = self.surroundings.get(manifest.stage, {}), manifest.surroundings
        if not before or not now:
            return []
        old, new = before.get("libraries", {}), now.get("libraries", {})
        libraries = [
            f"library {name}: {old.get(name)} -> {new.get(name)}"
            for name in sorted({*old, *new})
            if old.get(name) != new.get(name)
        ]
        return libraries + [
            f"{field}: {before.get(field)} -> {now.get(field)}"
            for field in dict.fromkeys((*before, *now))
            if field != "libraries" and before.get(field) != now.get(field)
        ]

    def _chance(self, name: str) -> str:
        """Explain other outputs of equal inputs, in surroundings that are not known to differ."""
        if self.surroundings.get(name):
            return f"{name}: equal inputs on an equal machine made other outputs: it depends on chance"
        return f"{name}: equal inputs made other outputs; the release does not say what machine it was made on"

    def _output(self, path: str, before: str | None, now: str | None) -> Output:
        files: tuple[str, ...] = ()
        if before and now and before != now and before.endswith(".dir") and now.endswith(".dir"):
            try:
                old, new = (
                    {file["relpath"]: file["md5"] for file in remote.tree(digest)}
                    for remote, digest in ((self.origin, before), (self.remote, now))
                )
                files = tuple(sorted(file for file in {*old, *new} if old.get(file) != new.get(file)))
            except KeyError:  # the release's list of files is gone, its digest is not
                files = ()
        return Output(path, before, now, files)

    def _model(self, manifests: Mapping[str, Manifest]) -> str | None:
        """Return SHA-256 of the rebuilt bytes of the candidate that was released."""
        winner = json.loads(self.releases.read(self.entry, "verdict.json"))["winner"]
        code = read_yaml(self.releases.read(self.entry, "run.yaml")).get("code") or {}
        folder = code.get("candidates", CANDIDATES)
        for manifest in manifests.values():
            if manifest.finished:
                try:
                    return sha256(self.remote.read(self.store.lock(manifest), f"{folder}/{winner}/{MODEL}"))
                except KeyError:
                    continue
        return None


def stages_at_once(run: Mapping[str, Any], jobs: int) -> int:
    """Return how many of `jobs` stages of a run.yaml may run at once: each thread of their processes has a core."""
    networks = [*(run.get("teachers") or {}).values(), *(run.get("students") or {}).values()]
    processes = max((each.get("processes", 1) * each.get("nodes", 1) for each in networks), default=1)
    return side_by_side(jobs, run.get("threads", 1), processes)


def _with_plugins(text: str, pipeline: str) -> str:
    """Return a release's run.yaml with the plugins that are installed here, with which it will be rebuilt.

    One that was written before there were plugins gets what the dvc.yaml of its code (`pipeline`) tracks, if it does.
    Of `code` it gets what that dvc.yaml reaches by variables and no more: its code refuses a key unknown to it.
    """
    data = read_yaml(text)
    if "plugins" not in data and "plugins." not in pipeline:
        return text
    run = parse_run(text, "run.yaml of the release")
    run = Run(**{**dict(run), "plugins": installed(run)})
    parts = run.model_dump(mode="json", include={"plugins": True, "code": set(_CODE_KEY.findall(pipeline))})
    if missing := set(named(data.get("plugins"))) - set(named(parts["plugins"])):
        raise ConfigError(
            f"plugin {', '.join(sorted(missing))}: the release was made with it, and it is not installed here"
        )
    return yaml.safe_dump({**data, **parts}, sort_keys=True, allow_unicode=True)


def _code(project: Path, commit: str, folder: Path) -> tuple[Path, str]:
    """Return the folder with the code to rebuild with, and whose it is: the release's own, if it can be had."""
    here = "the code is this folder's"
    if not re.fullmatch(r"[0-9a-f]{7,64}(-dirty)?", commit):
        return project, f"{here}: the release does not name a commit"
    if commit.endswith("-dirty"):
        return project, f"{here}: the release's differed from commit {commit.removesuffix('-dirty')[:12]}"

    command = ["git", "-C", str(project), "archive", "--format=tar", commit]  # of this folder and what is below it
    try:
        archive = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return project, f"{here}: the release's commit {commit[:12]} is not known here"
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder, f"the code is that of the release's commit {commit[:12]}"
