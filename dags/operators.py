"""How a stage is started: as a process of the task environment. Other runners implement the same few arguments."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from airflow.sdk import Asset, BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dags.notify import OpsNotifier
from dags.project import HOME, ROOT

# Exit codes (tasks/errors.py) for which the same attempt would fail again: wrong usage, bad data, a broken digest,
# wrong configuration. Everything else, a kill included, is worth a retry.
FINAL = {64: "wrong usage", 65: "bad data", 76: "integrity", 78: "wrong configuration"}
# Airflow kills a task's process 5 s after asking it to end; by then the command, in a session of its own, must be gone.
GRACE_SECONDS = 3


class ProcessOperator(BaseOperator):
    """Runs `python -m tasks <arguments>` in the task environment; empty arguments are left out.

    Its XCom is the JSON object that the command prints last: the result manifest's URI and digest, the status, and
    the outcome of a promotion. Exit codes of FINAL fail the task for good, other failures are retried.
    """

    template_fields: Sequence[str] = ("arguments",)
    ui_color = "#dbe7f5"

    def __init__(self, *, arguments: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.arguments = list(arguments)
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Run the command to its end, passing its output on to the task's log."""
        command = [task_python(), "-m", "tasks", *filter(None, self.arguments)]
        self.log.info("%s", " ".join(command))
        environment = {**os.environ, "NIGHTSTILL_PROJECT": str(ROOT), "NIGHTSTILL_HOME": str(HOME)}
        # Airflow's own import path is not the stages'.
        environment.pop("PYTHONPATH", None)
        result, complaint = None, ""
        try:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            assert self._process.stdout is not None
            for line in map(str.rstrip, self._process.stdout):
                self.log.info("%s", line)
                result = _result(line) or result
                if line.startswith("error: "):
                    complaint = line.removeprefix("error: ")
            code = self._process.wait()
        except FileNotFoundError as error:
            raise AirflowFailException(f"{command[0]}: no such program; run `make setup`") from error
        except BaseException:  # a timeout is one, and must not leave the command running
            self.on_kill()
            raise
        self._process = None
        if code:
            fail(code, complaint)
        return result

    def on_kill(self) -> None:
        """End the command and everything it started."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            end = time.monotonic() + GRACE_SECONDS
            while time.monotonic() < end:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGKILL)


class AnnounceOperator(BaseOperator):
    """Updates the workload's release asset, but only if the run promoted; tells ops of a candidate that was refused."""

    ui_color = "#dff0d8"

    def __init__(self, *, workload: str, promote_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.workload, self.promote_task_id = workload, promote_task_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Succeed after a promotion; be skipped otherwise, which leaves the asset alone."""
        result = context["ti"].xcom_pull(task_ids=self.promote_task_id)
        if not result or "outcome" not in result:
            raise AirflowFailException(f"{self.promote_task_id} handed over no outcome")
        outcome = result["outcome"]
        if outcome in ("rejected", "superseded"):
            OpsNotifier(event=outcome, workload=self.workload, reason=f"the champion stays; see {result['uri']}")(
                context
            )
        if outcome != "promoted":
            raise AirflowSkipException(f"{outcome}: no new release of {self.workload}")
        for asset in self.outlets:
            if isinstance(asset, Asset):
                context["outlet_events"][asset].extra = {"manifest": result["uri"], "sha256": result["sha256"]}
        return dict(result)


def run_command(**kwargs: Any) -> BaseOperator:
    """A task that runs a command of `python -m tasks`, by the runner that NIGHTSTILL_RUNNER names.

    Raises ValueError on a runner that there is none of; the DAG then shows as an import error.
    """
    runner = os.environ.get("NIGHTSTILL_RUNNER", "process")
    if runner != "process":
        raise ValueError(f"NIGHTSTILL_RUNNER={runner!r}: there is no such runner; there are: process")
    return ProcessOperator(**kwargs)


def task_python() -> str:
    """The Python of the stages' environment."""
    return os.environ.get("NIGHTSTILL_TASK_PYTHON") or str(HOME / "envs" / "task" / "bin" / "python")


def fail(code: int, complaint: str) -> NoReturn:
    """Turn an exit code into Airflow's terms. Raises AirflowFailException (no retry) or AirflowException."""
    what = complaint or "see the log above"
    if code in FINAL:
        raise AirflowFailException(f"{FINAL[code]} (exit code {code}): {what}")
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    raise AirflowException(f"{how}: {what}")


def _result(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "uri" in found else None
