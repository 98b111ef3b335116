"""A stage that trains on several machines runs as a TrainJob of Kubeflow's Trainer, which starts a pod on each.

The objects are those of https://www.kubeflow.org/docs/components/trainer/, `trainer.kubeflow.org/v1alpha1`.
"""

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes.client import ApiClient, CoreV1Api, CustomObjectsApi
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from dags.runners.command import Command
from dags.runners.containers import (
    WORKSPACE,
    container_settings,
    out_of_memory,
    plain_environment,
    read_result,
    secret_environment,
)
from dags.runners.exits import complaint_of, fail, of_container
from dags.runners.kubernetes import (
    ANNOTATIONS,
    REFUSALS,
    KubernetesSettings,
    account_of,
    around_us,
    kubernetes_settings,
    labels_of,
    limits_of,
    message_of,
    rights_of_container,
    rights_of_pod,
    run_label,
    workspace_of,
)
from tasks.core.errors import UnavailableError
from tasks.pipeline.handover.surroundings import NODES, SECRETS

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
MANAGER = "nightstill.io/airflow"
# So the Trainer's own runtimes call the job that trains, and its container.
STEP = "node"
# A pod of it is <name>-node-0-<index>-<five letters>, and a host's name has 63 letters at most.
LONGEST = 40
LOG_LINES = 2000
LOST = UnavailableError.exit_code
"""So ends a machine whose training lost another one."""
LOST_SECONDS = 300
"""So long the API server may be out of reach before the wait is given up."""

Object = Mapping[str, Any]


