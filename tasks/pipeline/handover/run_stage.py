"""This module runs one stage of one run, wherever this process happens to be: the same steps for every runner.

Upstream locks come from the run store, data from the DVC remote; results go back there. A stage whose inputs equal a
former run's is not run again. A killed attempt's leftovers are never taken for a result.
"""

import contextlib
import json
import logging
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import psutil

from tasks.core.documents import read_yaml
from tasks.core.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    NightstillError,
    StageFailed,
    UnavailableError,
    UsageError,
)
from tasks.core.files import RUN_FILE
from tasks.core.settings import Settings
from tasks.core.storage import open_store
from tasks.pipeline.graph import Graph, Stage, covers, load_graph
from tasks.pipeline.handover import datasets, lineage
from tasks.pipeline.handover.energy import Meter
from tasks.pipeline.handover.locks import (
    Lock,
    StageInputs,
    check_lock,
    differences,
    foretell,
    from_lock,
    output_entries,
    outputs,
)
from tasks.pipeline.handover.machine import describe_machine
from tasks.pipeline.handover.manifest import Manifest, Status
from tasks.pipeline.handover.run_store import DataRemote, RunStore
from tasks.pipeline.handover.surroundings import NODES
from tasks.pipeline.handover.workspace import LOCK_FILE, PIPELINE_FILE, read_lock, workspace, write_lock_file

log = logging.getLogger(__name__)

ERROR_FILE = "error.json"
SURROUNDINGS = "surroundings.json"
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """An outcome holds the manifest of a `run_stage`, and whether it was there before."""

    manifest: Manifest
    already: bool


def run_stage(settings: Settings, workload: str, run_id: str, stage: str) -> Outcome:
    """Bring one stage of an open run to its end.

    Raises UsageError on an unknown run or stage, IntegrityError when an upstream stage has not finished in this run,
    StageFailed with the command's own exit code and message, UnavailableError when a store does not answer.
    """
    attempt = _Attempt(settings, RunStore(settings.runs()), workload, run_id, stage)
    try:
        return attempt.run()
    except NightstillError as error:
        attempt.record_failure(str(error), error.exit_code)
        raise
    except Exception as error:
        attempt.record_failure(f"{type(error).__name__}: {error}", 70)
        raise


def assists() -> bool:
    """Return whether this machine is a further one of a TrainJob: Kubeflow's Trainer numbers its nodes from 0 on.

    Raises ConfigError when there are others, but nobody numbers them: each would train and write the whole.
    """
    nodes, place = os.environ.get(NODES, "1"), os.environ.get("PET_NODE_RANK")
    if place is None and nodes != "1":
        raise ConfigError(
            f"{NODES} is {nodes}, but the Trainer's runtime tells no machine its place (PET_NODE_RANK); name a runtime "
            "with mlPolicy.torch in NIGHTSTILL_KUBERNETES_TRAIN_RUNTIME"
        )
    return int(place or 0) > 0


def assist_stage(settings: Settings, workload: str, run_id: str, stage: str) -> bool:
    """Run a stage's command on a further machine of its training, and write nothing: the first machine's is the stage.

    Returns False where there is nothing to do: it finished before, or is reused. Raises as `run_stage`.
    """
    return _Attempt(settings, RunStore(settings.runs()), workload, run_id, stage).assist()


@contextlib.contextmanager
def commands_end_with_it() -> Iterator[None]:
    """End what this process started, and what that started, where it is left early: DVC lets its command run on."""
    try:
        yield
    except BaseException:
        running = psutil.Process().children(recursive=True)
        for end in (psutil.Process.terminate, psutil.Process.kill):
            for process in running:
                with contextlib.suppress(psutil.Error):
                    end(process)
            _, running = psutil.wait_procs(running, timeout=GRACE_SECONDS)
        raise


def _mute(record: logging.LogRecord) -> bool:
    return record.levelno > logging.WARNING


