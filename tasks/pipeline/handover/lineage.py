"""Lineage leaves by OpenLineage's standard: each attempt at a stage tells a collector what it read and wrote.

The library's own settings switch it on: `OPENLINEAGE_URL`, `OPENLINEAGE__TRANSPORT__…`, or a file `openlineage.yml` in
the working folder.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal
from uuid import NAMESPACE_URL, uuid5

from tasks.core.redaction import redact

if TYPE_CHECKING:  # the library takes most of a second to import, and most installations do not ask for it
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import RunEvent
    from openlineage.client.facet_v2 import DatasetFacet

log = logging.getLogger(__name__)

SWITCHES = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT")
FILE = Path("openlineage.yml")
PRODUCER = "pkg:generic/nightstill"
PATIENCE_SECONDS = 1.0

State = Literal["START", "COMPLETE", "FAIL"]
Outs = Mapping[str, Mapping[str, Any]]
"""Entries of locks by path: `md5`, `size` in bytes, `nfiles` of a folder."""


@dataclass(frozen=True)
class Attempt:
    """An Attempt is what all its events say: the stage of a run, and the address of the DVC remote with its data."""

    workload: str
    run_id: str
    stage: str
    data: str


def begin(attempt: Attempt, inputs: Outs) -> "Lineage | None":
    """Tell that an attempt starts; None where nobody is to be told. Nothing that goes wrong here is raised."""
    if not _switched_on(os.environ):
        return None
    lineage = None
    with _warning(attempt), _same_environment():
        from openlineage.client import OpenLineageClient

        lineage = Lineage(attempt, inputs, OpenLineageClient())
        lineage.tell("START")
    return lineage


@dataclass
class Lineage:
    """Lineage tells of one attempt at a stage, from a thread of its own, which is waited for at most a second.

    A stage that takes longer does not wait at all for a collector that has not taken its start by then.
    """

    attempt: Attempt
    inputs: Outs
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

    def tell(self, state: State, outs: Outs | None = None, error: str = "") -> None:
        """Send one event: of the start, or of the end with its outputs or its `error`. Nobody waits for it."""
        self._queue.put(self._event(state, outs or {}, error))

    def end(self, state: State, outs: Outs | None = None, error: str = "") -> None:
        """Tell how it ended, and wait until that is known. Nothing that goes wrong here is raised."""
        with _warning(self.attempt):
            self.tell(state, outs, error)
        self._queue.put(None)
        begun = time.monotonic() if self._taken.is_set() else self._began
        self._thread.join(max(0.0, begun + PATIENCE_SECONDS - time.monotonic()))
        if self._thread.is_alive():
            log.warning("no lineage of %s: the collector did not take it in time", self.attempt.stage)

    def _send(self) -> None:
        for event in iter(self._queue.get, None):
            with _warning(self.attempt):
                self.client.emit(event)
                self._taken.set()
        with _warning(self.attempt):
            self.client.close(PATIENCE_SECONDS)

    def _event(self, state: State, outs: Outs, error: str) -> "RunEvent":
        from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
        from openlineage.client.facet_v2 import (
            RunFacet,
            error_message_run,
            input_statistics_input_dataset,
            job_type_job,
            output_statistics_output_dataset,
            parent_run,
        )

        one, namespace = self.attempt, os.environ.get("OPENLINEAGE_NAMESPACE") or "nightstill"
        night = f"nightly_{one.workload}"
        parent = str(uuid5(NAMESPACE_URL, f"{namespace}/{night}/{one.run_id}"))
        facets: dict[str, RunFacet] = {
            "parent": parent_run.ParentRunFacet(parent_run.Run(parent), parent_run.Job(namespace, night))
        }
        if error:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(redact(error), "python")

        def about(path: str, entry: Mapping[str, Any]) -> dict[str, Any]:
            return {"namespace": namespace, "name": f"{one.workload}/{path}", "facets": _facets(entry, one.data)}

        read, written = (
            input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
            output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
        )
        return RunEvent(
            eventTime=datetime.now(UTC).isoformat(),
            eventType=RunState[state],
            run=Run(self._id, facets),
            job=Job(
                namespace,
                f"{night}.{one.stage}",
                {"jobType": job_type_job.JobTypeJobFacet("BATCH", "NIGHTSTILL", "STAGE")},
            ),
            inputs=[
                InputDataset(**about(path, entry), inputFacets={"inputStatistics": read(**_size(entry))})
                for path, entry in self.inputs.items()
            ],
            outputs=[
                OutputDataset(**about(path, entry), outputFacets={"outputStatistics": written(**_size(entry))})
                for path, entry in outs.items()
            ],
        )


def _facets(entry: Mapping[str, Any], data: str) -> "dict[str, DatasetFacet]":
    """Return the facets of a dataset: DVC's digest as its version, and the remote that has it."""
    from openlineage.client.facet_v2 import DatasetFacet, dataset_version_dataset, datasource_dataset

    place = redact(data if "://" in data else Path(data).as_uri())
    found: dict[str, DatasetFacet] = {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(str(entry["md5"])),
        "dataSource": datasource_dataset.DatasourceDatasetFacet(place, place),
    }
    return found


def _size(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"size": entry.get("size"), "fileCount": entry.get("nfiles", 1)}


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
        log.warning("no lineage of %s: %s: %s", attempt.stage, type(error).__name__, said)


@contextmanager
def _same_environment() -> Iterator[None]:
    """Undo what the library's client adds to the environment, of which the stage's command would get a copy."""
    saved = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - saved.keys():
            del os.environ[name]
