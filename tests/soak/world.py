"""The soak's installation: real Airflow; real S3 and real MLflow, both behind wires that can be cut."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl

from tasks.pipeline.handover.queries import read_outcome
from tests.conftest import LAST_DAY, sales_table
from tests.e2e.conftest import PATIENCE_SECONDS, Installation, Night
from tests.ports import free_port
from tests.soak.proxy import Wire

DAYS = 260
MLFLOW_PORT = "NIGHTSTILL_MLFLOW_PORT"
Spoil = Callable[[pl.DataFrame], pl.DataFrame]


class World(Installation):
    """An installation whose table holds all days; what a night may know of them is up to its `as_of`."""

    def __init__(self, root: Path, bucket: str) -> None:
        place = f"s3://{bucket}"
        stores = {"run_store": f"{place}/runs", "release_store": f"{place}/releases", "dvc_remote": f"{place}/dvc"}
        self.s3 = Wire(os.environ["AWS_ENDPOINT_URL"])
        port = free_port()
        self.mlflow = Wire(f"http://127.0.0.1:{port}")
        super().__init__(root, **stores, tracking_uri=self.mlflow.url)
        credentials = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        self.environment |= credentials | {"AWS_ENDPOINT_URL": self.s3.url, MLFLOW_PORT: str(port)}
        gates = self.project.sales["gates"]
        gates["accuracy"].update(naive_margin=0.05, champion_margin=0.15, max_gain=0.6)
        gates["drift"] = {"max_psi": 0.5}
        self.project.save()

    def table(self, spoil: Spoil = lambda table: table) -> None:
        """Write the source's table, with data up to yesterday, as `spoil` changes it."""
        shift = self.yesterday - LAST_DAY
        table = sales_table(LAST_DAY, days=DAYS).with_columns(pl.col("date") + shift)
        spoil(table).write_parquet(self.project.root / "sales.parquet")

    def down(self) -> None:
        super().down()
        self.s3.close()
        self.mlflow.close()

    def operate(self, *arguments: str) -> str:
        """`nightstill ARGUMENTS`, which must succeed. Returns what it printed."""
        code, said = self.nightstill(*arguments)
        assert code == 0, said
        return said

    def stage_pids(self, stage: str) -> list[int]:
        """Processes that bring the stage to its end, by their command line."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                ours = f"NIGHTSTILL_HOME={self.home}".encode() in (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if ours and b"run-stage" in words and stage.encode() in words:
                found.append(int(folder.name))
        return found

    def once_at(self, stage: str, act: Callable[[], None]) -> threading.Thread:
        """In a thread of its own: wait until the stage has a process, then act."""

        def run() -> None:
            end = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < end:
                if self.stage_pids(stage):
                    act()
                    return
                time.sleep(0.1)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def kill(self, stage: str) -> None:
        """What the kernel does to a stage when memory is short."""
        for pid in self.stage_pids(stage):
            os.kill(pid, signal.SIGKILL)

    def beside(self, as_of: date, run_id: str) -> subprocess.Popen[str]:
        """Another run of the same night, outside Airflow."""
        command = [sys.executable, "-m", "tasks", "run", "sales", "--as-of", str(as_of), "--run-id", run_id]
        return subprocess.Popen(
            command,
            cwd=self.project.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def outcome_of(self, run_id: str) -> str:
        """How a run's promote ended: `reused` if another run's had the same inputs and was there before."""
        manifest = self.store.manifests("sales", run_id).get("promote")
        found = read_outcome(self.settings, "sales", run_id)
        if manifest is None or found is None:
            return "none"
        return "reused" if manifest.status == "reused" else str(found["outcome"])

    def actual(self, night: Night) -> str:
        """How a night ended: the outcome of promote, or the stage that it stopped at."""
        if night.statuses.get("promote") in ("done", "reused"):
            return str(night.outcome["outcome"])
        failed = [name for name, state in night.states.items() if state == "failed"]
        return f"stopped at {failed[0]}" if failed else night.state


def outage(wire: Wire, seconds: float) -> None:
    """Nobody gets through for so long."""
    wire.cut()
    time.sleep(seconds)
    wire.mend()