class TrainJobOperator(BaseOperator):
    """This runs `nightstill <arguments>` on each machine of a TrainJob, which is deleted afterwards.

    The first machine brings the stage to its end and writes; the others train beside it. Rights, credentials, limits
    (of each machine) and the result are as of a stage in one pod. A worker waits, as it does for a process.
    """

    template_fields: Sequence[str] = ("arguments", "result")
    ui_color = "#d5f0e3"

    def __init__(self, *, command: Command, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = kubernetes_settings()
        if self.settings.config_map:
            raise ValueError(
                "NIGHTSTILL_KUBERNETES_CONFIG_MAP: a TrainJob takes variables one by one; name them in "
                "NIGHTSTILL_STAGE_VARIABLES and put them into the Secret instead, for stages on several nodes"
            )
        self.command, self.arguments, self.result = command, list(command.arguments), command.result
        self.interval: float = self.settings.logging_interval
        self._name = ""

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Submit the TrainJob, or find the one that a killed worker left; then wait for its end."""
        ti = context["ti"]
        self._name = job_name(self.command.name, f"{ti.dag_id}/{ti.task_id}/{ti.map_index}/{context['run_id']}")
        self.arguments = [argument for argument in self.arguments if argument]
        self.log.info("%s in %s, %s", " ".join(self.arguments), container_settings().task_image, self.command.limits)
        try:
            left = self._read()
        except (ApiException, HTTPError) as error:  # nothing is ours yet: what an earlier worker left goes on
            raise AirflowException(f"TrainJob {self._name}: {message_of(error)}") from None
        try:
            self._submit(str(context["run_id"]), left)
            self._wait()
        except (ApiException, HTTPError) as error:
            self.on_kill()
            raise AirflowException(f"TrainJob {self._name}: {message_of(error)}") from None
        except BaseException:  # a timeout is one, and must not leave the machines training
            self.on_kill()
            raise
        self.on_kill()
        if container_settings().s3_connection:
            secret_environment()
        return read_result(self.result)

    def on_kill(self) -> None:
        """Delete the TrainJob with its pods, at best effort: its task has an end of its own to tell."""
        if not self._name:
            return
        try:
            self._jobs().delete_namespaced_custom_object(*self._where(), propagation_policy="Foreground")
        except ApiException as error:
            if error.status != 404:
                self.log.warning("TrainJob %s is left: %s; %s", self._name, message_of(error), self._kubectl("delete"))
        except HTTPError as error:
            self.log.warning("TrainJob %s is left: %s; %s", self._name, error, self._kubectl("delete"))

    def _submit(self, run_id: str, left: Object | None) -> None:
        """Create the TrainJob, in place of one of an earlier attempt that failed; one that is at work is kept."""
        if left is not None and not (_ended(left) == "Failed" or left["metadata"].get("deletionTimestamp")):
            self.log.info("found TrainJob %s, which an earlier worker left", self._name)
            return
        if left is not None:
            self.on_kill()
            self._until_gone()
        job = train_job(self._name, self.command, self.arguments, run_id, self.settings)
        try:
            self._jobs().create_namespaced_custom_object(*self._where()[:4], job)
        except ApiException as error:
            if error.status == 404:
                raise AirflowFailException(
                    f"Kubernetes knows no TrainJob in {self.settings.namespace}: resources.nodes needs Kubeflow's "
                    "Trainer in the cluster; install it, or set nodes: 1"
                ) from None
            said = f"Kubernetes refused the TrainJob ({error.status}): {message_of(error)}"
            if error.status in REFUSALS and "exceeded quota" not in said:
                raise AirflowFailException(said) from None
            raise AirflowException(said) from None
        self.log.info("submitted TrainJob %s on %d nodes", self._name, self.command.limits.nodes)

    def _until_gone(self) -> None:
        end = time.monotonic() + self.settings.startup_timeout
        while self._read() is not None:
            if time.monotonic() > end:
                raise AirflowException(
                    f"TrainJob {self._name} of an earlier attempt is not gone; {self._kubectl('delete')}"
                )
            time.sleep(self.interval)

    def _wait(self) -> None:
        """Wait for the end, and tell what changes. Raises AirflowException, or what a machine's exit means."""
        told, ran = "", time.monotonic()
        while True:
            job = self._look()
            if (state := _state(job)) != told:
                self.log.info("TrainJob %s: %s", self._name, state)
                told = state
            if ended := _ended(job):
                self._tell_log()
                if ended == "Complete":
                    return
                self._explain(state)
            if _running(job):
                ran = time.monotonic()
            elif time.monotonic() - ran > self.settings.startup_timeout:
                self._explain_idle(job, state)
            time.sleep(self.interval)

    def _look(self) -> Object:
        """Return the TrainJob, whose API server may be away for a while. Raises AirflowException if it is deleted."""
        since = time.monotonic()
        while True:
            try:
                job = self._read()
                break
            except (ApiException, HTTPError) as error:
                if getattr(error, "status", 500) in REFUSALS or time.monotonic() - since > LOST_SECONDS:
                    raise
                self.log.warning("the API server does not answer: %s", message_of(error))
            time.sleep(self.interval)
        if job is None or job["metadata"].get("deletionTimestamp"):
            raise AirflowException(f"TrainJob {self._name} is gone: somebody deleted it while it ran; run it again")
        return job

    def _explain_idle(self, job: Object, state: str) -> NoReturn:
        seconds = self.settings.startup_timeout
        if _is(job, "Suspended"):
            raise AirflowException(
                f"TrainJob {self._name} was suspended for {seconds} s, by a queue or by somebody: {state}; "
                f"{self._kubectl('describe')} tells why"
            )
        raise AirflowException(
            f"TrainJob {self._name}: not all of its {self.command.limits.nodes} nodes ran within {seconds} s: {state}; "
            f"{self._kubectl('describe')} and kubectl -n {self.settings.namespace} get events tell why; lower "
            "resources.nodes, cpus or memory, or raise NIGHTSTILL_KUBERNETES_STARTUP_TIMEOUT"
        )

    def _explain(self, state: str) -> NoReturn:
        """Tell by the pods that ended badly why the job failed: by the cause, not by those whom it took along."""
        ended = []
        for pod in self._pods():
            statuses = pod.status.container_statuses or []
            ended += [(pod, each.state.terminated) for each in statuses if each.state and each.state.terminated]
        bad = [(pod, end) for pod, end in ended if end.exit_code]
        if any(end.reason == "OOMKilled" for _, end in bad):
            raise out_of_memory(self.command.name, self.command.limits.memory)
        if bad:
            pod, end = min(bad, key=lambda each: each[1].exit_code == LOST)
            lines = reversed(self._log_of(pod).splitlines())
            fail(of_container(end.exit_code), next(filter(None, map(complaint_of, lines)), ""))
        raise AirflowException(f"TrainJob {self._name} failed: {state}; {self._kubectl('describe')} tells more")

    def _tell_log(self) -> None:
        for pod in self._pods()[:1]:
            for line in self._log_of(pod).splitlines():
                self.log.info("%s", line)

    def _pods(self) -> list[Any]:
        """Return its pods, the first machine's first; none where they cannot be read."""
        try:
            chosen = f"jobset.sigs.k8s.io/jobset-name={self._name}"
            found = CoreV1Api(self._client()).list_namespaced_pod(self.settings.namespace, label_selector=chosen).items
        except (ApiException, HTTPError) as error:
            self.log.warning("its pods cannot be read: %s", message_of(error))
            return []
        index = "batch.kubernetes.io/job-completion-index"
        return sorted(found, key=lambda pod: int((pod.metadata.labels or {}).get(index, "0")))

    def _log_of(self, pod: Any) -> str:
        try:
            core = CoreV1Api(self._client())
            where = (pod.metadata.name, self.settings.namespace)
            # Left to itself, the client makes text such as "b'…'" of the answer.
            told = core.read_namespaced_pod_log(*where, container=STEP, tail_lines=LOG_LINES, _preload_content=False)
            return str(told.data.decode(errors="replace"))
        except (ApiException, HTTPError) as error:
            return f"its log cannot be read: {message_of(error)}"

    def _read(self) -> Object | None:
        try:
            found: Object = self._jobs().get_namespaced_custom_object(*self._where())
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return found

    def _where(self) -> tuple[str, str, str, str, str]:
        return GROUP, VERSION, self.settings.namespace, PLURAL, self._name

    def _jobs(self) -> CustomObjectsApi:
        return CustomObjectsApi(self._client())

    def _client(self) -> ApiClient:
        connection = self.settings.connection or None
        return KubernetesHook(conn_id=connection, in_cluster=around_us(connection)).get_conn()

    def _kubectl(self, verb: str) -> str:
        return f"kubectl -n {self.settings.namespace} {verb} trainjob {self._name}"


def job_name(name: str, key: str) -> str:
    """Return a name for the TrainJob of one task of one DAG run: the same for all of its attempts."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    return f"{slug if slug[:1].isalpha() else f'n-{slug}'}"[: LONGEST - 9].rstrip("-") + f"-{digest}"


def train_job(
    name: str, command: Command, arguments: Sequence[str], run_id: str, settings: KubernetesSettings
) -> dict[str, Any]:
    """Return the TrainJob of a command, as JSON."""
    limits = command.limits
    pod = {
        "serviceAccountName": account_of(settings, command),
        "securityContext": rights_of_pod(),
        "volumes": [workspace_of(limits, settings.workspace_medium)],
        "imagePullSecrets": [{"name": secret} for secret in settings.image_pull_secrets],
        "nodeSelector": settings.node_selector,
        "tolerations": settings.tolerations,
        "affinity": settings.affinity,
        "containers": [
            {
                "name": STEP,
                "securityContext": rights_of_container(),
                "volumeMounts": [{"name": "workspace", "mountPath": WORKSPACE}],
            }
        ],
    }
    labels = {**labels_of(command), "nightstill.io/run": run_label(run_id)}
    template = {"metadata": {"labels": labels, "annotations": ANNOTATIONS}, "spec": _told(pod)}
    jobs = [{"name": STEP, "template": {"spec": {"template": template}}}]
    job = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {"name": name, "namespace": settings.namespace, "labels": labels},
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": settings.train_runtime_kind, "name": settings.train_runtime},
            "trainer": {
                "image": container_settings().task_image,
                "command": ["nightstill"],
                # The kubelet would put a variable, such as a secret, into the place of its name in $(…).
                "args": [argument.replace("$", "$$") for argument in arguments],
                "numNodes": limits.nodes,
                "numProcPerNode": limits.processes,
                "resourcesPerNode": limits_of(limits, settings.workspace_medium),
                "env": [*_variables(settings), {"name": NODES, "value": str(limits.nodes)}],
            },
            "runtimePatches": [
                {"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}}}
            ],
        },
    }
    found: dict[str, Any] = ApiClient().sanitize_for_serialization(job)
    return found


def _variables(settings: KubernetesSettings) -> list[dict[str, Any]]:
    """Return the public variables, and the names of the credentials, which the kubelet takes from the Secret."""
    plain = [{"name": name, "value": value} for name, value in plain_environment().items()]
    secrets = [*SECRETS, *container_settings().stage_variables.split()]
    reference = {"name": settings.secret, "optional": True}
    return plain + [{"name": name, "valueFrom": {"secretKeyRef": {**reference, "key": name}}} for name in secrets]


def _told(fields: Object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _conditions(job: Object) -> Sequence[Object]:
    found: Sequence[Object] = (job.get("status") or {}).get("conditions") or []
    return found


def _is(job: Object, kind: str) -> bool:
    return any(each["type"] == kind and each["status"] == "True" for each in _conditions(job))


def _ended(job: Object) -> str:
    return next((kind for kind in ("Complete", "Failed") if _is(job, kind)), "")


def _running(job: Object) -> bool:
    """Return whether all of its machines run: `ready` counts jobs whose pods all do."""
    jobs = (job.get("status") or {}).get("jobsStatus") or []
    return any(each["name"] == STEP and (each["ready"] or each["succeeded"]) for each in jobs)


def _state(job: Object) -> str:
    """Return the job's conditions and its jobs' counts in one line."""
    said = [
        f"{each['type']} ({each['reason']}): {each.get('message', '')}".rstrip(": ")
        for each in _conditions(job)
        if each["status"] == "True"
    ]
    counts = ("active", "ready", "succeeded", "failed", "suspended")
    for each in (job.get("status") or {}).get("jobsStatus") or []:
        told = [f"{each[count]} {count}" for count in counts if each.get(count)]
        said.append(f"{each['name']}: {', '.join(told) or 'none'}")
    return " ".join("; ".join(said).split()) or "created"
