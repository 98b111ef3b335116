"""Lineage leaves by OpenLineage's standard: attempts at stages, and nights, tell a collector what they read and wrote.

The library's own settings switch it on: `OPENLINEAGE_URL`, `OPENLINEAGE__TRANSPORT__…`, or a file `openlineage.yml` in
the working folder.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal
from uuid import NAMESPACE_URL, uuid5

from tasks.core.errors import NotYetError
from tasks.core.redaction import redact
from tasks.pipeline.handover.datasets import Dataset

if TYPE_CHECKING:  # the library takes most of a second to import, and most installations do not ask for it
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import RunEvent
    from openlineage.client.facet_v2 import DatasetFacet

log = logging.getLogger(__name__)

SWITCHES = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT")
FILE = Path("openlineage.yml")
PRODUCER = "pkg:generic/nightstill"
PATIENCE_SECONDS = 1.0

State = Literal["START", "COMPLETE", "FAIL", "ABORT"]
NIGHT = ""
"""In place of a stage's name: the run itself, which is the parent of its stages."""


@dataclass(frozen=True)
class Attempt:
    """An Attempt is what all its events say: the stage of a run. Without a `run_id` it belongs to no night.

    `name`: what a line of the log calls it.
    """

    workload: str
    run_id: str
    stage: str

    @property
    def name(self) -> str:
        """Return the stage; of a night, its run."""
        return self.stage or self.run_id


def begin(attempt: Attempt, inputs: Callable[[], Sequence[Dataset]] = list) -> "Lineage | None":
    """Tell that an attempt starts; None where nobody is to be told. Nothing that goes wrong here is raised.

    `inputs` is called only where somebody is told.
    """
    if not _switched_on(os.environ):
        return None
    lineage = None
    with _warning(attempt), _same_environment():
        from openlineage.client import OpenLineageClient

        lineage = Lineage(attempt, inputs(), OpenLineageClient())
        lineage.tell("START")
    return lineage


@contextmanager
def told(attempt: Attempt, inputs: Callable[[], Sequence[Dataset]], outputs: Sequence[Dataset]) -> Iterator[None]:
    """Tell of what the block does. `outputs` may be a list that the block fills."""
    lineage = begin(attempt, inputs)
    try:
        yield
    except BaseException as error:
        if lineage:
            lineage.end("ABORT" if isinstance(error, NotYetError) else "FAIL", error=f"{type(error).__name__}: {error}")
        raise
    if lineage:
        lineage.end("COMPLETE", outputs)


def begin_night(workload: str, run_id: str) -> None:
    """Tell that a night starts, which the end of its last stage will end. Nothing that goes wrong here is raised."""
    lineage = begin(Attempt(workload, run_id, NIGHT))
    if lineage:
        lineage.close()


@dataclass
class Lineage:
    """Lineage tells of one attempt at a stage, from a thread of its own, which is waited for at most a second.

    A stage that takes longer does not wait at all for a collector that has not taken its start by then.
    """

    attempt: Attempt
    inputs: Sequence[Dataset]
    client: "OpenLineageClient"
    _queue: "SimpleQueue[RunEvent | None]" = field(default_factory=SimpleQueue)
    _taken: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        from openlineage.client.event_v2 import set_producer
        from openlineage.client.uuid import generate_new_uuid

        set_producer(PRODUCER)
        self._id = str(generate_new_uuid())
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._send, name="lineage", daemon=True)
        self._thread.start()

    def tell(self, state: State, outputs: Sequence[Dataset] = (), error: str = "") -> None:
        """Send one event: of the start, or of the end with its outputs or its `error`. Nobody waits for it."""
        self._queue.put(_event(self.attempt, self._id, state, self.inputs, outputs, error))

    def end(self, state: State, outputs: Sequence[Dataset] = (), error: str = "", night: State | None = None) -> None:
        """Tell how it ended, and wait until that is known. Nothing that goes wrong here is raised.

        `night`: how the whole night ended, if this was its last stage.
        """
        with _warning(self.attempt):
            self.tell(state, outputs, error)
            if night:
                self._queue.put(_event(replace(self.attempt, stage=NIGHT), self._id, night, (), (), error))
        self.close()

    def close(self) -> None:
        """Wait until all that was told is known, for a second at most."""
        self._queue.put(None)
        begun = time.monotonic() if self._taken.is_set() else self._began
        self._thread.join(max(0.0, begun + PATIENCE_SECONDS - time.monotonic()))
        if self._thread.is_alive():
            log.warning("no lineage of %s: the collector did not take it in time", self.attempt.name)

    def _send(self) -> None:
        for event in iter(self._queue.get, None):
            with _warning(self.attempt):
                self.client.emit(event)
                self._taken.set()
        with _warning(self.attempt):
            self.client.close(PATIENCE_SECONDS)


