"""Nights on the production-like stack: the DAG with the docker runner, stages in containers, nothing shared but S3."""

import gzip
import io
import json
import subprocess
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import boto3
import polars as pl
import pytest

from infra.local.images import reference
from tests.e2e.conftest import wait
from tests.e2e.containers.machine import client, docker

pytestmark = [pytest.mark.timeout(1800)]

LABEL = "io.nightstill.stage"


def test_a_night_in_containers_promotes_and_its_consumer_scores(stack: Any, first: Any) -> None:
    assert first.code == 0, first.output
    assert set(first.states.values()) == {"success"}, first.output
    assert set(first.statuses.values()) == {"done"}
    assert first.outcome["outcome"] == "promoted"
    assert stack.releases() == [1]
    (event,) = stack.asset_events()
    assert event["extra"]["manifest"] == f"s3://{stack.bucket}/runs/runs/sales/{first.run_id}/promote.json"

    def scored() -> list[dict[str, Any]]:
        return [scoring for scoring in stack.runs("score_sales") if scoring["end_date"]]

    (scoring,) = wait("the scoring run", scored)
    assert scoring["state"] == "success"
    # The night made the forecasts, and the consumer found them made.
    s3, folder = boto3.client("s3"), f"forecasts/sales/{stack.yesterday}/"
    found = [item["Key"] for item in s3.list_objects_v2(Bucket=stack.bucket, Prefix=folder)["Contents"]]
    assert found == [f"{folder}1.json", f"{folder}1.parquet"]
    told, content = (s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read() for key in found)
    assert pl.read_parquet(BytesIO(content)).height == json.loads(told)["rows"] == 12 * 28


def test_every_stage_had_a_container_of_its_own_that_could_touch_nothing(stack: Any, first: Any) -> None:
    seen = {found["Config"]["Labels"][LABEL]: found for found in stack.seen}
    assert {f"sales/{stage}" for stage in first.manifests} | {"sales/plan"} <= seen.keys()
    for stage, found in seen.items():
        host = found["HostConfig"]
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"], stage
        assert host["SecurityOpt"] == ["no-new-privileges"], stage
        # The workspace in memory is all it has: no folder of this machine, no socket of the engine.
        assert not host["Binds"] and not host.get("Mounts") and not found["Mounts"], stage
        assert list(host["Tmpfs"]) == ["/workspace"], stage
        assert found["Config"]["User"] == "10001:10001", stage
        assert host["NanoCpus"] == 1_000_000_000, stage
    assert seen["sales/teach@lstm"]["HostConfig"]["Memory"] == 3 * 2**30
    assert seen["sales/features"]["HostConfig"]["Memory"] == 2 * 2**30
    assert docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}").stdout.split() == []


def test_a_stages_output_is_in_airflows_log(stack: Any, first: Any) -> None:
    log = stack.log("nightly_sales", first.run_id, "teach.lstm")
    assert "python -m tasks stage teach lstm" in log and "teach@lstm: done in" in log


def test_the_next_night_reuses_what_did_not_change(stack: Any, first: Any) -> None:
    moved = stack.line.up + stack.line.down
    night = stack.night()
    assert night.code == 0, night.output
    again = {"validate", "evaluate", "promote", "report"}  # they read the champion, which is new, or everything
    assert {stage for stage, status in night.statuses.items() if status == "done"} <= again
    assert {status for stage, status in night.statuses.items() if stage not in again} == {"reused"}
    assert night.outcome["outcome"] == "unchanged" and stack.releases() == [1]
    unchanged = stack.line.up + stack.line.down - moved
    print(f"bytes to and from S3: first night {stack.first_bytes:,}, unchanged night {unchanged:,}")
    assert unchanged < stack.first_bytes


def test_an_out_of_memory_kill_is_one_line_and_is_not_tried_again(stack: Any, first: Any) -> None:
    state, log = stack.task_of("nightly_starved", "starved", "snapshot")
    assert state == "failed"
    line = (
        "out of memory: snapshot was killed at its limit of 96Mi; "
        "raise workloads.starved.resources.snapshot.memory in params.yaml"
    )
    assert line in log
    assert log.count("run-stage snapshot --workload starved") == 1


def test_no_secret_is_in_anything_that_stays(stack: Any, first: Any) -> None:
    secrets = stack.secrets()
    assert len(secrets) == 3 and all(len(secret) >= 10 for secret in secrets)
    # What would be found is found: a planted object, and the search through compressed and plain text.
    s3 = boto3.client("s3")
    s3.put_object(Bucket=stack.bucket, Key="planted", Body=gzip.compress(secrets[0].encode()))
    assert [name for name, content in _objects(stack.bucket) if _leaks(content, secrets)] == ["planted"]
    s3.delete_object(Bucket=stack.bucket, Key="planted")

    leaks = [f"S3: {name}" for name, content in _objects(stack.bucket) if _leaks(content, secrets)]
    for folder in (stack.home / "airflow" / "logs", stack.home / "logs", stack.project.root / "params.yaml"):
        files = [folder] if folder.is_file() else [path for path in folder.rglob("*") if path.is_file()]
        assert files, folder
        leaks += [f"file: {path}" for path in files if _leaks(path.read_bytes(), secrets)]
    for database in ("airflow", "mlflow"):
        content = stack.postgres.dump(database)
        assert len(content) > 10_000
        if _leaks(content, secrets):
            leaks.append(f"database: {database}")
    for image in (stack.image, reference("airflow")):
        told = docker("history", "--no-trunc", image).stdout + docker("inspect", image).stdout
        if _leaks(told.encode(), secrets) or _in_layers(image, secrets):
            leaks.append(f"image: {image}")
    assert leaks == []


def _objects(bucket: str) -> Iterator[tuple[str, bytes]]:
    s3 = boto3.client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", ()):
            yield item["Key"], s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()


def _leaks(content: bytes, secrets: list[str]) -> bool:
    if content[:2] == b"\x1f\x8b":
        content = gzip.GzipFile(fileobj=io.BytesIO(content)).read()
    return any(secret.encode() in content for secret in secrets)


def _in_layers(image: str, secrets: list[str]) -> bool:
    """Whether a layer of the image holds a secret; the layers as Docker saves them are not compressed."""
    saving = subprocess.Popen([client(), "save", image], stdout=subprocess.PIPE)
    assert saving.stdout is not None
    longest, before, found = max(map(len, secrets)), b"", False
    while chunk := saving.stdout.read(2**24):
        found = found or _leaks(before + chunk, secrets)
        before = chunk[-longest:]
    assert saving.wait() == 0
    return found
