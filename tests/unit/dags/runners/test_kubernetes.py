"""Stages as pods: the provider's own operator, trigger and client, against an API server made for the tests."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes import kubernetes_helper_functions
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from airflow.sdk.execution_time.timeout import timeout
from kubernetes.client import ApiClient

from dags.nightly import make
from dags.project import workloads
from dags.runners import containers, kubernetes_json, run_command
from dags.runners.command import Command
from dags.runners.kubernetes import KubernetesSettings, PodOperator, kubernetes_settings
from dags.waiting import wait_for_data
from tasks.core.params import Patience
from tasks.core.storage import FolderStore
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.resources import Limits, ResourcesError
from tests.unit.dags.runners.cluster import Cluster, check
from tests.unit.dags.runners.connection import connect

KEY = "runs/sales/r/teach@lstm.json"
RUN = "scheduled__2026-01-05T02:00:00+00:00"
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIASECRETKEY",
    "AWS_SECRET_ACCESS_KEY": "verysecretvalue",
    "MLFLOW_TRACKING_PASSWORD": "mlflowsecret",
}
SHARED = {
    "NIGHTSTILL_RUN_STORE": "s3://bucket/runs",
    "NIGHTSTILL_RELEASE_STORE": "s3://bucket/releases",
    "NIGHTSTILL_DVC_REMOTE": "s3://bucket/data",
    "NIGHTSTILL_FORECASTS": "s3://bucket/forecasts",
    "NIGHTSTILL_TRACKING_URI": "http://mlflow.nightstill:5000",
    "AWS_ENDPOINT_URL": "http://s3.example:9000",
}


def forget() -> None:
    kubernetes_settings.cache_clear()
    containers.container_settings.cache_clear()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("AWS_", "NIGHTSTILL_"))]:
        monkeypatch.delenv(name)
    for name, value in {**SHARED, **SECRETS, "NIGHTSTILL_RUNNER": "kubernetes"}.items():
        monkeypatch.setenv(name, value)
    forget()
    yield
    forget()


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets `NIGHTSTILL_KUBERNETES_…`."""

    def setting(**settings: str) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(f"NIGHTSTILL_KUBERNETES_{name.upper()}", value)
        forget()

    return setting


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configure: Callable[..., None]) -> Iterator[Cluster]:
    server = Cluster()
    connect(server.url, tmp_path, monkeypatch)
    monkeypatch.setattr(kubernetes_helper_functions, "_default_wait", lambda _state: 0.01)
    configure(connection="test_cluster")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """Stands for S3."""
    found = FolderStore(tmp_path / "store")
    monkeypatch.setattr(containers, "open_store", lambda _uri: found)
    return found


def manifest(**changes: Any) -> bytes:
    told = {
        "workload": "sales",
        "run_id": "r",
        "stage": "teach@lstm",
        "status": "done",
        "reason": "first run",
        **changes,
    }
    return Manifest.model_validate(told).model_dump_json().encode()


class Attempt:
    """One attempt at a task: the operator, what it pushed, and the state that outlives it."""

    def __init__(self, state: dict[str, Any] | None = None, **changes: Any) -> None:
        told: dict[str, Any] = {
            "name": "sales/teach@lstm",
            "arguments": ("run-stage", "teach@lstm", "", "--run-id", "r"),
            "result": KEY,
            "limits": Limits(cpus=1.5, memory="3Gi", workspace="1Gi"),
        }
        self.operator = PodOperator(task_id="lstm", command=Command(**{**told, **changes}))
        self.operator.startup_check_interval_seconds = 0
        self.pushed: dict[str, Any] = {}
        ti = SimpleNamespace(
            dag_id="nightly_sales",
            task_id="teach.lstm",
            try_number=1,
            map_index=-1,
            start_date=datetime.now(UTC),
            xcom_push=lambda key, value: self.pushed.update({key: value}),
        )
        task_state: Any = SimpleNamespace(get=(state or {}).get, set=(state if state is not None else {}).__setitem__)
        self.context: Any = {"ti": ti, "run_id": RUN, "dag": SimpleNamespace(), "task_state_store": task_state}

    def execute(self) -> Any:
        return self.operator.execute(self.context)

    def defer(self) -> Any:
        """Start the pod; returns the trigger that waits for it."""
        with pytest.raises(TaskDeferred) as caught:
            self.execute()
        trigger: Any = caught.value.trigger
        trigger.startup_check_interval = trigger.poll_interval = 0.01
        return trigger

    def resume(self, trigger: Any) -> Any:
        """Wait as the triggerer does, and go on in an operator of its own, as a worker does."""
        event = asyncio.run(anext(trigger.run())).payload
        again = Attempt()
        again.pushed = self.pushed
        return again.operator.trigger_reentry(again.context, event)


