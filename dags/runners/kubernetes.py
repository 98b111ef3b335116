"""Stages run as pods of a Kubernetes cluster: the one that Airflow runs in, KUBECONFIG's, or a connection's."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NoReturn

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value
from airflow.providers.cncf.kubernetes.utils.container import get_container_status
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodNotFoundException
from airflow.sdk import Context
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
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
from dags.runners.kubernetes_json import read
from tasks.pipeline.resources import Limits

PREFIX = "NIGHTSTILL_KUBERNETES_"
# The user of the task image, by number: a kubelet cannot tell whether a name is root's.
USER = 10001
# The network policies select stages by these.
LABELS = {"app.kubernetes.io/name": "nightstill", "app.kubernetes.io/component": "stage"}
# A training that a smaller cluster would like to move elsewhere is a training lost.
ANNOTATIONS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
# What the API server refuses it refuses again: a malformed pod, no permission, no such namespace, a field out of range.
REFUSALS = {400, 403, 404, 422}
NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"


class KubernetesSettings(BaseSettings):
    """Settings come from Airflow's environment `NIGHTSTILL_KUBERNETES_…`, read when a DAG file is loaded."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", arbitrary_types_allowed=True)

    namespace: str = Field(default="nightstill", pattern=f"^{NAME}$", description="namespace of the stages' pods")
    service_account: str = Field(default="nightstill-stage", pattern=f"^{NAME}$", description="account without rights")
    secret: str = Field(
        default="nightstill-stage", pattern=f"^{NAME}$", description="Secret whose keys become variables of the stages"
    )
    promotion_account: str = Field(
        default="", pattern=f"^({NAME})?$", description="account of what writes releases; empty: that of the stages"
    )
    promotion_secret: str = Field(
        default="", pattern=f"^({NAME})?$", description="Secret of what writes releases, beside that of the stages"
    )
    config_map: str = Field(default="", pattern=f"^({NAME})?$", description="ConfigMap of further variables")
    connection: str = Field(default="", description="Airflow connection; empty: KUBECONFIG, or the cluster around us")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Secrets of a private registry, separated by blanks"
    )
    node_selector: Annotated[dict[str, str], NoDecode] = Field(default={}, description="JSON: labels of nodes")
    tolerations: Annotated[list[k8s.V1Toleration], NoDecode] = Field(default=[], description="JSON: as in a pod")
    affinity: Annotated[k8s.V1Affinity | None, NoDecode] = Field(default=None, description="JSON: as in a pod")
    deferrable: bool = Field(default=True, description="whether the triggerer waits for pods, not a worker's slot")
    logging_interval: int = Field(default=10, gt=0, description="seconds between two looks at a pod's log")
    startup_timeout: int = Field(default=600, gt=0, description="seconds to find a node, and again to pull the image")
    workspace_medium: Literal["", "Memory"] = Field(default="", description="empty: the node's disk")
    train_runtime: str = Field(
        default="torch-distributed",
        pattern=f"^{NAME}$",
        description="the Trainer's runtime, for stages on several nodes",
    )
    train_runtime_kind: Literal["ClusterTrainingRuntime", "TrainingRuntime"] = "ClusterTrainingRuntime"

    @field_validator("image_pull_secrets", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("node_selector", "tolerations", "affinity", mode="before")
    @classmethod
    def _json(cls, value: object, info: Any) -> object:
        if not isinstance(value, str):
            return value
        kind = {"node_selector": "dict[str, str]", "tolerations": "list[V1Toleration]", "affinity": "V1Affinity"}
        return read(kind[info.field_name], json.loads(value))


@cache
def kubernetes_settings() -> KubernetesSettings:
    """Return the settings of this process. Raises ValueError that names the variable."""
    try:
        return KubernetesSettings()
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{PREFIX}{str(first['loc'][0]).upper()}={first['input']!r}: {first['msg']}") from error


class PodOperator(KubernetesPodOperator):
    """This runs `nightstill <arguments>` in a pod of the task image, which is deleted afterwards.

    The pod has nothing of the cluster: no token, no capabilities, a read-only root, an empty workspace. Credentials it
    gets from a Secret, which Airflow never reads. Its inputs and results lie in S3; the XCom is read from the
    manifest there, so a stage succeeds only if both its exit code and its manifest say so.
    """

    template_fields: Sequence[str] = ("arguments", "result")
    ui_color = "#d5f0e3"

    def __init__(self, *, command: Command, **kwargs: Any) -> None:
        settings = kubernetes_settings()
        slug = command.name.replace("/", "-").replace("@", "-")
        super().__init__(
            kubernetes_conn_id=settings.connection or None,
            namespace=settings.namespace,
            name=slug,
            image=container_settings().task_image,
            image_pull_policy=settings.image_pull_policy,
            image_pull_secrets=[k8s.V1LocalObjectReference(name=name) for name in settings.image_pull_secrets],
            arguments=list(command.arguments),
            labels=labels_of(command),
            annotations=dict(ANNOTATIONS),
            env_from=_by_reference(settings, releasing=_releasing(command)),
            container_resources=limits_of(command.limits, settings.workspace_medium),
            volumes=[workspace_of(command.limits, settings.workspace_medium)],
            volume_mounts=[k8s.V1VolumeMount(name="workspace", mount_path=WORKSPACE)],
            node_selector=settings.node_selector,
            tolerations=settings.tolerations,
            affinity=settings.affinity,
            service_account_name=account_of(settings, command),
            automount_service_account_token=False,
            security_context=rights_of_pod(),
            container_security_context=rights_of_container(),
            # The first process of a container ignores SIGTERM and collects no children; here that is not the stage.
            full_pod_spec=k8s.V1Pod(
                metadata=k8s.V1ObjectMeta(),
                spec=k8s.V1PodSpec(containers=[], share_process_namespace=True, enable_service_links=False),
            ),
            termination_message_policy="FallbackToLogsOnError",
            startup_timeout_seconds=settings.startup_timeout,
            # The provider's five seconds would be felt in a night of many short stages.
            startup_check_interval_seconds=2,
            deferrable=settings.deferrable,
            logging_interval=settings.logging_interval if settings.deferrable else None,
            container_name_log_prefix_enabled=False,
            log_pod_spec_on_failure=False,
            log_events_on_failure=True,
            **kwargs,
        )
        self.title, self.limits, self.result = command.name, command.limits, command.result

    def execute(self, context: Context) -> Any:
        """Start the pod, or find the one that a killed worker left; then wait, or let the triggerer wait."""
        arguments = [argument for argument in self.arguments if argument]
        # The kubelet would put a variable, such as a secret, into the place of its name in $(…).
        self.arguments = [argument.replace("$", "$$") for argument in arguments]
        self.env_vars = plain_environment()
        self.labels["nightstill.io/run"] = run_label(str(context["run_id"]))
        self._locate()
        self.log.info("%s in %s, %s", " ".join(arguments), self.image, self.limits)
        with self._in_one_line():
            super().execute(context)
        return self._conclude(context)

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after the triggerer saw the pod end."""
        self._locate()
        with self._in_one_line(event["name"]):
            # The triggerer's log has the trace; here it would bury the message.
            super().trigger_reentry(context, {key: event[key] for key in event if key != "stack_trace"})
        return self._conclude(context)

    def get_or_create_pod(self, pod_request_obj: k8s.V1Pod, context: Context) -> k8s.V1Pod:
        """Return this task's pod. Raises AirflowFailException when the API server refuses it, unless for a quota."""
        try:
            return super().get_or_create_pod(pod_request_obj, context)
        except ApiException as error:
            said = f"Kubernetes refused the pod ({error.status}): {message_of(error)}"
            if error.status in REFUSALS and "exceeded quota" not in said:
                raise AirflowFailException(said) from None
            raise AirflowException(said) from None

    def _write_logs(  # type: ignore[override]  # the provider's is decorated
        self, pod: k8s.V1Pod, follow: bool = False, since_time: Any = None
    ) -> None:
        """Write the whole log, though the triggerer followed it: its copy has gaps, as it asks for whole seconds."""
        if since_time:
            self.log.info("::group::The pod's whole log; some lines of what was followed above may be missing there")
        super()._write_logs(pod, follow=follow)
        if since_time:
            self.log.info("::endgroup::")

    def convert_config_file_to_dict(self) -> None:
        """Do nothing: the triggerer reads its own KUBECONFIG, so no credentials reach Airflow's database."""

    def _locate(self) -> None:
        self.in_cluster = around_us(self.kubernetes_conn_id)

    def _conclude(self, context: Context) -> dict[str, Any] | None:
        if container_settings().s3_connection:
            secret_environment()
        result = read_result(self.result)
        if result is not None:
            # The provider takes do_xcom_push for a wish for its sidecar, so Airflow itself would push nothing.
            context["ti"].xcom_push(BaseXCom.XCOM_RETURN_KEY, result)
        return result

    @contextlib.contextmanager
    def _in_one_line(self, name: str = "") -> Iterator[None]:
        """Tell in Airflow's terms what went wrong with the pod, instead of the provider's chain of exceptions."""
        try:
            yield
        except AirflowFailException:
            raise
        except (AirflowException, ApiException) as error:
            try:
                self._explain(_first(error), name)
            except AirflowException as plain:
                raise plain from None

    def _explain(self, error: BaseException, name: str) -> NoReturn:
        pod = self.remote_pod or self.pod
        name = pod.metadata.name if pod else name
        status = get_container_status(pod, self.base_container_name) if pod else None
        ended = status.state.terminated if status and status.state else None
        if pod and pod.status and pod.status.reason:
            said = f"pod {name}: {pod.status.reason}: {pod.status.message or 'no message'}"
        elif pod and pod.metadata.deletion_timestamp:
            said = f"pod {name} was deleted while it ran"
        elif ended and ended.exit_code:
            if ended.reason == "OOMKilled":
                raise out_of_memory(self.title, self.limits.memory)
            lines = reversed((ended.message or "").splitlines())
            fail(of_container(ended.exit_code), next(filter(None, map(complaint_of, lines)), ""))
        elif isinstance(error, PodNotFoundException) or getattr(error, "status", None) == 404:
            said = f"pod {name} is gone: it was deleted, or its node was lost"
        else:
            said = f"pod {name}: {message_of(error)}" if name else message_of(error)
        raise AirflowException(" ".join(said.split()))


def around_us(connection: str | None) -> bool | None:
    """Return True where the cluster around this process is meant; None where KUBECONFIG or a connection names one.

    The triggerer's hook, unlike the operator's, does not look for the cluster around it unless told to.
    """
    around = "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG")
    return True if around and not connection else None


