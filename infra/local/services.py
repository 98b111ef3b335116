"""Airflow and MLflow run as processes of this machine, with embedded defaults below .nightstill.

    python3.11 -m infra.local.services up | down | status | airflow ARGUMENTS…

Each process has a pid file in .nightstill/run; `down` ends those processes and no others. Settings:
NIGHTSTILL_AIRFLOW_PORT (default 8080) and NIGHTSTILL_MLFLOW_PORT (default 5000); a taken default gives way to a free
port. AIRFLOW__… variables win over the defaults here.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

from infra.local.environments import ENVIRONMENTS, HOME, MARKER, PROJECT
from tasks.core.databases import driver_url
from tasks.core.errors import ConfigError

RUN = HOME / "run"
LOGS = HOME / "logs"
AIRFLOW_HOME = HOME / "airflow"
# Enough to run: the scheduler executes tasks itself and talks to the API server; the processor reads the DAG files; the
# triggerer waits for data that are late, and for pods.
ONE_NIGHT = ("api-server", "scheduler", "dag-processor", "triggerer")
ALL = (*ONE_NIGHT, "mlflow")
PORTS = {"api-server": ("NIGHTSTILL_AIRFLOW_PORT", 8080), "mlflow": ("NIGHTSTILL_MLFLOW_PORT", 5000)}


def airflow_environment(port: int, *, scheduled: bool = True) -> dict[str, str]:
    """Return the environment of every Airflow process. `scheduled`: whether cron schedules are followed."""
    secret = AIRFLOW_HOME / "jwt-secret"
    if not secret.is_file():
        AIRFLOW_HOME.mkdir(parents=True, exist_ok=True)
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_hex(32))
    url = f"http://127.0.0.1:{port}"
    defaults = {
        "AIRFLOW_HOME": str(AIRFLOW_HOME),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secret.read_text(),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(2 * (os.cpu_count() or 2)),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "dags" / "plugins"),
        "AIRFLOW__CORE__PARALLELISM": str((os.cpu_count() or 2) + 2),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        # Parsing costs seconds of a core; a DAG is read again at once when it is asked for.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60" if scheduled else "3600",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        # Four processes share one SQLite file; on a busy machine a writer waits longer than the 5 s of the default.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{AIRFLOW_HOME / 'airflow.db'}?timeout=60",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(scheduled),
        "NIGHTSTILL_PROJECT": str(PROJECT),
        # One switch for Airflow's metrics and the nights' own.
        "AIRFLOW__METRICS__OTEL_ON": str(bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))),
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        # Seconds; each task sends as it ends, and would wait 10 for a collector that is down.
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**defaults, **os.environ, "NIGHTSTILL_HOME": str(HOME), "PYTHONPATH": os.pathsep.join(paths)}


def start(names: Iterable[str], *, scheduled: bool = True) -> list[str]:
    """Start the services that do not run yet. Returns the names of the started ones."""
    missing = [name for name in names if running(name) is None]
    if not missing:
        return []
    port = _port("api-server")
    environment = airflow_environment(port, scheduled=scheduled)
    _migrate(environment)
    airflow = str(ENVIRONMENTS / "airflow" / "bin" / "airflow")
    for name in missing:
        if name == "mlflow":
            own_port = _port(name)
            _start(name, _mlflow(own_port), _mlflow_environment(), f"http://127.0.0.1:{own_port}")
        else:
            serving = ["--skip-serve-logs"] if name in ("scheduler", "triggerer") else []
            _start(name, [airflow, name, *serving], environment, f"http://127.0.0.1:{port}")
    return missing


def stop(names: Iterable[str]) -> None:
    """End the services that were started, with the processes that they started."""
    names = list(names)
    # Running tasks tell the API server how they ended, so it goes last.
    _end([name for name in names if name != "api-server"])
    _end([name for name in names if name == "api-server"])


def _end(names: Iterable[str]) -> None:
    found = {name: state for name in names if (state := running(name))}
    for _ in range(4):
        # More than once: Airflow's scheduler ends by an exception, which Python drops in some places.
        for name, state in found.items():
            if running(name):
                _signal(state, signal.SIGTERM)
        end = time.monotonic() + 5
        while time.monotonic() < end and any(running(name) for name in found):
            time.sleep(0.1)
    for name, state in found.items():
        _signal(state, signal.SIGKILL)
        (RUN / f"{name}.json").unlink(missing_ok=True)


def running(name: str) -> dict[str, object] | None:
    """Return the record of a running service; None if it is not running (or another process got its pid)."""
    path = RUN / f"{name}.json"
    if not path.is_file():
        return None
    state: dict[str, object] = json.loads(path.read_text())
    # One that had ended before its start could be noted has none.
    return state if state["born"] and _born(int(str(state["pid"]))) == state["born"] else None


def url(name: str) -> str:
    """Return the address of a running service."""
    state = running(name)
    return str(state["url"]) if state else ""


def wait_for(address: str, name: str, seconds: float = 120) -> None:
    """Wait until a service answers. Raises RuntimeError with its last log lines if it ends or never does.

    Raises ConfigError when another's server listens at its port: two that start at one moment both find it free.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and running(name):
        answers = _answers(address)
        _require_own(name, address)
        if answers and running(name):
            return
        time.sleep(0.3)
    _require_own(name, address)  # it has ended: the port was another's
    log = LOGS / f"{name}.log"
    raise RuntimeError(
        f"{name} does not answer at {address}; {log} ends:\n" + "\n".join(log.read_text().splitlines()[-15:])
    )


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):  # noqa: S310 a server of this machine
            return True
    except OSError:  # urllib's errors are some
        return False