def attempt_of(mode: str, configure: Callable[..., None]) -> Callable[[], Any]:
    """A whole attempt, by a worker that waits or by one that defers."""
    configure(deferrable=str(mode == "deferred"))

    def run() -> Any:
        attempt = Attempt()
        return attempt.resume(attempt.defer()) if mode == "deferred" else attempt.execute()

    return run


MODES = pytest.mark.parametrize("mode", ["waiting", "deferred"])


def request(operator: PodOperator) -> dict[str, Any]:
    """The pod that would be asked for, as JSON."""
    context: Any = Attempt().context
    operator.env_vars = containers.plain_environment()
    operator.name = operator._set_name(operator.name)
    found: dict[str, Any] = ApiClient().sanitize_for_serialization(
        operator.build_pod_request_obj(context, dry_run=True)
    )
    return found


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["spec"]["containers"]
    assert isinstance(only, dict)
    return only


# The pod.


def operators(workload: str) -> dict[str, PodOperator]:
    tasks = make(workload, workloads()[workload]).tasks
    return {task.task_id: task for task in tasks if isinstance(task, PodOperator)}


@pytest.mark.parametrize("workload", ["sales", "customers"])
def test_every_task_asks_for_a_pod_that_kubernetes_takes(workload: str) -> None:
    found = operators(workload)
    assert {"plan", "snapshot", "evaluate", "promote", "report"} <= set(found) and len(found) > 12
    for operator in found.values():
        check(request(operator))


def test_limits_of_params_yaml_reach_the_pod() -> None:
    section = dict(workloads()["sales"])
    section["resources"] = {
        "default": {"cpus": 0.5, "memory": "512Mi"},
        "teach@lstm": {"cpus": 2, "memory": "6Gi", "workspace": "8Gi"},
    }
    tasks = {task.task_id: task for task in make("sales", section).tasks}
    pod = request(tasks["teach.lstm"])  # type: ignore[arg-type]
    resources = container(pod)["resources"]
    assert resources["limits"] == {"cpu": "2000m", "memory": "6Gi", "ephemeral-storage": "8Gi"}
    assert resources["requests"] == resources["limits"]
    assert pod["spec"]["volumes"] == [{"name": "workspace", "emptyDir": {"sizeLimit": "8Gi"}}]
    other = container(request(tasks["report"]))["resources"]["limits"]  # type: ignore[arg-type]
    assert other == {"cpu": "500m", "memory": "512Mi", "ephemeral-storage": "2Gi"}


def test_what_somebody_typed_is_not_expanded_by_the_kubelet(cluster: Cluster) -> None:
    Attempt(arguments=("release", "--reason=$(AWS_SECRET_ACCESS_KEY) costs $5")).defer()
    # Kubernetes makes $ of $$, and leaves alone what then looks like a reference.
    assert container(cluster.pod)["args"] == ["release", "--reason=$$(AWS_SECRET_ACCESS_KEY) costs $$5"]


@pytest.mark.parametrize("quantity", ["4GiB", "1x", "-1Gi", "", "1.5"])
def test_a_quantity_that_is_none_is_told_when_the_dag_is_loaded(quantity: str) -> None:
    section = {**workloads()["sales"], "resources": {"teach": {"memory": quantity}}}
    with pytest.raises(ResourcesError, match=r"resources\.teach\.memory"):
        make("sales", section)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("resources", "limits", "memory"), "4GiB", "memory"),
        (("resources", "limits", "cpu"), "1x", "cpu"),
        (("resources", "limits"), ["4Gi"], "is not of type 'object'"),
        (("memry",), "4Gi", "memry"),
        (("securityContext", "readOnlyRootFilesystem"), "yes", "yes"),
        (("env",), [{"value": "nameless"}], "name"),
    ],
)
def test_the_check_itself_refuses_what_kubernetes_refuses(path: tuple[str, ...], value: Any, said: str) -> None:
    pod = request(Attempt().operator)
    place = container(pod)
    for name in path[:-1]:
        place = place[name]
    check(pod)
    place[path[-1]] = value
    with pytest.raises(ValueError, match=said):
        check(pod)


