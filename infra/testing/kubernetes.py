"""This runs one night of `sales` in pods of a real cluster, with a pod lost on the way (`make k8s-test`).

    NIGHTSTILL_HOME=… KUBECONFIG=… python -m infra.testing.kubernetes

Airflow and MLflow run here, stages in the namespace `nightstill-test`, which is made from infra/kubernetes and deleted
at the end. Airflow may do there what its Role says and no more. Needs kubectl, the task image in the cluster, and in
the environment: KUBECONFIG of somebody who may create namespaces; AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY of an S3 server that pods reach by that address; NIGHTSTILL_TEST_HOST, by which they reach this
machine. Exit code 0: every check holds; 1: one does not, see the table; 64: wrong usage.
"""

import base64
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import yaml

from infra.local import night, services
from infra.local.environments import ENVIRONMENTS, HOME, PROJECT
from tasks.core.storage import open_store
from tasks.releases.ledger import Ledger

NAMESPACE = "nightstill-test"
MANIFESTS = PROJECT / "infra" / "kubernetes"
NEEDED = ("KUBECONFIG", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "NIGHTSTILL_TEST_HOST")
SERVICES = services.ONE_NIGHT
VICTIM = "teach.lstm"
# Long enough for the training to have begun.
LIFE_SECONDS = 20
RUNNER = "airflow-scheduler"
# The caller is wrong, not the server.
REFUSED = range(400, 500)


class Cluster:
    """A cluster is the one of KUBECONFIG, by kubectl."""

    def __init__(self) -> None:
        self.victim: dict[str, Any] = {}

    def kubectl(self, *arguments: str, given: str = "") -> str:
        """Return the output of kubectl. Raises RuntimeError with its complaint."""
        done = subprocess.run(["kubectl", *arguments], input=given, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments[:3])}: {done.stderr.strip()}")
        return done.stdout

    def install(self) -> None:
        """Install the namespace with accounts, rights, limits and policies of infra/kubernetes, and the Secret."""
        for name in ("namespace", "accounts", "rbac", "limits", "network"):
            documents = list(yaml.safe_load_all((MANIFESTS / f"{name}.yaml").read_text()))
            self.kubectl("apply", "-f", "-", given=yaml.safe_dump_all(map(moved, documents)))
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": RUNNER, "namespace": NAMESPACE}}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "nightstill-stage", "namespace": NAMESPACE},
            "stringData": {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
        }
        self.kubectl("apply", "-f", "-", given=yaml.safe_dump_all([account, secret]))

    def kubeconfig(self) -> dict[str, Any]:
        """Return a configuration by which Airflow is its service account, not the administrator who runs this."""
        found: dict[str, Any] = json.loads(
            self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
        )
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 14400}}
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{RUNNER}/token"
        answer = json.loads(self.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(body)))
        found["users"][0]["user"] = {"token": answer["status"]["token"]}
        return found

    def pods(self) -> list[dict[str, Any]]:
        """Return all pods of the namespace."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", "pods", "-n", NAMESPACE, "-o", "json"))["items"]
        return found

    def kill(self) -> None:
        """Wait for the victim to train for a while, and take its pod away as a lost node would."""
        while not self.victim:
            time.sleep(1)
            for pod in self.pods():
                state = (pod["status"].get("containerStatuses") or [{}])[0].get("state", {})
                if pod["metadata"]["labels"].get("nightstill.io/stage") != VICTIM or "running" not in state:
                    continue
                age = datetime.now(UTC) - datetime.fromisoformat(state["running"]["startedAt"])
                if age.total_seconds() >= LIFE_SECONDS:
                    name = pod["metadata"]["name"]
                    self.kubectl("delete", "pod", name, "-n", NAMESPACE, "--force", "--grace-period=0")
                    print(f"          pod {name} deleted after {age.total_seconds():.0f} s of training", flush=True)
                    self.victim = pod

    def may(self, account: str, verb: str, resource: str, namespace: str = NAMESPACE) -> bool:
        """Return whether a service account of the namespace may do something."""
        whom = f"system:serviceaccount:{NAMESPACE}:{account}"
        # kubectl takes pods/exec for a pod of the name `exec`.
        kind, _, part = resource.partition("/")
        asked = ["kubectl", "auth", "can-i", verb, kind, f"--subresource={part}", "-n", namespace, "--as", whom]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def moved(document: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest for the namespace of this test."""
    metadata = document["metadata"]
    if document["kind"] == "Namespace":
        return {**document, "metadata": {**metadata, "name": NAMESPACE}}
    found = {**document, "metadata": {**metadata, "namespace": NAMESPACE}}
    if "subjects" in document:
        found["subjects"] = [{**subject, "namespace": NAMESPACE} for subject in document["subjects"]]
    return found


