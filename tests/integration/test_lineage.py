"""Lineage by OpenLineage: what a collector hears of stages with real DVC, and one that is down."""

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState, set_producer
from openlineage.client.facet_v2 import (
    dataset_version_dataset,
    datasource_dataset,
    input_statistics_input_dataset,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
)
from openlineage.client.serde import Serde

from tasks.core.errors import StageFailed
from tasks.pipeline.handover import lineage
from tasks.pipeline.handover.locks import outputs
from tests.integration.test_run_stage import Place

ATTEMPT = lineage.Attempt("w", "r1", "join")


@pytest.fixture(autouse=True)
def _off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a thread may come late."""
    monkeypatch.setattr(lineage, "PATIENCE_SECONDS", 300.0)


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient: None) -> Path:
    """The file that the library's own transport writes to."""
    transport = {"TYPE": "file", "LOG_FILE_PATH": str(tmp_path / "events.jsonl"), "APPEND": "true"}
    for name, value in transport.items():
        monkeypatch.setenv(f"OPENLINEAGE__TRANSPORT__{name}", value)
    return tmp_path / "events.jsonl"


class Taking(BaseHTTPRequestHandler):
    """A collector that takes events over HTTP."""

    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.taken.append((self.path, self.headers["Authorization"], event["eventType"]))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, str]] = []
        super().__init__(("127.0.0.1", 0), Taking)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.mark.usefixtures("patient")
def test_the_address_of_a_collector_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as server:
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OPENLINEAGE_API_KEY", "abcdef")
        told = lineage.begin(ATTEMPT)
        assert told
        told.end("COMPLETE")
        server.shutdown()
    key = "Bearer abcdef"
    assert server.taken == [("/api/v1/lineage", key, "START"), ("/api/v1/lineage", key, "COMPLETE")]


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes a connection and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_stages_tell_what_they_read_and_wrote_by_dvcs_digests(place: Place, events: Path) -> None:
    place.open("r1")
    place.go("r1", "source", "member@x", "member@x")  # the second time there is nothing to do, nor to tell
    (place.trouble / "y").touch()
    with pytest.raises(StageFailed):
        place.go("r1", "member@y")
    place.open("r2")
    place.go("r2", "source")
    told = read(events)
    assert [(one["job"]["name"].removeprefix("nightly_w."), one["eventType"]) for one in told] == [
        *[(stage, state) for stage in ("source", "member@x") for state in ("START", "COMPLETE")],
        *[("member@y", state) for state in ("START", "FAIL")],
        *[("source", state) for state in ("START", "COMPLETE")],
    ]
    attempts = [one["run"]["runId"] for one in told]
    assert attempts[0::2] == attempts[1::2] and len(set(attempts)) == 4, "an attempt is a run of its own"
    nights = [one["run"]["facets"]["parent"]["run"]["runId"] for one in told]
    assert len(set(nights[:6])) == 1 and nights[6] == nights[7] != nights[0], "of one night"
    assert told[5]["run"]["facets"]["errorMessage"]["message"] == "bad member y"
    assert told[6]["outputs"] == [] and told[7]["outputs"] == told[1]["outputs"], "reused: the same version"

    written = told[3]
    manifests = {name: place.store.manifest("w", "r1", name) for name in ("source", "member@x")}
    digests = {k: v for one in manifests.values() if one for k, v in outputs(place.store.lock(one)).items()}
    assert [(one["name"], one["facets"]["version"]["datasetVersion"]) for one in written["outputs"]] == [
        ("w/artifacts/members/x", digests["artifacts/members/x"])
    ]
    del written["run"]["facets"]["tags"]  # the library's own version, which it adds to every event
    assert written == by_the_librarys_types(written, nights[0], digests, Path(place.settings.dvc_remote).as_uri())


