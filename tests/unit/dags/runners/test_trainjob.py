"""Stages on several machines: what is submitted to Kubeflow's Trainer, and what its answers mean."""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubeflow_trainer_api.models.trainer_v1alpha1_training_runtime import TrainerV1alpha1TrainingRuntime

from dags.nightly import make
from dags.project import workloads
from dags.runners import containers, run_command
from dags.runners.command import Command
from dags.runners.kubernetes import PodOperator, kubernetes_settings
from dags.runners.trainjob import STEP, TrainJobOperator, job_name, train_job
from tasks.core.storage import FolderStore
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.resources import Limits
from tests.unit.dags.runners.cluster import check
from tests.unit.dags.runners.connection import connect
from tests.unit.dags.runners.trainer import TrainerCluster, check_job, check_object, pod_of

MANIFESTS = Path(__file__).parents[4] / "infra" / "kubernetes"

KEY = "runs/sales/r/teach@lstm.json"
RUN = "scheduled__2026-01-05T02:00:00+00:00"
SECRETS = {"AWS_ACCESS_KEY_ID": "AKIASECRETKEY", "AWS_SECRET_ACCESS_KEY": "verysecretvalue", "TOKEN": "sesame"}
SHARED = {
    "NIGHTSTILL_RUN_STORE": "s3://bucket/runs",
    "NIGHTSTILL_RELEASE_STORE": "s3://bucket/releases",
    "NIGHTSTILL_DVC_REMOTE": "s3://bucket/data",
    "NIGHTSTILL_FORECASTS": "s3://bucket/forecasts",
    "NIGHTSTILL_TRACKING_URI": "http://mlflow.nightstill:5000",
}
COMMAND = Command(
    name="sales/teach@lstm",
    arguments=("run-stage", "teach@lstm", "", "--run-id", "r$(TOKEN)"),
    result=KEY,
    limits=Limits(cpus=2, memory="3Gi", workspace="1Gi", processes=2, nodes=3),
)


def forget() -> None:
    kubernetes_settings.cache_clear()
    containers.container_settings.cache_clear()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("AWS_", "NIGHTSTILL_"))]:
        monkeypatch.delenv(name)
    told = {**SHARED, **SECRETS, "NIGHTSTILL_RUNNER": "kubernetes", "NIGHTSTILL_STAGE_VARIABLES": "TOKEN"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NIGHTSTILL_KUBERNETES_STARTUP_TIMEOUT", "1")
    forget()
    yield
    forget()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainerCluster]:
    server = TrainerCluster()
    connect(server.url, tmp_path, monkeypatch)
    monkeypatch.setenv("NIGHTSTILL_KUBERNETES_CONNECTION", "test_cluster")
    forget()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """Stands for S3."""
    found = FolderStore(tmp_path / "store")
    monkeypatch.setattr(containers, "open_store", lambda _uri: found)
    told = {"workload": "sales", "run_id": "r", "stage": "teach@lstm", "status": "done", "reason": "first run"}
    found.write(KEY, Manifest.model_validate(told).model_dump_json().encode())
    return found


def state(condition: str = "", reason: str = "", message: str = "", **counts: int) -> dict[str, Any]:
    """A TrainJob's status, as the Trainer writes it."""
    zero = dict.fromkeys(("active", "ready", "succeeded", "failed", "suspended"), 0)
    told = [{"type": condition, "status": "True", "reason": reason, "message": message}] if condition else []
    return {"status": {"conditions": told, "jobsStatus": [{"name": "node", **zero, **counts}]}}


WAITING = state(active=1)
RUNNING = state(active=1, ready=1)
DONE = state("Complete", "JobsCompleted", "jobset completed successfully", succeeded=1)
FAILED = state("Failed", "JobSetFailed", "jobset failed due to one or more job failures", failed=1)


def attempt() -> tuple[TrainJobOperator, Any]:
    operator = run_command({}, COMMAND, task_id="lstm")
    assert isinstance(operator, TrainJobOperator)
    operator.interval = 0.01
    ti = SimpleNamespace(dag_id="nightly_sales", task_id="teach.lstm", map_index=-1, try_number=1)
    return operator, {"ti": ti, "run_id": RUN}