def labels_of(command: Command) -> dict[str, str]:
    """Return the labels of a command's pod: by the first ones the network policies know it."""
    workload, _, stage = command.name.partition("/")
    return {
        **LABELS,
        "nightstill.io/workload": make_safe_label_value(workload),
        "nightstill.io/stage": make_safe_label_value(stage.replace("@", ".")),
    }


def run_label(run_id: str) -> str:
    """Return a run's name as a label's value."""
    return str(make_safe_label_value(run_id))


def rights_of_pod() -> k8s.V1PodSecurityContext:
    """Return the user of a stage, who is not root."""
    return k8s.V1PodSecurityContext(
        run_as_non_root=True,
        run_as_user=USER,
        run_as_group=USER,
        fs_group=USER,
        seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
    )


def rights_of_container() -> k8s.V1SecurityContext:
    """Return what a stage's container may do: nothing but write its workspace."""
    return k8s.V1SecurityContext(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=k8s.V1Capabilities(drop=["ALL"]),
    )


def _releasing(command: Command) -> bool:
    """Return whether it writes to the ledger or removes forecasts, as a watch and a shadow may."""
    first, *others = command.arguments
    return first in ("release", "watch", "shadow", "tidy") or (first == "run-stage" and others[:1] == ["promote"])


def account_of(settings: KubernetesSettings, command: Command) -> str:
    """Return the service account of a command's pod."""
    return (settings.promotion_account if _releasing(command) else "") or settings.service_account


