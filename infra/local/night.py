"""This makes both environments and follows one run of a workload's DAG under real Airflow to its end (`make run`).

    python3.11 -m infra.local.night WORKLOAD [--as-of YYYY-MM-DD] [--force] [--dry-run]

Uses the Airflow that `make up` started; without one, starts scheduler, DAG processor and API server for this run and
stops them afterwards. Exit code 0: the run succeeded (a rejected candidate is a result, not a failure); 1: it failed;
64: there is no such workload; 75: Airflow did not come up, or an environment could not be made.
"""

import argparse
import json
import string
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from infra.local import environments, services
from infra.local.environments import ENVIRONMENTS, HOME, PROJECT
from tasks.core.errors import ConfigError

ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}
PARSE_SECONDS = 120
ANSWER_SECONDS = 60.0
PAUSE_SECONDS = 1.0
# The DAG files read it (dags/project.py): a workload of `workloads/` has DAGs here once it was asked for.
ASKED = HOME / "workloads.asked"
SIGNS = {*string.ascii_lowercase, *string.digits, "-"}


class UnknownWorkload(Exception):
    """No file has a section for the workload; the message names those that Airflow shows."""


class NotMade(Exception):
    """An environment could not be made; why was printed."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Airflow:
    """This makes the few calls of Airflow's REST API that are needed here."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.token = ""
        self.token = self.call("GET", "/auth/token")["access_token"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make one request, and again when the server stumbles or a busy one is late. Raises HTTPError, OSError."""
        for _ in range(5):
            try:
                return self._once(method, path, body)
            except urllib.error.HTTPError as error:
                # SQLite refuses a writer whose view of the database became old; nothing was written then.
                if error.code < 500:
                    raise
            except TimeoutError:
                pass
            time.sleep(PAUSE_SECONDS)
        return self._once(method, path, body)

    def _once(self, method: str, path: str, body: Any) -> Any:
        request = urllib.request.Request(  # noqa: S310 our own server
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {self.token}"} if self.token else {}),
        )
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:  # noqa: S310 our own server
            text = response.read()
            return json.loads(text) if text else None

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Make one request below /api/v2."""
        return self.call(method, f"/api/v2{path}", body)


def ask_for(workload: str) -> None:
    """Note the workload, so that its DAGs appear; a name that no workload has changes nothing."""
    asked = ASKED.read_text().split() if ASKED.is_file() else []
    if workload not in asked and not (set(workload) - SIGNS):
        ASKED.parent.mkdir(parents=True, exist_ok=True)
        ASKED.write_text("".join(f"{name}\n" for name in [*asked, workload]))


def wait_for_dag(airflow: Airflow, dag_id: str, since: datetime) -> dict[str, Any]:
    """Return the DAG, read at `since` or later. Raises UnknownWorkload, or RuntimeError if the files cannot be read."""
    end = time.monotonic() + PARSE_SECONDS
    asked: set[str] = set()
    while time.monotonic() < end:
        found = airflow.api("GET", "/dags?dag_id_pattern=nightly_&limit=100")["dags"]
        fresh = {dag["dag_id"]: dag for dag in found if datetime.fromisoformat(dag["last_parsed_time"]) > since}
        if dag_id in fresh:
            dag: dict[str, Any] = fresh[dag_id]
            return dag
        if fresh:
            names = ", ".join(sorted(name.removeprefix("nightly_") for name in fresh))
            workload = dag_id.removeprefix("nightly_")
            raise UnknownWorkload(f"neither params.yaml nor workloads/ has a workload {workload!r}; there are: {names}")
        for problem in airflow.api("GET", "/importErrors")["import_errors"]:
            if datetime.fromisoformat(problem["timestamp"]) > since:
                last = problem["stack_trace"].strip().splitlines()[-1]
                raise RuntimeError(f"{problem['filename']}: {last}")
        for token in {dag["file_token"] for dag in found} - asked:
            airflow.api("PUT", f"/parseDagFile/{token}")
            asked.add(token)
        time.sleep(0.5)
    raise RuntimeError(f"Airflow read no DAG in {PARSE_SECONDS} s; see {services.LOGS / 'dag-processor.log'}")


def trigger(airflow: Airflow, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
    """Create the run. Raises HTTPError."""
    try:
        airflow.api("POST", f"/dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf})
    except urllib.error.HTTPError as error:
        # The answer to an earlier try was lost, the run was not.
        if error.code != 409:
            raise


def follow(airflow: Airflow, dag_id: str, run_id: str) -> str:
    """Print a line for each task that starts or ends. Returns the run's final state."""
    run = f"/dags/{dag_id}/dagRuns/{run_id}"
    began = time.monotonic()
    seen: dict[str, str] = {}
    while True:
        state: str = airflow.api("GET", run)["state"]
        for task in airflow.api("GET", f"{run}/taskInstances?limit=500")["task_instances"]:
            name, now = task["task_id"], task["state"] or "none"
            if seen.get(name) == now or (now not in ENDED and now not in ("running", "up_for_retry", "deferred")):
                continue
            seen[name] = now
            print(f"{time.monotonic() - began:7.1f} s  {name:28} {now}{_detail(airflow, run, task)}", flush=True)
        if state in ("success", "failed"):
            return state
        time.sleep(1)


def _detail(airflow: Airflow, run: str, task: dict[str, Any]) -> str:
    if task["state"] == "success":
        try:
            found = airflow.api(
                "GET", f"{run}/taskInstances/{task['task_id']}/xcomEntries/return_value?deserialize=true"
            )
        except urllib.error.HTTPError:
            return ""
        value = found["value"]
        return (
            "".join(f", {value[key]}" for key in ("status", "outcome") if key in value)
            if isinstance(value, dict)
            else ""
        )
    if task["state"] in ("failed", "up_for_retry"):
        folder = f"dag_id={task['dag_id']}/run_id={task['dag_run_id']}/task_id={task['task_id']}"
        return f", log: {services.AIRFLOW_HOME / 'logs' / folder}/attempt={task['try_number']}.log"
    return ""


def run_night(workload: str, conf: dict[str, Any], since: datetime) -> int:
    """Trigger the workload's DAG, read at `since` or later, follow it, show the result. Returns the exit code."""
    airflow = Airflow(services.url("api-server"))
    dag_id = f"nightly_{workload}"
    dag = wait_for_dag(airflow, dag_id, since)
    run_id = f"make-run-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    airflow.api("PATCH", f"/dags/{dag_id}?update_mask=is_paused", {"is_paused": False})
    try:
        trigger(airflow, dag_id, run_id, conf)
        print(f"run {run_id} of {dag_id}: {airflow.url}/dags/{dag_id}/runs/{run_id}", flush=True)
        try:
            state = follow(airflow, dag_id, run_id)
        except KeyboardInterrupt:
            airflow.api("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}?update_mask=state", {"state": "failed"})
            print("interrupted: Airflow ends the run's tasks", file=sys.stderr)
            time.sleep(10)
            raise
    finally:
        if dag["is_paused"]:
            airflow.api("PATCH", f"/dags/{dag_id}?update_mask=is_paused", {"is_paused": True})
    program = ENVIRONMENTS / "task" / "bin" / "nightstill"
    environment = {**services.airflow_environment(0), "PYTHONPATH": ""}
    subprocess.run([program, "show", workload, "--run-id", run_id], cwd=PROJECT, env=environment, check=False)
    return 0 if state == "success" else 1


def prepare() -> list[str]:
    """Make both environments, and start Airflow as soon as its own is there.

    Returns the services that did not run before. Raises NotMade.
    """
    with ThreadPoolExecutor(1) as pool:
        _make("airflow")
        stages = pool.submit(_make, "task")
        started = services.start(services.ONE_NIGHT, scheduled=False)
        try:
            stages.result()
        except BaseException:
            services.stop(started)
            raise
    return started


def _make(name: str) -> None:
    if code := environments.main([name]):
        raise NotMade(code)


def main(arguments: list[str]) -> int:
    """Run the command line of the module's text. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="make run", description="Run a workload's DAG once under real Airflow.")
    parser.add_argument("workload")
    parser.add_argument("--as-of", help="last day of data, YYYY-MM-DD; default: yesterday in the workload's timezone")
    parser.add_argument("--force", action="store_true", help="run every stage even if nothing changed")
    parser.add_argument("--dry-run", action="store_true", help="stop short of the release")
    asked = parser.parse_args(arguments)
    conf = {"as_of": asked.as_of or None, "force": asked.force, "dry_run": asked.dry_run}
    ask_for(asked.workload)
    since = datetime.now(UTC)
    started: list[str] = []
    try:
        started = prepare()
        services.wait_for(f"{services.url('api-server')}/api/v2/version", "api-server")
        code = run_night(asked.workload, conf, since)
        if started:
            print("Airflow  stopped again; `make up` keeps its pages and MLflow's open")
        else:
            print(f"Airflow  {services.url('api-server')}\nMLflow   {services.url('mlflow')}")
        return code
    except urllib.error.HTTPError as error:
        print(f"error: Airflow refused: {error.code} {error.read().decode()[:500]}", file=sys.stderr)
        return 64 if error.code < 500 else 75
    except NotMade as error:
        return error.code
    except UnknownWorkload as error:
        print(f"error: {error}", file=sys.stderr)
        return 64
    except (ConfigError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 75)
    except KeyboardInterrupt:
        return 130
    finally:
        services.stop(started)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
