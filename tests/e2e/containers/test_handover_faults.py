"""What goes wrong between hosts: one night, container by container, a fault at each step and a plain retry after it.

The tests are one night in the order in which they stand: each starts where the one before it ended.
"""

import json
import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tasks.core.storage import open_store
from tasks.pipeline.handover.locks import outputs
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.handover.run_store import DataRemote, RunStore
from tasks.releases.ledger import Ledger
from tasks.releases.store import ReleaseStore
from tasks.releases.verification import verify
from tests.conftest import LAST_DAY, new_bucket, remove_bucket
from tests.e2e.containers.conftest import Host
from tests.e2e.containers.machine import Line, docker, require, running

pytestmark = [pytest.mark.timeout(900)]

SEED = 20261121
# At how many random moments each of two stages is killed; CI has less time than a person.
KILLS = int(os.environ.get("NIGHTSTILL_TEST_KILLS") or 5)
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


class Night:
    """Two runs of one workload, opened at the same moment; r1 is the one that meets the faults."""

    def __init__(self, host: Host, line: Line) -> None:
        self.host, self.line = host, line
        self.through_line = {"AWS_ENDPOINT_URL": line.url}
        self.store = RunStore(host.settings.runs())
        self.remote = DataRemote(open_store(host.settings.dvc_remote))

    @staticmethod
    def arguments(stage: str, run_id: str = "r1") -> list[str]:
        return ["run-stage", stage, "--workload", "sales", "--run-id", run_id]

    def run(self, stage: str, run_id: str = "r1", **changes: Any) -> CompletedProcess[str]:
        return self.host.containers.run(*self.arguments(stage, run_id), **changes)

    def go(self, *stages: str, run_id: str = "r1") -> None:
        """Stages without a fault, or the plain retry of one after it."""
        for stage in stages:
            done = self.run(stage, run_id)
            assert done.returncode == 0, done.stdout + done.stderr
            self.sound(stage, run_id)

    def manifest(self, stage: str, run_id: str = "r1") -> Manifest | None:
        return self.store.manifest("sales", run_id, stage)

    def sound(self, stage: str, run_id: str = "r1") -> None:
        """A stage that finished left all that a later one needs: its lock, and every file that the lock names."""
        manifest = self.manifest(stage, run_id)
        assert manifest is not None and manifest.finished
        assert self.remote.missing(self.store.lock(manifest)) == []

    def nothing_half_done(self, stage: str) -> None:
        """Either the stage is soundly finished or nothing says that it is."""
        if self.manifest(stage) is not None:
            self.sound(stage)
        else:
            found = [key for key in self.store.store.keys(f"index/sales/{stage}/") if not key.endswith("latest.json")]
            named = [json.loads(self.store.store.read(key))["run_id"] for key in found]
            assert "r1" not in named

    def ledger(self) -> list[Any]:
        """Its entries, all of their digests and files checked."""
        verify(ReleaseStore(self.host.settings.releases(), "sales"))
        return Ledger(self.host.settings.releases(), "sales").entries()