def execute() -> Any:
    operator, context = attempt()
    return operator.execute(context)


def job() -> dict[str, Any]:
    return train_job("sales-teach-lstm-1", COMMAND, [*filter(None, COMMAND.arguments)], RUN, kubernetes_settings())


# The object.


def test_the_published_schema_takes_it_and_it_says_what_the_section_does() -> None:
    found = job()
    check_job(found)
    trainer = found["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (3, 2)
    assert trainer["resourcesPerNode"]["limits"] == {"cpu": "2000m", "memory": "3Gi", "ephemeral-storage": "1Gi"}
    assert trainer["command"] == ["nightstill"]
    assert {"name": "NIGHTSTILL_NODES", "value": "3"} in trainer["env"]
    # What somebody typed is not expanded by the kubelet.
    assert trainer["args"] == ["run-stage", "teach@lstm", "--run-id", "r$$(TOKEN)"]
    reference = {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": "torch-distributed"}
    assert found["spec"]["runtimeRef"] == reference


def test_each_machine_has_the_rights_of_a_stage_in_one_pod_and_no_more() -> None:
    one = PodOperator(task_id="one", command=COMMAND)
    found = pod_of(job())
    (container,) = found["spec"]["containers"]
    assert found["spec"]["serviceAccountName"] == one.service_account_name == "nightstill-stage"
    assert found["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {**found["metadata"]["labels"], **one.labels} == found["metadata"]["labels"], "network policies know it not"
    assert found["metadata"]["annotations"] == one.annotations


def test_credentials_are_named_and_never_written_down() -> None:
    text = json.dumps(job())
    assert not [value for value in SECRETS.values() if value in text]
    assert "s3://bucket/runs" in text, "the word is searched for where it would be found"
    variables = {each["name"]: each for each in job()["spec"]["trainer"]["env"]}
    for name in SECRETS:
        assert variables[name]["valueFrom"]["secretKeyRef"]["name"] == "nightstill-stage"
        assert variables[name]["valueFrom"]["secretKeyRef"]["key"] == name


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("spec", "trainer", "numNode"), 2, "numNode"),
        (("spec", "trainer", "numNodes"), "two", "numNodes"),
        (("spec", "trainer", "env"), [{"value": "nameless"}], "name"),
        (("spec", "runtimeRef"), {"kind": "ClusterTrainingRuntime"}, "name"),
        (("spec", "podTemplateOverrides"), [], "podTemplateOverrides"),
        (("spec", "trainer", "resourcesPerNode"), {"limits": {"memory": "4GiB"}}, "memory"),
        (("metadata", "name"), "Sales_1", "no name of a TrainJob"),
    ],
)
def test_the_check_itself_refuses_what_a_cluster_refuses(path: tuple[str, ...], value: Any, said: str) -> None:
    found = copy.deepcopy(job())
    place = found
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=said):
        check_job(found)


@pytest.mark.parametrize("name", ["sales/teach@lstm", "3rd_long-workload-of-everything/teach@the_largest_lstm_ever"])
def test_names_are_such_as_pods_of_it_can_have(name: str) -> None:
    found = job_name(name, "key")
    assert len(f"{found}-node-0-0-abcde") <= 63 and found[0].isalpha() and found == job_name(name, "key")
    assert found != job_name(name, "another run")


def test_a_stage_on_several_nodes_is_a_trainjob_and_its_siblings_are_pods() -> None:
    section = {**workloads()["sales"], "resources": {"teach@lstm": {"nodes": 2}}}
    tasks = {task.task_id: task for task in make("sales", section).tasks}
    assert isinstance(tasks["teach.lstm"], TrainJobOperator)
    assert isinstance(tasks["snapshot"], PodOperator) and isinstance(tasks["evaluate"], PodOperator)