def test_a_workspace_in_memory(configure: Callable[..., None]) -> None:
    configure(workspace_medium="Memory")
    pod = request(Attempt().operator)
    assert pod["spec"]["volumes"] == [{"name": "workspace", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]
    # It counts towards memory, so no room on the node's disk is asked for.
    assert container(pod)["resources"]["requests"] == {"cpu": "1500m", "memory": "3Gi"}
    check(pod)


def test_the_pod_has_no_rights() -> None:
    pod = request(Attempt().operator)
    spec, main = pod["spec"], container(pod)
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert main["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == "nightstill-stage"
    assert not {"hostNetwork", "hostPID", "hostIPC"} & {name for name, value in spec.items() if value}
    assert main["volumeMounts"] == [{"name": "workspace", "mountPath": "/workspace"}]
    assert spec["restartPolicy"] == "Never"


def test_credentials_are_named_and_never_written_down(cluster: Cluster, configure: Callable[..., None]) -> None:
    configure(config_map="further", secret="other-secret")
    Attempt().defer()
    pod = cluster.pod
    main = container(pod)
    assert main["envFrom"] == [{"configMapRef": {"name": "further"}}, {"secretRef": {"name": "other-secret"}}]
    assert {pair["name"]: pair["value"] for pair in main["env"]} == SHARED
    text = json.dumps(pod)
    assert not [name for name, value in SECRETS.items() if value in text or name in text]
    # The word is searched for where it would be found.
    assert "s3://bucket/runs" in text


def test_labels_say_which_stage_of_which_run(cluster: Cluster) -> None:
    Attempt().defer()
    labels = cluster.pod["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "nightstill" and labels["app.kubernetes.io/component"] == "stage"
    assert (labels["nightstill.io/workload"], labels["nightstill.io/stage"]) == ("sales", "teach.lstm")
    assert labels["nightstill.io/run"].startswith("scheduled__2026-01-05T020000") and "+" not in str(labels)
    assert cluster.pod["metadata"]["name"].startswith("sales-teach-lstm-")
    assert container(cluster.pod)["args"] == ["run-stage", "teach@lstm", "--run-id", "r"]


@pytest.mark.parametrize(
    ("arguments", "account", "secrets"),
    [
        (("run-stage", "teach@lstm"), "nightstill-stage", ["nightstill-stage"]),
        (("run-stage", "promote"), "nightstill-promotion", ["nightstill-stage", "keys"]),
        (("release", "rollback", "sales", "3"), "nightstill-promotion", ["nightstill-stage", "keys"]),
        (("watch", "sales"), "nightstill-promotion", ["nightstill-stage", "keys"]),
        (("shadow", "sales"), "nightstill-promotion", ["nightstill-stage", "keys"]),
        (("tidy", "--remove"), "nightstill-promotion", ["nightstill-stage", "keys"]),
    ],
)
def test_only_what_writes_releases_gets_the_rights_to(
    configure: Callable[..., None], arguments: tuple[str, ...], account: str, secrets: list[str]
) -> None:
    configure(promotion_account="nightstill-promotion", promotion_secret="keys")
    pod = request(Attempt(arguments=arguments).operator)
    assert pod["spec"]["serviceAccountName"] == account
    assert [one["secretRef"]["name"] for one in container(pod)["envFrom"] if "secretRef" in one] == secrets


def test_what_the_cluster_s_operator_says_reaches_the_pod(configure: Callable[..., None]) -> None:
    terms = [{"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    toleration = {"key": "night", "operator": "Exists", "effect": "NoSchedule"}
    configure(
        namespace="batch",
        service_account="sa",
        image_pull_policy="Always",
        image_pull_secrets="one two",
        node_selector='{"pool": "train"}',
        tolerations=json.dumps([toleration]),
        affinity=json.dumps(affinity),
    )
    pod = request(Attempt().operator)
    spec = pod["spec"]
    assert pod["metadata"]["namespace"] == "batch" and spec["serviceAccountName"] == "sa"
    assert container(pod)["imagePullPolicy"] == "Always"
    assert spec["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    assert (spec["nodeSelector"], spec["tolerations"], spec["affinity"]) == ({"pool": "train"}, [toleration], affinity)
    check(pod)


# Settings.


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("namespace", "Night Still", "pattern"),
        ("secret", "", "pattern"),
        ("image_pull_policy", "Sometimes", "'Always', 'IfNotPresent' or 'Never'"),
        ("workspace_medium", "HugePages", "'' or 'Memory'"),
        ("deferrable", "perhaps", "boolean"),
        ("logging_interval", "0", "greater than 0"),
        ("startup_timeout", "soon", "integer"),
        ("node_selector", '{"pool": 1}', "pool: 1 is not a string"),
        ("node_selector", "pool=train", "Expecting value"),
        ("tolerations", "[{", "Expecting"),
        ("tolerations", '{"key": "night"}', "is not a list"),
        ("tolerations", '[{"key": "night", "operator": "Like"}]', r"\[0\]\.operator: 'Like' is none of Exists, Equal"),
        ("tolerations", '[{"effect": "NoSchedules"}]', "none of NoSchedule, PreferNoSchedule, NoExecute"),
        ("tolerations", '[{"kee": "night"}]', r"\[0\]\.kee: no such field; there are: effect, key"),
        ("tolerations", '[{"tolerationSeconds": "60"}]', "tolerationSeconds: '60' is not a whole number"),
        ("tolerations", '[{"tolerationSeconds": true}]', "tolerationSeconds: True is not a whole number"),
        ("affinity", '{"nodeAffinty": {}}', "nodeAffinty: no such field"),
        ("affinity", "[]", "is not an object"),
        (
            "affinity",
            '{"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}',
            r"requiredDuringSchedulingIgnoredDuringExecution\[0\]: .*topology_key",
        ),
        (
            "affinity",
            '{"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":'
            ' [{"matchExpressions": [{"key": "a", "operator": "Equals"}]}]}}}',
            "'Equals' is none of In, NotIn",
        ),
    ],
)
def test_a_setting_that_is_wrong_is_named_when_the_dag_is_loaded(
    configure: Callable[..., None], name: str, value: str, said: str
) -> None:
    configure(**{name: value})
    with pytest.raises(ValueError, match=f"^NIGHTSTILL_KUBERNETES_{name.upper()}=") as caught:
        run_command({}, Command(name="sales/plan", arguments=("plan",)), task_id="plan")
    with pytest.raises(ValueError, match=said):
        raise caught.value


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        KubernetesSettings().namespace = "other"  # type: ignore[misc]


def test_json_of_every_shape_is_read_as_the_schema_has_it() -> None:
    term = {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"}
    value = {
        "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 3, "podAffinityTerm": term}]}
    }
    assert ApiClient().sanitize_for_serialization(kubernetes_json.read("V1Affinity", value)) == value


def test_a_store_that_is_not_shared_starts_no_pod(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_RUN_STORE", "/var/store")
    with pytest.raises(AirflowFailException, match="NIGHTSTILL_RUN_STORE='/var/store'"):
        Attempt().execute()
    assert cluster.sent == []


@pytest.mark.parametrize(
    ("variables", "connection", "found"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "", True),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBECONFIG": "/there"}, "", None),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "test_cluster", None),
        ({}, "", None),
    ],
)
def test_which_cluster(
    monkeypatch: pytest.MonkeyPatch,
    configure: Callable[..., None],
    variables: dict[str, str],
    connection: str,
    found: bool | None,
) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    configure(connection=connection)
    operator = Attempt().operator
    operator._locate()
    assert operator.in_cluster is found


def test_no_kubeconfig_reaches_airflow_s_database(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    _, kept = Attempt().defer().serialize()
    assert kept["config_dict"] is None


# Results.


@MODES
def test_the_result_is_the_manifest(
    mode: str, configure: Callable[..., None], cluster: Cluster, store: FolderStore
) -> None:
    data = manifest(summary={"outcome": "promoted"})
    store.write(KEY, data)
    configure(deferrable=str(mode == "deferred"))
    attempt = Attempt()
    cluster.lines = ["epoch 1", "epoch 2"]
    if mode == "deferred":
        trigger = attempt.defer()
        cluster.ends(0)
        found = attempt.resume(trigger)
    else:
        cluster.ends(0)
        found = attempt.execute()
    assert found["uri"] == store.url(KEY) and found["status"] == "done" and found["outcome"] == "promoted"
    assert attempt.pushed["return_value"] == found
    assert len(cluster.calls("POST")) == 1 and len(cluster.calls("DELETE")) == 1
    assert [one["name"] for one in cluster.pod["spec"]["containers"]] == ["base"]


def test_the_whole_log_is_written_in_the_end(
    cluster: Cluster, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The triggerer, which asks for lines since a whole second, loses some and has others twice."""
    store.write(KEY, manifest())
    cluster.lines = [f"epoch {number}" for number in range(6)]
    written: list[str] = []
    attempt = Attempt()
    trigger = attempt.defer()
    cluster.ends(0)
    event = {**asyncio.run(anext(trigger.run())).payload, "last_log_time": datetime.now(UTC)}
    monkeypatch.setattr(attempt.operator.log, "info", lambda text, *values: written.append(text % values))
    attempt.operator.trigger_reentry(attempt.context, event)
    assert [line for line in written if "epoch" in line] == [f"[base] logs: epoch {number}" for number in range(6)]
    assert not [path for path in cluster.calls("GET") if "sinceSeconds" in path]
    start = next(number for number, line in enumerate(written) if line.startswith("::group::"))
    assert "epoch 0" in written[start + 1] and "::endgroup::" in written


@MODES
def test_success_without_a_manifest_is_a_failure(
    mode: str, configure: Callable[..., None], cluster: Cluster, store: FolderStore
) -> None:
    cluster.ends(0)
    with pytest.raises(AirflowException, match=r"succeeded, but left nothing at runs/sales/r/teach@lstm\.json"):
        attempt_of(mode, configure)()


@MODES
def test_a_manifest_without_success_is_a_failure(
    mode: str, configure: Callable[..., None], cluster: Cluster, store: FolderStore
) -> None:
    store.write(KEY, manifest())
    cluster.ends(75)
    with pytest.raises(AirflowException, match="exit code 75"):
        attempt_of(mode, configure)()


@MODES
def test_a_manifest_that_says_failed_is_a_failure(
    mode: str, configure: Callable[..., None], cluster: Cluster, store: FolderStore
) -> None:
    store.write(KEY, manifest(status="failed", error="loss is NaN"))
    cluster.ends(0)
    with pytest.raises(AirflowException, match="loss is NaN"):
        attempt_of(mode, configure)()


def test_a_pod_that_is_collected_after_its_success_was_seen(cluster: Cluster, store: FolderStore) -> None:
    store.write(KEY, manifest())
    attempt = Attempt()
    trigger = attempt.defer()
    cluster.ends(0)
    event = asyncio.run(anext(trigger.run())).payload
    cluster.status = None
    found = attempt.operator.trigger_reentry(attempt.context, event)
    assert found["status"] == "done" and attempt.pushed["return_value"] == found


def test_a_command_without_a_result(cluster: Cluster) -> None:
    cluster.ends(0)
    attempt = Attempt(result="")
    assert attempt.operator.trigger_reentry(attempt.context, asyncio.run(anext(attempt.defer().run())).payload) is None
    assert "return_value" not in attempt.pushed


def test_data_that_have_not_come_are_looked_for_by_another_pod_later(cluster: Cluster) -> None:
    state: dict[str, Any] = {}

    def look() -> Attempt:
        attempt = Attempt(state)
        attempt.operator = wait_for_data(  # type: ignore[assignment]
            {"runner": "kubernetes"}, Command("sales/fresh", ("fresh", "sales")), Patience(60, 5), task_id="fresh"
        )
        attempt.operator.startup_check_interval_seconds = 0
        attempt.context["dag_run"] = SimpleNamespace(run_after=datetime.now(UTC))
        return attempt

    def ended(trigger: Any) -> Any:
        return asyncio.run(anext(trigger.run())).payload

    trigger = look().defer()
    cluster.ends(4, message="error: sales.parquet: no such file")
    again = look()
    with pytest.raises(TaskDeferred) as paused:
        again.operator.trigger_reentry(again.context, ended(trigger))
    assert isinstance(paused.value.trigger, DateTimeTrigger)
    assert len(cluster.calls("DELETE")) == 1
    cluster.status = None
    again = look()
    with pytest.raises(TaskDeferred) as deferred:
        again.operator.resume_execution(paused.value.method_name, {"event": None}, again.context)
    assert len(cluster.calls("POST")) == 2
    trigger = deferred.value.trigger
    trigger.startup_check_interval = trigger.poll_interval = 0.01
    cluster.ends(0)
    again = look()
    assert again.operator.trigger_reentry(again.context, ended(trigger)) is None


# Failures.


@MODES
def test_bad_data_is_final_and_says_why(mode: str, configure: Callable[..., None], cluster: Cluster) -> None:
    cluster.ends(65, message="epoch 1\nerror: first\nerror: units: 7 rows below 0\nbye")
    with pytest.raises(AirflowFailException) as caught:
        attempt_of(mode, configure)()
    assert str(caught.value) == "bad data (exit code 65): units: 7 rows below 0"
    assert caught.value.__suppress_context__
    assert len(cluster.calls("DELETE")) == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [(1, "exit code 1: see"), (75, "exit code 75: see"), (255, "exit code 255: see"), (143, "killed by SIGTERM: see")],
)
@MODES
def test_other_failures_are_retried(
    mode: str, configure: Callable[..., None], cluster: Cluster, code: int, said: str
) -> None:
    cluster.ends(code)
    with pytest.raises(AirflowException, match=said) as caught:
        attempt_of(mode, configure)()
    assert not isinstance(caught.value, AirflowFailException)


@MODES
def test_out_of_memory_is_one_line(mode: str, configure: Callable[..., None], cluster: Cluster) -> None:
    cluster.ends(137, reason="OOMKilled")
    with pytest.raises(AirflowFailException) as caught:
        attempt_of(mode, configure)()
    assert str(caught.value) == (
        "out of memory: teach@lstm was killed at its limit of 3Gi; "
        "raise workloads.sales.resources.teach@lstm.memory in params.yaml"
    )


@MODES
def test_an_evicted_pod_is_retried(mode: str, configure: Callable[..., None], cluster: Cluster) -> None:
    cluster.ends(137)
    assert cluster.status is not None
    cluster.status |= {"reason": "Evicted", "message": "The node was low on resource:\nmemory."}
    with pytest.raises(AirflowException) as caught:
        attempt_of(mode, configure)()
    assert not isinstance(caught.value, AirflowFailException)
    name = cluster.pod["metadata"]["name"]
    assert str(caught.value) == f"pod {name}: Evicted: The node was low on resource: memory."


@MODES
def test_a_pod_deleted_while_it_ran_is_retried(mode: str, configure: Callable[..., None], cluster: Cluster) -> None:
    cluster.ends(143)
    cluster.terminating = True
    with pytest.raises(AirflowException) as caught:
        attempt_of(mode, configure)()
    assert not isinstance(caught.value, AirflowFailException)
    assert str(caught.value) == f"pod {cluster.pod['metadata']['name']} was deleted while it ran"


@MODES
def test_a_vanished_pod_is_retried(
    mode: str, configure: Callable[..., None], cluster: Cluster, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A manifest of an earlier attempt proves nothing about this pod.
    store.write(KEY, manifest())

    pushing = PodOperator.get_or_create_pod

    def vanish(operator: PodOperator, *arguments: Any, **named: Any) -> Any:
        made = pushing(operator, *arguments, **named)
        cluster.status = None
        return made

    monkeypatch.setattr(PodOperator, "get_or_create_pod", vanish)
    with pytest.raises(AirflowException) as caught:
        attempt_of(mode, configure)()
    assert not isinstance(caught.value, AirflowFailException)
    name = cluster.pod["metadata"]["name"]
    assert str(caught.value) == f"pod {name} is gone: it was deleted, or its node was lost"


@MODES
def test_an_image_that_there_is_none_of(mode: str, configure: Callable[..., None], cluster: Cluster) -> None:
    waiting = {"reason": "InvalidImageName", "message": "no such image"}
    status = {"name": "base", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    cluster.status = {"phase": "Pending", "containerStatuses": [{**status, "state": {"waiting": waiting}}]}
    with pytest.raises(AirflowException, match=r"^pod sales-teach-lstm-\w+: .*InvalidImageName no such image$"):
        attempt_of(mode, configure)()
    assert len(cluster.calls("DELETE")) == 1


@MODES
def test_a_pod_that_no_node_takes(mode: str, configure: Callable[..., None], cluster: Cluster) -> None:
    configure(startup_timeout="1", deferrable=str(mode == "deferred"))
    cluster.status = {"phase": "Pending"}
    with pytest.raises(AirflowException, match=r"^pod sales-teach-lstm-\w+: Pod took too long to be scheduled"):
        attempt_of(mode, configure)()


def test_a_deferred_task_that_takes_too_long_is_told_so(cluster: Cluster) -> None:
    attempt = Attempt()
    trigger = attempt.defer()
    trigger.trigger_kwargs = {"_execution_deadline": time.time() + 0.2}
    trigger.logging_interval = None
    with pytest.raises(AirflowException, match=r"^pod sales-teach-lstm-\w+: .* reached the task's execution_timeout"):
        attempt.resume(trigger)
    assert len(cluster.calls("DELETE")) == 1


def test_a_waiting_task_that_takes_too_long_is_told_so(cluster: Cluster, configure: Callable[..., None]) -> None:
    configure(deferrable="false")
    limit: Any = timeout
    with pytest.raises(AirflowException, match=r"^pod sales-teach-lstm-\w+: Timeout"), limit(4):
        Attempt().execute()
    assert len(cluster.calls("DELETE")) == 1


@pytest.mark.parametrize(
    ("status", "message", "final"),
    [
        (422, "spec.containers[0].resources: invalid", True),
        (403, "pods is forbidden: User cannot create", True),
        (403, "pods is forbidden: exceeded quota: stages, requested: cpu=2", False),
        (500, "etcd is away", False),
    ],
)
def test_a_pod_that_the_api_server_refuses(cluster: Cluster, status: int, message: str, final: bool) -> None:
    cluster.refusal = status, message
    with pytest.raises(AirflowException) as caught:
        Attempt().execute()
    assert str(caught.value) == f"Kubernetes refused the pod ({status}): {message}"
    assert isinstance(caught.value, AirflowFailException) is final


def test_a_bad_quantity_is_refused_by_the_api_server(cluster: Cluster) -> None:
    attempt = Attempt()
    resources: Any = attempt.operator.container_resources
    resources.limits["memory"] = "4GiB"
    with pytest.raises(AirflowFailException, match=r"refused the pod \(422\): .*memory"):
        attempt.execute()


def test_a_worker_that_died_leaves_a_pod_that_the_next_attempt_finds(cluster: Cluster, store: FolderStore) -> None:
    state: dict[str, Any] = {}
    Attempt(state).defer()
    trigger = Attempt(state).defer()
    assert len(cluster.calls("POST")) == 1 and trigger.pod_name == cluster.pod["metadata"]["name"]


def test_killing_the_task_deletes_the_pod(cluster: Cluster) -> None:
    attempt = Attempt()
    attempt.defer()
    attempt.operator.on_kill()
    assert cluster.calls("DELETE")[0].endswith(cluster.pod["metadata"]["name"])


def test_killing_a_deferred_task_deletes_the_pod(cluster: Cluster) -> None:
    trigger = Attempt().defer()
    asyncio.run(trigger.on_kill())
    assert cluster.calls("DELETE")[0].endswith(cluster.pod["metadata"]["name"])