def _by_reference(settings: KubernetesSettings, *, releasing: bool) -> list[k8s.V1EnvFromSource]:
    secrets = [settings.secret, *([settings.promotion_secret] if releasing and settings.promotion_secret else [])]
    found = [k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=name)) for name in secrets]
    if settings.config_map:
        found.insert(0, k8s.V1EnvFromSource(config_map_ref=k8s.V1ConfigMapEnvSource(name=settings.config_map)))
    return found


def limits_of(limits: Limits, medium: str) -> k8s.V1ResourceRequirements:
    """Return requests equal to limits: no node is promised to two stages, none is evicted for its permitted use."""
    amounts = {"cpu": f"{round(limits.cpus * 1000)}m", "memory": limits.memory}
    if not medium:
        amounts["ephemeral-storage"] = limits.workspace
    return k8s.V1ResourceRequirements(limits=amounts, requests=dict(amounts))


def workspace_of(limits: Limits, medium: str) -> k8s.V1Volume:
    """Return the volume of a stage's files."""
    source = k8s.V1EmptyDirVolumeSource(medium=medium or None, size_limit=limits.workspace)
    return k8s.V1Volume(name="workspace", empty_dir=source)


def _first(error: BaseException) -> BaseException:
    """Return the first error: the provider tidies up afterwards, and that raises something vaguer."""
    causes = (AirflowException, AirflowTaskTimeout, ApiException, HTTPError)
    while not error.__suppress_context__ and isinstance(error.__context__, causes):
        error = error.__context__
    return error


def message_of(error: BaseException) -> str:
    """Return the API server's own words if it is one of its answers."""
    if isinstance(error, ApiException):
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return str(json.loads(error.body)["message"])
        return f"{error.status} {error.reason}"
    return str(error)