def create(configuration: dict[str, Any], pod: dict[str, Any]) -> tuple[int, str]:
    """Ask the API server for a pod as Airflow would. Returns the HTTP status and the answer."""
    cluster, user = configuration["clusters"][0]["cluster"], configuration["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    request = urllib.request.Request(  # noqa: S310 the cluster of KUBECONFIG
        f"{cluster['server']}/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All",
        method="POST",
        data=json.dumps(pod).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {user['token']}"},
    )
    try:
        context = ssl.create_default_context(cadata=authority)
        with urllib.request.urlopen(request, timeout=30, context=context) as response:  # noqa: S310
            return response.status, ""
    except urllib.error.HTTPError as error:
        return error.code, str(json.loads(error.read())["message"])


def like(victim: dict[str, Any], memory: str) -> dict[str, Any]:
    """Return the pod that Airflow asked for, once more, with another limit of memory."""
    pod: dict[str, Any] = json.loads(json.dumps(victim))
    pod.pop("status")
    pod["metadata"] = {"name": f"again-{secrets.token_hex(4)}", "labels": pod["metadata"]["labels"]}
    pod["spec"].pop("nodeName", None)
    resources = pod["spec"]["containers"][0]["resources"]
    for kind in ("limits", "requests"):
        resources[kind]["memory"] = memory
    return pod


@contextmanager
def mlflow(port: int) -> Iterator[None]:
    """Run MLflow where pods reach it."""
    folder = HOME / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(ENVIRONMENTS / "task" / "bin" / "mlflow"), "server", "--workers", "1"]
    command += ["--host", "0.0.0.0", "--port", str(port), "--allowed-hosts", "*"]  # noqa: S104 pods come from outside
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (HOME / "mlflow.log").open("ab") as log:
        process = subprocess.Popen(command, env=quiet, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.5)
        else:
            raise RuntimeError(f"MLflow does not answer; see {HOME / 'mlflow.log'}")
        yield
    finally:
        process.terminate()
        process.wait(30)


def settings(bucket: str, port: int, kubeconfig: Path) -> dict[str, str]:
    """Return the environment of Airflow."""
    return {
        "NIGHTSTILL_RUNNER": "kubernetes",
        "NIGHTSTILL_RUN_STORE": f"s3://{bucket}/runs",
        "NIGHTSTILL_RELEASE_STORE": f"s3://{bucket}/releases",
        "NIGHTSTILL_DVC_REMOTE": f"s3://{bucket}/data",
        "NIGHTSTILL_FORECASTS": f"s3://{bucket}/forecasts",
        "NIGHTSTILL_TRACKING_URI": f"http://{os.environ['NIGHTSTILL_TEST_HOST']}:{port}",
        "NIGHTSTILL_KUBERNETES_NAMESPACE": NAMESPACE,
        "KUBECONFIG": str(kubeconfig),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    }