def by_the_librarys_types(event: dict[str, Any], night: str, digests: dict[str, str], place: str) -> dict[str, Any]:
    """The event of member x's end, made of the library's types, which check UUIDs, moments and addresses."""
    set_producer(lineage.PRODUCER)
    source = datasource_dataset.DatasourceDatasetFacet(place, place)
    version = dataset_version_dataset.DatasetVersionDatasetFacet
    read_size = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(size=10, fileCount=1)
    written_size = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(size=11, fileCount=1)
    parent = parent_run.ParentRunFacet(parent_run.Run(night), parent_run.Job("nightstill", "nightly_w"))
    kind = job_type_job.JobTypeJobFacet("BATCH", "NIGHTSTILL", "STAGE")
    made = RunEvent(
        eventTime=event["eventTime"],
        eventType=RunState.COMPLETE,
        run=Run(event["run"]["runId"], {"parent": parent}),
        job=Job("nightstill", "nightly_w.member@x", {"jobType": kind}),
        inputs=[
            InputDataset(
                "nightstill",
                "w/artifacts/source",
                facets={"version": version(digests["artifacts/source"]), "dataSource": source},
                inputFacets={"inputStatistics": read_size},
            )
        ],
        outputs=[
            OutputDataset(
                "nightstill",
                "w/artifacts/members/x",
                facets={"version": version(digests["artifacts/members/x"]), "dataSource": source},
                outputFacets={"outputStatistics": written_size},
            )
        ],
    )
    found: dict[str, Any] = json.loads(Serde.to_json(made))
    return found


def test_without_a_setting_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lineage.begin(ATTEMPT) is None
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    assert lineage.begin(ATTEMPT) is None


@pytest.mark.usefixtures("patient")
def test_a_file_of_the_librarys_switches_it_on_too(tmp_path: Path) -> None:
    (tmp_path / "openlineage.yml").write_text(
        f"transport: {{type: file, log_file_path: {tmp_path}/told.jsonl, append: true}}"
    )
    told = lineage.begin(ATTEMPT)
    assert told
    told.end("FAIL", error="reading postgresql://user:hush@there/db failed")
    start, end = read(tmp_path / "told.jsonl")
    assert start["eventType"] == "START" and "hush" not in json.dumps(end)


def test_a_collector_that_never_answers_costs_no_stage(
    place: Place, silent: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", silent)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "abcdef")
    before = dict(os.environ)
    place.open("r1")
    with caplog.at_level(logging.WARNING, logger="tasks"):
        (done,) = place.go("r1", "source")
    assert done.status == "done"
    assert "no lineage of source: the collector did not take it in time" in caplog.text
    assert dict(os.environ) == before, "the library's client adds to the environment"


def test_settings_that_do_not_hold_cost_no_stage(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "pigeon")
    place.open("r1")
    with caplog.at_level(logging.WARNING, logger="tasks"):
        (done,) = place.go("r1", "source")
    assert done.status == "done" and "no lineage of source: " in caplog.text


NIGHT = """
vars: [run.yaml]
stages:
  source: {cmd: python step.py source, deps: [step.py], params: [{run.yaml: [as_of, source]}], outs: [artifacts/source]}
  last: {cmd: python step.py last, deps: [artifacts/source], always_changed: true, meta: {trigger: all_done}}
"""


def test_a_night_and_the_source_of_its_rows_are_told(place: Place, events: Path) -> None:
    (place.project / "dvc.yaml").write_text(NIGHT)
    place.open("r1", source={"kind": "table", "path": "s3://raw/sales/"})
    lineage.begin_night("w", "r1")
    place.go("r1", "source", "last")
    place.open("r2", source={"kind": "tables"})  # the stage itself says what is wrong with it
    place.go("r2", "last")
    told = read(events)
    start, *_, ended, of_second = [one for one in told if one["job"]["name"] == "nightly_w"]
    assert [one["eventType"] for one in (start, ended, of_second)] == ["START", "COMPLETE", "FAIL"]
    assert start["run"]["runId"] == ended["run"]["runId"] == told[1]["run"]["facets"]["parent"]["run"]["runId"]
    assert "parent" not in start["run"]["facets"]
    snapshot = told[2]
    assert [(one["namespace"], one["name"]) for one in snapshot["inputs"]] == [("s3://raw", "sales/")]


def test_a_section_that_lineage_cannot_read_costs_no_stage(
    place: Place, events: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (place.project / "dvc.yaml").write_text(NIGHT)
    place.open("r1", source={"kind": "tables"})
    with caplog.at_level(logging.WARNING, logger="tasks"):
        (done,) = place.go("r1", "source")
    assert done.status == "done" and "no lineage of source: KeyError" in caplog.text and not events.exists()