def _require_own(name: str, address: str) -> None:
    """Raise ConfigError when the server at a started service's port is none of the processes that it started."""
    record = RUN / f"{name}.json"
    port, variable = urllib.parse.urlsplit(address).port, PORTS[name][0]
    if port and record.is_file() and _listens(int(json.loads(record.read_text())["pid"]), port) is False:
        way = f"set {variable} to a free one" if variable in os.environ else "start again, which takes a free one"
        raise ConfigError(f"{name}: another's server listens at port {port}; {way}")


def _listens(session: int, port: int) -> bool | None:
    """Return whether a process of a session listens at a port; None where nobody does or none can tell (macOS)."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                _, local, _, status, *_, inode = line.split()[:10]
                if status == "0A" and int(local.rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{inode}]")
    if not sockets:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(process.name)) == session:
                for descriptor in (process / "fd").iterdir():
                    with contextlib.suppress(OSError):  # closed since
                        if str(descriptor.readlink()) in sockets:
                            return True
    return False


def _start(name: str, command: list[str], environment: Mapping[str, str], address: str) -> None:
    for folder in (RUN, LOGS):
        folder.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    state = {"pid": process.pid, "born": _born(process.pid), "url": address}
    (RUN / f"{name}.json").write_text(json.dumps(state))


def _migrate(environment: Mapping[str, str]) -> None:
    """Create or upgrade Airflow's database, once per version of the environment."""
    made = (ENVIRONMENTS / "airflow" / MARKER).read_text()
    marker = AIRFLOW_HOME / ".migrated"
    if marker.is_file() and marker.read_text() == made:
        return
    print("preparing Airflow's database …", flush=True)
    command = [str(ENVIRONMENTS / "airflow" / "bin" / "airflow"), "db", "migrate"]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"airflow db migrate failed:\n{done.stdout}{done.stderr}")
    marker.write_text(made)


def _mlflow(port: int) -> list[str]:
    """Return the tracking server's command; its environment names its database, as the address may hold a password."""
    (HOME / "mlflow").mkdir(parents=True, exist_ok=True)
    program = str(ENVIRONMENTS / "task" / "bin" / "mlflow")
    return [program, "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]


def _mlflow_environment() -> dict[str, str]:
    """Return MLflow's environment: its own variables win; else its database is the one of stages without a server."""
    uri = os.environ.get("NIGHTSTILL_TRACKING_URI", "")
    named = driver_url(uri, "NIGHTSTILL_TRACKING_URI")
    own = named if uri and not uri.startswith("http") else f"sqlite:///{HOME / 'mlflow' / 'mlflow.db'}"
    # Its job queue, which nothing here uses, would be seven more processes.
    return {"MLFLOW_BACKEND_STORE_URI": own, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}


def _port(name: str) -> int:
    """Return the port of a running service, the one that is set, the default, or a free one, in this order."""
    if address := url(name):
        return int(address.rpartition(":")[2])
    variable, default = PORTS[name]
    if variable in os.environ:
        return int(os.environ[variable])
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", default))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _born(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; empty if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return done.stdout.strip()
    return "" if fields[0] == "Z" else fields[19]


def _signal(state: Mapping[str, object], number: signal.Signals) -> None:
    """Signal the service's own session, which holds the processes it started."""
    try:
        os.killpg(int(str(state["pid"])), number)
    except ProcessLookupError:
        return


def main(arguments: list[str]) -> int:
    """Run a command; a wrong setting is one line. Returns the exit code."""
    try:
        return _run(arguments)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _run(arguments: list[str]) -> int:
    """Run `up`, `down`, `status`, or Airflow's own program for this installation. Returns the exit code."""
    match arguments:
        case ["up"]:
            started = start(ALL)
            try:
                wait_for(f"{url('api-server')}/api/v2/version", "api-server")
                wait_for(url("mlflow"), "mlflow")
            except ConfigError:  # the others would work for a stranger's server
                stop(started)
                raise
        case ["down"]:
            stop(ALL)
        case ["status"]:
            pass
        case ["airflow", *rest]:
            command = [str(ENVIRONMENTS / "airflow" / "bin" / "airflow"), *rest]
            return subprocess.run(command, env=airflow_environment(_port("api-server")), check=False).returncode
        case _:
            print(__doc__, file=sys.stderr)
            return 64
    for name in ALL:
        state = running(name)
        print(f"{name:14}", f"pid {state['pid']}  {state['url']}" if state else "down")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
