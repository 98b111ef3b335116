"""This module runs a whole run without an orchestrator: the graph's stages as processes, some at a time."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from tasks.config.run import Run
from tasks.core.settings import Settings
from tasks.pipeline.graph import Graph, load_graph
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.handover.run_store import RunStore
from tasks.pipeline.handover.workspace import PIPELINE_FILE

# For a stage to remove its workspace.
GRACE_SECONDS = 10

Observer = Callable[[str, str, Manifest | None], None]


def pipeline(settings: Settings, run: Run) -> Graph:
    """Return the graph of one run."""
    text = (settings.project / PIPELINE_FILE).read_text()
    return load_graph(text, run.model_dump(mode="json"))


def run_all(
    settings: Settings, run: Run, run_id: str, *, jobs: int = 2, observe: Observer = lambda *_: None
) -> dict[str, int]:
    """Run every stage once, at most `jobs` side by side; stages behind a failed one are left out.

    `observe(stage, event, manifest)` hears `started`, `finished` and `failed`. Returns exit codes by stage.
    """
    return run_graph(settings, pipeline(settings, run), run.workload, run_id, jobs=jobs, observe=observe)


def run_graph(
    settings: Settings,
    graph: Graph,
    workload: str,
    run_id: str,
    *,
    jobs: int = 2,
    observe: Observer = lambda *_: None,
) -> dict[str, int]:
    """Run the stages of `graph`, which may be a part of the pipeline whose other upstream stages have finished."""
    store = RunStore(settings.runs())
    codes: dict[str, int] = {}
    running: dict[Future[int], str] = {}
    waiting = dict(graph.stages)
    processes = _Processes()
    with ThreadPoolExecutor(jobs) as pool, processes:
        while waiting or running:
            for name, stage in list(waiting.items()):
                if any(parent in waiting or parent in running.values() for parent in stage.upstream):
                    continue
                bad = [parent for parent in stage.upstream if parent in graph.stages and codes.get(parent) != 0]
                if bad and not stage.runs_always:
                    codes[name] = -1
                    del waiting[name]
                elif len(running) < jobs:
                    del waiting[name]
                    observe(name, "started", None)
                    running[pool.submit(processes.run, settings, workload, run_id, name)] = name
            finished, _ = wait(running, return_when=FIRST_COMPLETED) if running else (set(), set())
            for future in finished:
                name = running.pop(future)
                codes[name] = future.result()
                manifest = store.manifests(workload, run_id).get(name)
                observe(name, "failed" if codes[name] else "finished", manifest)
    return codes


class _Processes:
    """These stages run now, each in a session of its own: any early end of this run ends them too."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._over = False

    def run(self, settings: Settings, workload: str, run_id: str, stage: str) -> int:
        """Run one stage to its end. Returns its exit code."""
        command = [sys.executable, "-m", "tasks", "run-stage", stage, "--workload", workload, "--run-id", run_id]
        log = settings.home / "logs" / workload / run_id / f"{stage}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            with self._lock:
                if self._over:
                    return -1
                process = subprocess.Popen(
                    command,
                    cwd=settings.project,
                    env=settings.process_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                )
                self._running.add(process)
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        return code

    def __enter__(self) -> None:
        """Start with no running stage."""

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._over = True
            running = list(self._running)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            end = time.monotonic() + GRACE_SECONDS
            for process in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(end - time.monotonic(), 0))