def _event(
    one: Attempt,
    attempt_id: str,
    state: State,
    inputs: Sequence[Dataset],
    outputs: Sequence[Dataset],
    error: str,
) -> "RunEvent":
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import (
        RunFacet,
        error_message_run,
        input_statistics_input_dataset,
        job_type_job,
        output_statistics_output_dataset,
        parent_run,
    )

    ours = os.environ.get("OPENLINEAGE_NAMESPACE") or "nightstill"
    job = f"nightly_{one.workload}"
    night = str(uuid5(NAMESPACE_URL, f"{ours}/{job}/{one.run_id}"))
    facets: dict[str, RunFacet] = {}
    if one.stage == NIGHT:
        attempt_id, kind = night, "NIGHT"
    elif one.run_id:
        facets["parent"] = parent_run.ParentRunFacet(parent_run.Run(night), parent_run.Job(ours, job))
        job, kind = f"{job}.{one.stage}", "STAGE"
    else:
        job, kind = f"{one.stage}_{one.workload}", "STAGE"
    if error:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(redact(error), "python")

    def about(dataset: Dataset) -> dict[str, Any]:
        return {"namespace": dataset.namespace or ours, "name": dataset.name, "facets": _facets(dataset)}

    read, written = (
        input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
        output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    )
    return RunEvent(
        eventTime=datetime.now(UTC).isoformat(),
        eventType=RunState[state],
        run=Run(attempt_id, facets),
        job=Job(ours, job, {"jobType": job_type_job.JobTypeJobFacet("BATCH", "NIGHTSTILL", kind)}),
        inputs=[
            InputDataset(**about(one), inputFacets={"inputStatistics": read(size=one.size, fileCount=one.files)})
            for one in inputs
        ],
        outputs=[
            OutputDataset(**about(one), outputFacets={"outputStatistics": written(size=one.size, fileCount=one.files)})
            for one in outputs
        ],
    )


def _facets(dataset: Dataset) -> "dict[str, DatasetFacet]":
    """Return the facets of a dataset: its digest as its version, and what has it."""
    from openlineage.client.facet_v2 import DatasetFacet, dataset_version_dataset, datasource_dataset

    found: dict[str, DatasetFacet] = {}
    if dataset.version:
        found["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(dataset.version)
    if dataset.place:
        place = redact(dataset.place if "://" in dataset.place else Path(dataset.place).absolute().as_uri())
        found["dataSource"] = datasource_dataset.DatasourceDatasetFacet(place, place)
    return found


def _switched_on(environment: Mapping[str, str]) -> bool:
    if environment.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    return FILE.is_file() or any(value and name.startswith(SWITCHES) for name, value in environment.items())


@contextmanager
def _warning(attempt: Attempt) -> Iterator[None]:
    """Say in one line of the log what goes wrong, whatever a setting, a transport or a plugin of the library raises."""
    try:
        yield
    except Exception as error:  # noqa: BLE001
        said = " ".join(redact(str(error)).split())[:300]
        log.warning("no lineage of %s: %s: %s", attempt.name, type(error).__name__, said)


@contextmanager
def _same_environment() -> Iterator[None]:
    """Undo what the library's client adds to the environment, of which the stage's command would get a copy."""
    saved = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - saved.keys():
            del os.environ[name]