class _Attempt:
    """An attempt runs one stage once."""

    def __init__(self, settings: Settings, store: RunStore, workload: str, run_id: str, name: str) -> None:
        self.settings, self.store = settings, store
        self.workload, self.run_id, self.name = workload, run_id, name
        self.remote = DataRemote(open_store(settings.dvc_remote))
        self.started = datetime.now(UTC)
        self.clock = time.monotonic()
        self.meter = Meter()
        self.inputs_key = ""
        self.pages_uri = ""
        self.summary: dict[str, Any] = {}
        self.lineage: lineage.Lineage | None = None

    @cached_property
    def run_yaml(self) -> str:
        return self.store.run_yaml(self.workload, self.run_id)

    @cached_property
    def info(self) -> dict[str, Any]:
        return self.store.run_info(self.workload, self.run_id)

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        data: Mapping[str, Any] = read_yaml(self.run_yaml)
        return data

    @cached_property
    def graph(self) -> Graph:
        return load_graph((self.settings.project / PIPELINE_FILE).read_text(), self.parameters)

    @cached_property
    def stage(self) -> Stage:
        if self.name not in self.graph.stages:
            raise UsageError(f"no stage {self.name!r} in dvc.yaml; there are: {', '.join(self.graph.stages)}")
        return self.graph.stages[self.name]

    @cached_property
    def locks(self) -> dict[str, Lock]:
        """Return the locks of all ancestors that finished in this run."""
        return {name: self.store.lock(manifest) for name, manifest in self.ancestors.items()}

    @cached_property
    def ancestors(self) -> dict[str, Manifest]:
        """Return the manifests of all ancestors that finished in this run."""
        found = {}
        for name in self.graph.ancestors(self.name):
            manifest = self.store.manifest(self.workload, self.run_id, name)
            if manifest and manifest.finished:
                if (manifest.workload, manifest.run_id, manifest.stage) != (self.workload, self.run_id, name):
                    raise IntegrityError(
                        f"{name}: its manifest belongs to run {manifest.run_id} of {manifest.workload}"
                    )
                found[name] = manifest
        return found

    def run(self) -> Outcome:
        missing = [name for name in self.stage.upstream if name not in self.locks]
        if missing and not self.stage.runs_always:
            raise IntegrityError(f"{self.name}: upstream not finished in run {self.run_id}: {', '.join(missing)}")
        if missing:
            return self.run_partial(missing)
        inputs = self.foretell()
        if before := self.finished(inputs):
            log.info("%s: finished before in this run (%s); nothing to do", self.name, before.status)
            return Outcome(before, already=True)
        reason, former = self.decide(inputs)
        log.info("%s: %s", self.name, reason)
        self.tell_start()
        return Outcome(self.reuse(former, reason) if former else self.execute(inputs, reason), already=False)

    def assist(self) -> bool:
        """Do what the first machine's attempt finds to do: both decide by the same locks and run store."""
        if missing := [name for name in self.stage.upstream if name not in self.locks]:
            raise IntegrityError(f"{self.name}: upstream not finished in run {self.run_id}: {', '.join(missing)}")
        inputs = self.foretell()
        if self.finished(inputs) or self.decide(inputs)[1]:
            return False
        with self.prepared() as (_, pages):
            if subprocess.run(self.stage.cmd, shell=True, check=False).returncode:  # noqa: S602 as DVC
                raise self.command_error(pages)
        return True

    def finished(self, inputs: StageInputs) -> Manifest | None:
        """Return this run's own manifest of the stage, if it came from these inputs and its data are there."""
        self.inputs_key = inputs.key
        before = self.store.manifest(self.workload, self.run_id, self.name)
        right = before and before.finished and before.inputs_key == inputs.key and not self.flaw(before)
        return before if right else None

    def foretell(self) -> StageInputs:
        try:
            return foretell(
                self.stage,
                self.graph,
                self.locks,
                {RUN_FILE: self.parameters},
                self.settings.project,
                self.remote.tree,
            )
        except KeyError as error:
            digest = str(error.args[0])
            culprits = ", ".join(name for name in self.stage.upstream if self.remote.missing(self.locks[name]))
            raise self.gone(culprits, digest) from None

    def gone(self, upstream: str, digest: str) -> IntegrityError:
        """Return the error for an upstream stage's data that are gone."""
        return IntegrityError(
            f"{self.name}: data of {upstream} ({digest}) is gone from {self.settings.dvc_remote}; "
            "run it again with force"
        )

    def flaw(self, finished: Manifest) -> str:
        """Return why this result of the stage cannot be used, empty if it can."""
        if lost := self.remote.missing(self.store.lock(finished)):
            return f"{', '.join(lost)} of run {finished.run_id} is gone from the remote"
        for reader in self.graph.stages.values():
            if self.name in reader.upstream:
                failed = self.store.failure(self.workload, finished.run_id, reader.name)
                # Once the data are mended they must be fetched anew.
                if failed and failed.exit_code == DataError.exit_code:
                    return f"{reader.name} of run {finished.run_id} refused its data"
        return ""

    def decide(self, inputs: StageInputs) -> tuple[str, Manifest | None]:
        """Return why the stage runs or is reused, and the former run's manifest if it is reused."""
        if self.info["force"]:
            return "runs: forced", None
        if self.stage.always_changed:
            return "runs: every night by definition", None
        former = self.store.former(self.workload, self.name, inputs.key)
        if former and former.finished:
            if flaw := self.flaw(former):
                return f"runs: {flaw}", None
            origin = former.reused_from or former.run_id
            return f"reused from run {origin}: command, code, libraries, params and data are the same", former
        latest = self.store.former(self.workload, self.name, "latest")
        if latest is None:
            return "runs: first time", None
        produced = {dep for dep in self.stage.deps if dep.startswith("artifacts/")}
        return "runs: " + "; ".join(differences(from_lock(self.store.lock(latest)), inputs, produced)), None

    def reuse(self, former: Manifest, reason: str) -> Manifest:
        manifest = self.manifest("reused", reason, summary=former.summary).model_copy(
            update={
                "reused_from": former.reused_from or former.run_id,
                "pages_uri": former.pages_uri,
                "surroundings": former.surroundings,
            }
        )
        return self.finish(manifest, self.store.lock(former))

    def execute(self, inputs: StageInputs, reason: str) -> Manifest:
        with self.prepared() as (root, pages):
            try:
                self.dvc("repro", "--single-item", "--no-run-cache", self.name)
            except UnavailableError:
                raise self.command_error(pages) from None
            finally:
                summary = self.keep(pages)
            lock = read_lock(root / LOCK_FILE, self.stage)
            check_lock(lock, inputs, self.name)
            if self.stage.outs:
                self.dvc("push", "--no-run-cache", self.name)
        return self.finish(self.manifest("done", reason, summary=summary), lock)

    def run_partial(self, missing: list[str]) -> Outcome:
        """Run the command with the inputs that there are: the page of a run that stopped early."""
        reason = f"runs without {', '.join(missing)}"
        self.tell_start()
        with self.prepared() as (_, pages):
            code = subprocess.run(self.stage.cmd, shell=True, check=False).returncode  # noqa: S602 as DVC
            summary = self.keep(pages)
            if code:
                raise self.command_error(pages)
        return Outcome(self.finish(self.manifest("partial", reason, summary=summary), None), already=False)

    @contextlib.contextmanager
    def prepared(self) -> Iterator[tuple[Path, Path]]:
        """Make a workspace with the upstream outputs, as the working folder, and its folder for pages."""
        with workspace(self.settings.project, self.graph, self.run_yaml, self.settings.dvc_remote) as root:
            pages = root / "pages"
            pages.mkdir()
            self.write_surroundings(root)
            with self.surroundings(root, pages), commands_end_with_it():
                self.fetch(root)
                yield root, pages

    @contextlib.contextmanager
    def surroundings(self, root: Path, pages: Path) -> Iterator[None]:
        """Set the working folder and environment in which DVC and the stage's command run."""
        here, saved = Path.cwd(), dict(os.environ)
        os.environ.update(
            self.settings.environment(),
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            PYTHONPATH=str(root),
            PYTHONHASHSEED="0",
            NIGHTSTILL_PAGES=str(pages),
            NIGHTSTILL_RUN_ID=self.run_id,
            NIGHTSTILL_GIT_COMMIT=self.info["git_commit"],
            NIGHTSTILL_CHECKPOINTS=self.checkpoints(),
        )
        os.chdir(root)
        try:
            yield
        finally:
            os.chdir(here)
            os.environ.clear()
            os.environ.update(saved)

    def write_surroundings(self, root: Path) -> None:
        """Write the machines of the upstream outputs, for the release; a retry of this stage writes the same."""
        facts = {name: manifest.surroundings for name, manifest in self.ancestors.items()}
        document = {"git_commit": self.info["git_commit"], "stages": facts}
        (root / SURROUNDINGS).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")

    def fetch(self, root: Path) -> None:
        """Bring the outputs of the upstream stages, as far as they finished, and all locks into the workspace.

        DVC reads dvc.yaml and dvc.lock anew for every target that it is given (a second for each on a large lock), so
        it gets none, and a lock that holds nothing but the wanted outputs; of other stages it finds nothing to fetch.
        """
        if wanted := {name: self.locks[name] for name in self.stage.upstream if name in self.locks}:
            write_lock_file(root / LOCK_FILE, wanted)
            checkout = logging.getLogger("dvc_data.index.checkout")  # warns of every output that is not wanted
            checkout.addFilter(_mute)
            try:
                self.dvc("pull", "--no-run-cache", "--allow-missing")
            except UnavailableError:
                self.check_remote(wanted)
                raise
            finally:
                checkout.removeFilter(_mute)
            if not all((root / path).exists() for lock in wanted.values() for path in outputs(lock)):
                self.check_remote(wanted)
        if self.locks:
            write_lock_file(root / LOCK_FILE, self.locks)

    def check_remote(self, wanted: Mapping[str, Lock]) -> None:
        """Name the stage and digest of data that a remote has lost: DVC's own error does not."""
        for name, lock in wanted.items():
            for digest in self.remote.lost(lock):
                raise self.gone(name, digest)

    def checkpoints(self) -> str:
        key = f"checkpoints/{self.workload}/{self.name}/{self.inputs_key}"
        return self.store.store.url(key) if self.inputs_key else ""

    def dvc(self, *arguments: str) -> None:
        """Run one DVC command in this process (a process of its own would cost another second each)."""
        from dvc.cli import main

        logging.getLogger("dvc").propagate = False  # it has handlers of its own
        try:
            code = main(list(arguments))
        finally:
            logging.getLogger("tasks").disabled = False
        if code:
            raise UnavailableError(
                f"{self.name}: dvc {' '.join(arguments)} failed with exit code {code}; see the lines above"
            )

    def tell_start(self) -> None:
        """Tell a collector of lineage, if there is one, what this attempt reads."""
        self.lineage = lineage.begin(lineage.Attempt(self.workload, self.run_id, self.name), self.read)

    def read(self) -> list[datasets.Dataset]:
        """Return what this attempt reads: outputs of other stages, and the workload's source."""
        entries = {
            path: entry
            for name in self.stage.upstream
            for path, entry in output_entries(self.locks.get(name, {})).items()
            if any(covers(dep, path) for dep in self.stage.deps)
        }
        inputs = datasets.of_entries(self.workload, entries, self.settings.dvc_remote)
        if (RUN_FILE, "source") in self.stage.params:
            inputs += datasets.of_source(self.parameters["source"], self.workload)
        return inputs

    def finish(self, manifest: Manifest, lock: Lock | None) -> Manifest:
        """Write lock and manifest, then tell what was written."""
        manifest = self.store.finish(manifest, lock)
        if self.lineage:
            outputs = datasets.of_entries(self.workload, output_entries(lock or {}), self.settings.dvc_remote)
            self.lineage.end("COMPLETE", outputs, night=self.night_ended())
        return manifest

    def night_ended(self) -> Literal["COMPLETE", "FAIL"] | None:
        """Return how the night ended, by the stage that comes after all others; None of another stage."""
        if not self.stage.runs_always:
            return None
        return "COMPLETE" if self.ancestors.keys() == set(self.graph.ancestors(self.name)) else "FAIL"

    def command_error(self, pages: Path) -> NightstillError:
        """Return the stage's own account of its failure, if it could still give one."""
        path = pages / ERROR_FILE
        if path.is_file():
            told = json.loads(path.read_text())
            return StageFailed(told["error"], told["exit_code"])
        return StageFailed(
            f"{self.name}: its command ended without a word (killed, out of memory?) or left out an output; "
            "see the lines above",
            75,
        )

    def keep(self, pages: Path) -> dict[str, Any]:
        """Save the stage's pages; returns the numbers that the stage gave for its manifest."""
        path = pages / f"{self.name}.summary.json"
        summary: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        path.unlink(missing_ok=True)
        self.summary = summary
        self.pages_uri = self.store.save_pages(self.workload, self.run_id, self.name, pages)
        return summary

    def manifest(self, status: Status, reason: str, *, summary: Mapping[str, Any] | None = None) -> Manifest:
        energy = self.meter.read()
        return Manifest(
            stage=self.name,
            workload=self.workload,
            run_id=self.run_id,
            status=status,
            reason=reason,
            inputs_key=self.inputs_key,
            started=self.started.isoformat(timespec="seconds"),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self.clock, 2),
            peak_memory_mb=round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1),
            cpu_seconds=energy.cpu_seconds,
            joules=energy.joules,
            energy=energy.how,
            host=socket.gethostname(),
            pages_uri=self.pages_uri,
            summary=dict(summary or {}),
            surroundings=describe_machine(),
        )

    def record_failure(self, error: str, exit_code: int) -> None:
        """Record the failure at best effort: the caller must get the failure itself in every case."""
        with contextlib.suppress(Exception):
            if self.store.is_open(self.workload, self.run_id):
                failed = self.manifest("failed", "", summary=self.summary).model_copy(
                    update={"error": error, "exit_code": exit_code}
                )
                self.store.fail(failed)
        if self.lineage:
            self.lineage.end("FAIL", error=error, night="FAIL" if self.stage.runs_always else None)