@pytest.fixture(scope="module")
def night(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """A night that is planned: two runs of it."""
    bucket = new_bucket()
    host = Host(tmp_path_factory.mktemp("faults") / "host", bucket)
    line = Line(host.containers.environment["AWS_ENDPOINT_URL"])
    night = Night(host, line)
    for run_id in ("r1", "r2"):
        done = host.containers.run("plan", "--workload", "sales", "--run-id", run_id, "--as-of", str(LAST_DAY))
        assert done.returncode == 0, done.stderr
    yield night
    line.close()
    docker("rmi", "--force", host.image)
    remove_bucket(bucket)


def cut_during(night: Night, stage: str, request: str) -> CompletedProcess[str]:
    """Run a stage to its end; the line to S3 is down for 20 seconds from the first such request on."""
    night.line.cut_at(f"{request} /{night.host.bucket}/data/files".encode(), 20)
    done = night.run(stage, **night.through_line)
    assert night.line.was_cut.is_set()
    return done


def told_or_done(done: CompletedProcess[str]) -> None:
    """It came through by itself, or it says that a store did not answer: worth a retry, and no riddle."""
    assert done.returncode in (0, 75), done.stdout + done.stderr
    if done.returncode:
        assert re.search(r"^error: .*(s3://|dvc (pull|push))", done.stderr, re.MULTILINE), done.stderr


def test_s3_is_down_for_20_seconds_during_the_push(night: Night) -> None:
    done = cut_during(night, "snapshot", "PUT")
    told_or_done(done)
    night.nothing_half_done("snapshot")
    night.go("snapshot")


def test_s3_is_down_for_20_seconds_during_the_pull(night: Night) -> None:
    done = cut_during(night, "validate", "GET")
    told_or_done(done)
    night.nothing_half_done("validate")
    night.go("validate")


def test_upstream_outputs_that_are_gone_are_named_with_their_hash(night: Night) -> None:
    manifest = night.manifest("snapshot")
    assert manifest is not None
    tree = outputs(night.store.lock(manifest))["artifacts/snapshot"]
    file = night.remote.tree(tree)[0]["md5"]
    for digest in (tree, file):
        key = f"files/md5/{digest[:2]}/{digest[2:]}"
        kept = night.remote.store.read(key)
        night.remote.store.delete(key)
        done = night.run("features")
        assert done.returncode == 76, done.stdout + done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert "snapshot" in line and digest in line and "force" in line
        night.nothing_half_done("features")
        night.remote.store.write(key, kept)
    night.go("features")


def kill_at_random_moments(night: Night, stage: str, times: int, longest: float) -> None:
    chance = random.Random(f"{SEED}-{stage}")
    for _ in range(times):
        name = night.host.containers.start(*night.arguments(stage))
        moment = chance.uniform(0.2, longest)
        time.sleep(moment)
        docker("kill", "--signal", "KILL", name, check=False)
        while running(name):
            time.sleep(0.05)
        print(f"{stage}: killed after {moment:.1f} s, manifest {'there' if night.manifest(stage) else 'not there'}")
        night.nothing_half_done(stage)
        assert len(night.ledger()) <= 1


def test_a_training_killed_at_random_moments(night: Night) -> None:
    kill_at_random_moments(night, "teach@lstm", times=KILLS, longest=12)
    night.go("teach@lstm")


def test_a_host_whose_clock_is_an_hour_off(night: Night) -> None:
    """S3 refuses signatures from there by its own rules; the host must say why, and leave the stage to others."""
    require("libfaketime", there=FAKETIME.is_file())
    mounted = ("--volume", f"{FAKETIME}:/faketime.so:ro")
    for offset in ("-1h", "+1h"):
        done = night.run("distil@student", options=mounted, LD_PRELOAD="/faketime.so", FAKETIME=offset)
        if done.returncode:
            assert done.returncode == 75, done.stdout + done.stderr
            assert re.search(r"^error: .*clock", done.stderr, re.MULTILINE), done.stderr
        night.nothing_half_done("distil@student")
    # And one that S3 tolerates, on either side: neither order nor result may depend on it.
    done = night.run("distil@twin", options=mounted, LD_PRELOAD="/faketime.so", FAKETIME="-10m")
    assert done.returncode == 0, done.stdout + done.stderr
    night.go("distil@student", "distil@twin")


def test_two_runs_at_the_same_moment(night: Night) -> None:
    """Both do all that r1 has not yet done, side by side; each container is a host with an empty cache anyhow."""
    both = ("compress@fp32", "compress@fp16", "evaluate")
    night.go("snapshot", "validate", "features", "teach@lstm", "distil@student", "distil@twin", run_id="r2")
    for stage in both:
        started = [night.host.containers.start(*night.arguments(stage, run_id)) for run_id in ("r1", "r2")]
        while any(running(name) for name in started):
            time.sleep(0.1)
        for run_id in ("r1", "r2"):
            night.sound(stage, run_id)
    locks = [{stage: lock_of(night, stage, run_id) for stage in both} for run_id in ("r1", "r2")]
    assert locks[0] == locks[1]
    assert night.ledger() == []


def lock_of(night: Night, stage: str, run_id: str) -> Any:
    manifest = night.manifest(stage, run_id)
    assert manifest is not None
    return night.store.lock(manifest)


def test_a_promotion_killed_at_random_moments_while_another_run_promotes(night: Night) -> None:
    kill_at_random_moments(night, "promote", times=KILLS, longest=7)
    started = [night.host.containers.start(*night.arguments("promote", run_id)) for run_id in ("r1", "r2")]
    while any(running(name) for name in started):
        time.sleep(0.1)
    night.go("promote")
    night.go("promote", run_id="r2")
    (entry,) = night.ledger()
    assert (entry.seq, entry.release) == (1, 1)
    outcomes = [found.summary["outcome"] for run in ("r1", "r2") if (found := night.manifest("promote", run))]
    assert "promoted" in outcomes and set(outcomes) <= {"promoted", "superseded"}
