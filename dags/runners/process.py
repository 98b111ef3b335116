"""Stages run as processes of this machine, in the environment of the tasks."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException

from dags.project import HOME, ROOT
from dags.runners.command import Command
from dags.runners.exits import complaint_of, fail

# Airflow kills a task's process 5 s after asking it to end; by then the command, in a session of its own, must be gone.
GRACE_SECONDS = 3


class ProcessOperator(BaseOperator):
    """This runs `python -m tasks <arguments>` in the task environment; empty arguments are left out.

    Its XCom is the JSON object that the command prints last: the result manifest's URI and digest, the status, and
    the outcome of a promotion. Exit codes of FINAL fail the task for good, other failures are retried.
    """

    template_fields: Sequence[str] = ("arguments",)
    ui_color = "#dbe7f5"

    def __init__(self, *, command: Command, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.arguments = list(command.arguments)
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
                complaint = complaint_of(line) or complaint
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


def task_python() -> str:
    """Return the Python of the stages' environment."""
    return os.environ.get("NIGHTSTILL_TASK_PYTHON") or str(HOME / "envs" / "task" / "bin" / "python")


def _result(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "uri" in found else None