@pytest.mark.parametrize("runner", ["process", "docker"])
def test_runners_of_one_machine_refuse_several(runner: str) -> None:
    section = {**workloads()["sales"], "runner": runner, "resources": {"teach@lstm": {"nodes": 2}}}
    with pytest.raises(ValueError, match=rf"sales/teach@lstm: 2 nodes, but the runner {runner} has one machine"):
        make("sales", section)


def test_a_config_map_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_KUBERNETES_CONFIG_MAP", "further")
    forget()
    with pytest.raises(ValueError, match=r"CONFIG_MAP: .*NIGHTSTILL_STAGE_VARIABLES"):
        run_command({}, COMMAND, task_id="lstm")


def runtime() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((MANIFESTS / "training" / "runtime.yaml").read_text())
    return found


def test_the_runtime_of_our_own_is_one_and_has_what_a_trainjob_patches() -> None:
    found = runtime()
    check_object(TrainerV1alpha1TrainingRuntime, found)
    (replicated,) = found["spec"]["template"]["spec"]["replicatedJobs"]
    (container,) = replicated["template"]["spec"]["template"]["spec"]["containers"]
    assert replicated["name"] == container["name"] == STEP
    assert found["metadata"]["namespace"] == kubernetes_settings().namespace
    assert replicated["template"]["spec"]["backoffLimit"] == 0, "a final error would be tried again"
    check({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": replicated["template"]["spec"]})


def test_a_runtime_with_a_mistake_is_refused() -> None:
    found = runtime()
    found["spec"]["mlPolicies"] = found["spec"].pop("mlPolicy")
    with pytest.raises(ValueError, match="mlPolicies"):
        check_object(TrainerV1alpha1TrainingRuntime, found)


# Its life.


def test_it_is_submitted_waited_for_and_deleted(cluster: TrainerCluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.states = [WAITING, RUNNING, RUNNING, DONE]
    cluster.exits, cluster.logs = [(1, 0, "Completed"), (0, 0, "Completed")], {0: ["epoch 1"], 1: ["beside it"]}
    result = execute()
    said = capsys.readouterr().out
    assert result["status"] == "done" and result["uri"].endswith(KEY)
    assert cluster.job is None and len(cluster.calls("POST")) == 1
    assert said.count("node: 1 active, 1 ready") == 1, "a state is told once"
    assert "jobset completed successfully" in said
    assert "epoch 1" in said and "beside it" not in said


@pytest.mark.parametrize(
    ("code", "reason", "line", "error", "said"),
    [
        (65, "Error", "error: 3 rows of the source are bad", AirflowFailException, "bad data .*3 rows of the source"),
        (75, "Error", "error: another process has ended", AirflowException, "another process has ended"),
        (137, "OOMKilled", "", AirflowFailException, r"out of memory: .*3Gi.*resources\.teach@lstm\.memory"),
    ],
)
def test_a_failure_is_the_words_of_its_machine(
    cluster: TrainerCluster, code: int, reason: str, line: str, error: type[Exception], said: str
) -> None:
    cluster.states = [RUNNING, FAILED]
    cluster.exits, cluster.logs = [(0, code, reason), (1, 75, "Error")], {0: ["epoch 1", line], 1: ["error: lost"]}
    with pytest.raises(error, match=said):
        execute()
    assert cluster.job is None


@pytest.mark.parametrize(
    ("exits", "error", "said"),
    [
        ([(0, 75, "Error"), (1, 137, "OOMKilled")], AirflowFailException, r"out of memory: .*3Gi"),
        ([(0, 75, "Error"), (1, 78, "Error")], AirflowFailException, "wrong configuration .*too few GPUs"),
        ([(0, 75, "Error"), (1, 75, "Error")], AirflowException, "another process has ended"),
    ],
)
def test_a_machine_that_lost_another_does_not_hide_why(
    cluster: TrainerCluster, exits: list[tuple[int, int, str]], error: type[Exception], said: str
) -> None:
    cluster.states, cluster.exits = [FAILED], exits
    cluster.logs = {0: ["error: another process has ended"], 1: ["error: too few GPUs"]}
    with pytest.raises(error, match=said):
        execute()


def test_a_failure_without_pods_is_the_jobs_own_condition(cluster: TrainerCluster) -> None:
    cluster.states = [FAILED]
    with pytest.raises(AirflowException, match=r"JobSetFailed.*; kubectl -n nightstill describe trainjob sales-teach"):
        execute()


def test_one_that_somebody_deletes(cluster: TrainerCluster) -> None:
    cluster.states = [RUNNING, None]
    with pytest.raises(AirflowException, match="is gone: somebody deleted it"):
        execute()


@pytest.mark.parametrize(
    ("idle", "said"),
    [
        (WAITING, r"not all of its 3 nodes ran within 1 s: node: 1 active; kubectl .* describe trainjob"),
        (state("Suspended", "Suspended", "TrainJob is suspended"), "was suspended for 1 s.*describe trainjob"),
    ],
)
def test_one_that_never_starts_gives_its_place_back(cluster: TrainerCluster, idle: dict[str, Any], said: str) -> None:
    cluster.states = [idle]
    with pytest.raises(AirflowException, match=said):
        execute()
    assert cluster.job is None and cluster.calls("DELETE")


@pytest.mark.parametrize(
    ("refusal", "error", "said"),
    [
        (
            (403, "trainjobs is forbidden"),
            AirflowFailException,
            r"TrainJob \(403\): trainjobs is forbidden",
        ),
        ((403, "exceeded quota: q"), AirflowException, "exceeded quota"),
        ((500, "etcd is away"), AirflowException, "etcd is away"),
    ],
)
def test_a_refusal_is_told(
    cluster: TrainerCluster, refusal: tuple[int, str], error: type[Exception], said: str
) -> None:
    cluster.states, cluster.refusal = [RUNNING], refusal
    with pytest.raises(error, match=said) as caught:
        execute()
    assert isinstance(caught.value, AirflowFailException) == (error is AirflowFailException)


def test_a_cluster_without_the_trainer_is_told(cluster: TrainerCluster) -> None:
    cluster.installed = False
    with pytest.raises(AirflowFailException, match=r"knows no TrainJob in nightstill: .*install it, or set nodes: 1"):
        execute()


def test_what_a_killed_worker_left_is_found_again(cluster: TrainerCluster) -> None:
    operator, context = attempt()
    cluster.states = [RUNNING, DONE]
    name = job_name(COMMAND.name, f"nightly_sales/teach.lstm/-1/{RUN}")
    cluster.job = {"metadata": {"name": name}}
    assert (operator.execute(context) or {})["status"] == "done"
    assert not cluster.calls("POST")


def test_what_was_left_outlives_an_api_server_that_is_away_at_the_first_look(cluster: TrainerCluster) -> None:
    left = {"metadata": {"name": job_name(COMMAND.name, f"nightly_sales/teach.lstm/-1/{RUN}")}}
    cluster.job, cluster.states, cluster.silent = left, [RUNNING, DONE], 1
    with pytest.raises(AirflowException, match="etcd is away"):
        execute()
    assert cluster.job == left and not cluster.calls("DELETE")
    assert execute()["status"] == "done"
    assert not cluster.calls("POST"), "the next attempt finds it"


def test_a_retry_deletes_what_failed_and_submits_anew(cluster: TrainerCluster) -> None:
    name = job_name(COMMAND.name, f"nightly_sales/teach.lstm/-1/{RUN}")
    cluster.job, cluster.states = {"metadata": {"name": name}}, [FAILED, FAILED, DONE]
    assert execute()["status"] == "done"
    assert [method for method, _ in cluster.sent][:4] == ["GET", "DELETE", "GET", "POST"]


def test_a_killed_task_deletes_it(cluster: TrainerCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    operator, context = attempt()
    cluster.states = [RUNNING]
    looks = iter(range(2))

    def sleep(_seconds: float) -> None:
        if next(looks, None) is None:
            raise SystemExit(143)

    monkeypatch.setattr("dags.runners.trainjob.time.sleep", sleep)
    with pytest.raises(SystemExit):
        operator.execute(context)
    assert cluster.job is None
