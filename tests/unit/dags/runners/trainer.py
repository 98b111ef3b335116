"""The API of a cluster with Kubeflow's Trainer, as far as one TrainJob needs it; what is sent is held to its schema.

The models of kubeflow_trainer_api are made from the Trainer's published OpenAPI document.
"""

import json
import re
from typing import Any

from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob
from pydantic import ValidationError

from tests.unit.dags.runners.cluster import Cluster, Handler, check

JOBS = re.compile(r"/apis/trainer\.kubeflow\.org/v1alpha1/namespaces/(?P<namespace>[^/]+)/trainjobs(/(?P<name>[^/]+))?")
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def check_object(model: Any, document: dict[str, Any]) -> None:
    """Hold one of the Trainer's objects to its published schema. Raises ValueError."""
    try:
        found = model.from_dict(document)
    except ValidationError as error:
        raise ValueError(str(error)) from error
    # The models leave out what they do not know, and a server refuses it or, worse, does too.
    if strange := differences(document, found.to_dict()):
        raise ValueError(f"no such field, or another value: {', '.join(strange)}")


def check_job(job: dict[str, Any]) -> None:
    """Hold a TrainJob to the published schema, and the pod that it patches to Kubernetes' own. Raises ValueError."""
    check_object(TrainerV1alpha1TrainJob, job)
    if not NAME.fullmatch(job["metadata"]["name"]):
        raise ValueError(f"metadata.name: {job['metadata']['name']!r} is no name of a TrainJob")
    check(pod_of(job))


def differences(sent: Any, read: Any, where: str = "") -> list[str]:
    if isinstance(sent, dict) and isinstance(read, dict):
        names = sorted({*sent, *read})
        return [found for name in names for found in differences(sent.get(name), read.get(name), f"{where}.{name}")]
    if isinstance(sent, list) and isinstance(read, list) and len(sent) == len(read):
        return [
            found
            for number, pair in enumerate(zip(sent, read, strict=True))
            for found in differences(*pair, f"{where}[{number}]")
        ]
    return [] if sent == read else [where.lstrip(".")]


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    """A pod as the Trainer makes it on each machine: the runtime's container `node`, trainer and patch put together."""
    (patch,) = job["spec"]["runtimePatches"]
    (replicated,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    template, trainer = replicated["template"]["spec"]["template"], job["spec"]["trainer"]
    (container,) = template["spec"]["containers"]
    whole = {
        **container,
        **{name: trainer[name] for name in ("image", "command", "args", "env")},
        "resources": trainer["resourcesPerNode"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{job['metadata']['name']}-node-0-0", **template["metadata"]},
        "spec": {"restartPolicy": "Never", **template["spec"], "containers": [whole]},
    }


class TrainerCluster(Cluster):
    """One TrainJob at a time: `states` are what its readers see one after the other, None that it is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = TrainerHandler
        self.job: dict[str, Any] | None = None
        self.states: list[dict[str, Any] | None] = []
        self.exits: list[tuple[int, int, str]] = []
        """Of the pods: the machine's number, the exit code, and the reason."""
        self.logs: dict[int, list[str]] = {}
        self.installed = True
        self.silent = 0
        """So many looks at the TrainJob are answered by a failure."""

    def next(self) -> dict[str, Any] | None:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return None if state is None or self.job is None else {**self.job, **state}

    def pods(self) -> list[dict[str, Any]]:
        return [
            {
                "metadata": {
                    "name": f"pod-{machine}",
                    "labels": {"batch.kubernetes.io/job-completion-index": str(machine)},
                },
                "status": {
                    "containerStatuses": [
                        {
                            "name": "node",
                            "image": "i",
                            "imageID": "",
                            "ready": False,
                            "restartCount": 0,
                            "state": {"terminated": {"exitCode": code, "reason": reason}},
                        }
                    ]
                },
            }
            for machine, code, reason in self.exits
        ]


class TrainerHandler(Handler):
    server: TrainerCluster

    def handle_one(self, method: str) -> None:
        cluster, path = self.server, self.path.partition("?")[0]
        found = JOBS.fullmatch(path)
        if found is None:
            return self.pods_or_log(method, path)
        if not cluster.installed:
            return self.refuse(404, "the server could not find the requested resource")
        if method == "POST":
            return self.submit()
        cluster.sent.append((method, self.path))
        if method == "GET" and cluster.silent:
            cluster.silent -= 1
            return self.refuse(500, "etcd is away")
        job = cluster.next() if cluster.job else None
        if job is None or job["metadata"]["name"] != found["name"]:
            return self.refuse(404, f'trainjobs.trainer.kubeflow.org "{found["name"]}" not found')
        if method == "DELETE":
            cluster.job = None
        return self.answer(200, job)

    def submit(self) -> None:
        cluster = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        cluster.sent.append(("POST", self.path))
        if cluster.refusal:
            return self.refuse(*cluster.refusal)
        try:
            check_job(body)
        except ValueError as error:
            return self.refuse(422, str(error))
        cluster.job = body
        return self.answer(201, body)

    def pods_or_log(self, method: str, path: str) -> None:
        cluster = self.server
        cluster.sent.append((method, self.path))
        if path.endswith("/log"):
            lines = cluster.logs.get(int(path.split("/")[-2].rpartition("-")[2]), [])
            return self.answer(200, "\n".join(lines).encode())
        return self.answer(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": cluster.pods()})