def run(cluster: Cluster, bucket: str) -> list[tuple[str, str, bool]]:
    """Run the night and its checks: each check's name, the value seen, whether that is right."""
    cluster.install()
    configuration = cluster.kubeconfig()
    kubeconfig = HOME / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(json.dumps(configuration))
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = int(probe.getsockname()[1])
    administrator = os.environ["KUBECONFIG"]
    os.environ.update(settings(bucket, port, kubeconfig))
    started: list[str] = []
    with mlflow(port):
        try:
            since, began = datetime.now(UTC), time.monotonic()
            started = services.start(SERVICES, scheduled=False)
            services.wait_for(f"{services.url('api-server')}/api/v2/version", "api-server")
            os.environ["KUBECONFIG"] = administrator
            threading.Thread(target=cluster.kill, daemon=True).start()
            code = night.run_night("sales", {"as_of": None, "force": False, "dry_run": False}, since)
            seconds = time.monotonic() - began
            return [("night", f"exit code {code}, {seconds:.0f} s", code == 0), *verdict(cluster, configuration)]
        finally:
            services.stop(started)


def verdict(cluster: Cluster, configuration: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Return the checks of the ended night."""
    airflow = night.Airflow(services.url("api-server"))
    last = airflow.api("GET", "/dags/nightly_sales/dagRuns?order_by=-run_after&limit=1")["dag_runs"][0]["dag_run_id"]
    place = f"/dags/nightly_sales/dagRuns/{last}/taskInstances"
    promoted = airflow.api("GET", f"{place}/promote/xcomEntries/return_value?deserialize=true")["value"]
    tries = {task["task_id"]: task["try_number"] for task in airflow.api("GET", place)["task_instances"]}
    entries = Ledger(open_store(os.environ["NIGHTSTILL_RELEASE_STORE"]), "sales").entries()
    good, _ = create(configuration, like(cluster.victim, "1Gi")) if cluster.victim else (0, "")
    bad, said = create(configuration, like(cluster.victim, "4GiB")) if cluster.victim else (0, "")
    left = [pod["metadata"]["name"] for pod in cluster.pods()]
    rights = [
        cluster.may("nightstill-stage", "get", "pods"),
        cluster.may("nightstill-stage", "get", "secrets"),
        cluster.may(RUNNER, "get", "secrets"),
        cluster.may(RUNNER, "create", "pods", "default"),
        cluster.may(RUNNER, "create", "pods/exec"),
    ]
    needed = [cluster.may(RUNNER, "create", "pods"), cluster.may(RUNNER, "get", "pods/log")]
    return [
        ("outcome", str(promoted.get("outcome")), promoted.get("outcome") == "promoted"),
        ("lost pod", f"{VICTIM} ended on attempt {tries[VICTIM]}", bool(cluster.victim) and tries[VICTIM] == 2),
        ("other tasks", f"{sum(tries.values()) - len(tries)} retries in all", sum(tries.values()) == len(tries) + 1),
        ("ledger", f"{len(entries)} entry, chain holds", len(entries) == 1),
        ("pod of 1Gi", f"HTTP {good}", good == 201),
        ("pod of 4GiB", f"HTTP {bad}: {said[:60]}", bad in REFUSED),
        ("pods left", str(len(left)), not left),
        ("rights too many", str(sum(rights)), not any(rights)),
        ("runner's rights", "create pods, get pods/log", all(needed)),
    ]


def main() -> int:
    """Run the command line of the module's text. Returns the exit code."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing or not shutil.which("kubectl"):
        print(f"error: set {', '.join(missing)}" if missing else "error: kubectl is not installed", file=sys.stderr)
        return 64
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    # What an earlier test left goes; a folder that somebody works in does not.
    if HOME.exists() and not (HOME / "envs").is_symlink():
        print(f"error: NIGHTSTILL_HOME={HOME}: not a folder of this test; name one of its own", file=sys.stderr)
        return 64
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    (HOME / "envs").symlink_to(Path(sys.prefix).parent)
    bucket = f"nightstill-{secrets.token_hex(4)}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    cluster = Cluster()
    try:
        found = run(cluster, bucket)
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=180s")
    for what, seen, right in found:
        print(f"{what:16} {seen:70} {'ok' if right else 'WRONG'}")
    return 0 if all(right for *_, right in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
