"""What infra/kubernetes and infra/helm ask of a cluster: valid, and no more than is needed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dags.runners.command import Command
from dags.runners.kubernetes import LABELS, KubernetesSettings, PodOperator, kubernetes_settings
from tests.unit.dags.runners.cluster import check

INFRA = Path(__file__).parents[4] / "infra"
FOLDER = INFRA / "kubernetes"
NAMES = [path.name for path in sorted(FOLDER.glob("*.yaml")) if path.name != "kustomization.yaml"]
VALUES: dict[str, Any] = yaml.safe_load((INFRA / "helm" / "airflow-values.yaml").read_text())
SYSTEM = "kube-system"


def documents(name: str = "*.yaml") -> Iterator[dict[str, Any]]:
    for path in sorted(FOLDER.glob(name)):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


def of(kind: str) -> list[dict[str, Any]]:
    return [document for document in documents() if document["kind"] == kind]


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [document for document in of(kind) if document["metadata"]["name"] == name]
    return found


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The defaults, whatever this machine is set up for."""
    for name in KubernetesSettings.model_fields:
        monkeypatch.delenv(f"NIGHTSTILL_KUBERNETES_{name.upper()}", raising=False)
    kubernetes_settings.cache_clear()
    yield
    kubernetes_settings.cache_clear()


@pytest.fixture
def stage() -> PodOperator:
    return PodOperator(task_id="t", command=Command(name="sales/teach@lstm", arguments=("run-stage", "teach@lstm")))


@pytest.mark.parametrize("name", NAMES)
def test_kubernetes_takes_every_manifest(name: str) -> None:
    found = list(documents(name))
    assert found
    for document in found:
        check(document)


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("mlflow.yaml", lambda text: text.replace("memory: 2Gi", "memory: 2GiB"), "memory"),
        ("mlflow.yaml", lambda text: text.replace("readOnlyRootFilesystem", "readOnlyRoot"), "readOnlyRoot"),
        ("mlflow.yaml", lambda text: text.replace("replicas: 1", "replicas: one"), "one"),
        ("network.yaml", lambda text: text.replace("policyTypes", "policyType"), "policyType"),
        ("limits.yaml", lambda text: text.replace("128Gi", "128 Gi"), "hard"),
    ],
)
def test_the_check_refuses_a_manifest_with_a_mistake(name: str, spoil: Any, said: str) -> None:
    text = (FOLDER / name).read_text()
    assert spoil(text) != text
    with pytest.raises(ValueError, match=said):
        list(map(check, yaml.safe_load_all(spoil(text))))


def test_kustomize_has_every_file_but_the_example_of_secrets() -> None:
    found = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert sorted(found["resources"]) == sorted(set(NAMES) - {"secrets.example.yaml"})
    assert found["namespace"] == KubernetesSettings().namespace


def test_everything_is_in_the_namespace_that_the_runner_uses() -> None:
    namespace = KubernetesSettings().namespace
    assert {document["metadata"]["namespace"] for document in documents() if document["kind"] != "Namespace"} == {
        namespace
    }
    labels = named("Namespace", namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


# Rights.


def test_nothing_is_granted_cluster_wide() -> None:
    assert not [document for document in documents() if document["kind"].startswith("Cluster")]
    assert VALUES["allowPodLaunching"] is False and VALUES["multiNamespaceMode"] is False


def test_airflow_may_handle_pods_and_no_more() -> None:
    (role,) = of("Role")
    found = {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]}
    assert found == {
        "pods": {"create", "delete", "get", "list", "patch", "watch"},
        "pods/log": {"get"},
        "events": {"get", "list", "watch"},
        "trainjobs": {"create", "delete", "get"},
    }
    groups = {resource: rule["apiGroups"] for rule in role["rules"] for resource in rule["resources"]}
    assert groups.pop("trainjobs") == ["trainer.kubeflow.org"]
    assert set(map(tuple, groups.values())) == {("",)}


def test_stages_and_mlflow_may_nothing() -> None:
    (binding,) = of("RoleBinding")
    subjects = {(subject["namespace"], subject["name"]) for subject in binding["subjects"]}
    accounts = {account["metadata"]["name"] for account in of("ServiceAccount")}
    assert accounts == {KubernetesSettings().service_account, "nightstill-promotion", "nightstill-mlflow"}
    assert not {name for _, name in subjects} & accounts
    assert all(account["automountServiceAccountToken"] is False for account in of("ServiceAccount"))
    # Those who are bound are those that the chart makes.
    assert subjects == {("airflow", VALUES[part]["serviceAccount"]["name"]) for part in ("scheduler", "triggerer")}


# The network.


def selects(policy: dict[str, Any], labels: dict[str, str]) -> bool:
    wanted = policy["spec"]["podSelector"].get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items())


def peers(policy: dict[str, Any], direction: str) -> list[tuple[dict[str, Any], set[int]]]:
    key = {"ingress": "from", "egress": "to"}[direction]
    return [
        (peer, {port["port"] for port in rule["ports"]})
        for rule in policy["spec"].get(direction, [])
        for peer in rule[key]
    ]


def test_what_is_not_named_may_not_talk() -> None:
    spec = named("NetworkPolicy", "default-deny")["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_policy_of_stages_selects_the_pods_that_the_runner_starts(stage: PodOperator) -> None:
    policy = named("NetworkPolicy", "stages")
    assert policy["metadata"]["namespace"] == stage.namespace
    assert selects(policy, stage.labels)
    assert not selects(policy, {**stage.labels, "app.kubernetes.io/component": "mlflow"})
    assert not selects(named("NetworkPolicy", "mlflow"), stage.labels)


def test_stages_reach_names_mlflow_and_s3_alone() -> None:
    policy = named("NetworkPolicy", "stages")
    assert "ingress" not in policy["spec"] and set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    found = peers(policy, "egress")
    assert len(found) == 3
    (names, name_ports), (mlflow, mlflow_ports), (s3, s3_ports) = found
    assert names["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": SYSTEM} and name_ports == {53}
    assert mlflow["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "mlflow" and mlflow_ports == {5000}
    assert s3_ports == {443}
    # Neither the cluster's own networks nor the cloud's credentials by way of its metadata service.
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} == set(s3["ipBlock"]["except"])


def test_mlflow_is_reached_by_stages_and_airflow_alone(stage: PodOperator) -> None:
    found = peers(named("NetworkPolicy", "mlflow"), "ingress")
    assert [ports for _, ports in found] == [{5000}, {5000}]
    assert selects({"spec": {"podSelector": found[0][0]["podSelector"]}}, stage.labels)
    assert "namespaceSelector" not in found[0][0]
    assert found[1][0] == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "airflow"}}}


# MLflow.


def test_mlflow_is_confined_as_stages_are(stage: PodOperator) -> None:
    pod = named("Deployment", "mlflow")["spec"]["template"]["spec"]
    (main,) = pod["containers"]
    assert main["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001
    assert pod["automountServiceAccountToken"] is False
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(main)
    assert set(main["resources"]) == {"limits", "requests"}


def test_mlflow_s_service_finds_its_pods_and_its_policy_does() -> None:
    labels = named("Deployment", "mlflow")["spec"]["template"]["metadata"]["labels"]
    assert named("Service", "mlflow")["spec"]["selector"] == labels
    assert selects(named("NetworkPolicy", "mlflow"), labels)


def test_its_database_and_credentials_come_by_reference() -> None:
    (main,) = named("Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    plain = {pair["name"] for pair in main["env"] if "value" in pair}
    assert plain == {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION"}
    keys = {pair["valueFrom"]["secretKeyRef"]["key"] for pair in main["env"] if "valueFrom" in pair}
    given = set(named("Secret", "nightstill-mlflow")["stringData"])
    needed = {
        pair["valueFrom"]["secretKeyRef"]["key"]
        for pair in main["env"]
        if "valueFrom" in pair and not pair["valueFrom"]["secretKeyRef"].get("optional")
    }
    assert needed <= given <= keys


def test_no_secret_has_a_value() -> None:
    found = of("Secret")
    assert {secret["metadata"]["name"] for secret in found} == {KubernetesSettings().secret, "nightstill-mlflow"}
    for secret in found:
        assert all(re.fullmatch(r"<.*>", value) for value in secret["stringData"].values())
        assert "data" not in secret


# Limits.


def test_the_quota_has_room_for_a_night_and_the_limit_for_every_stage() -> None:
    hard = of("ResourceQuota")[0]["spec"]["hard"]
    assert set(hard) >= {"pods", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"}
    (limit,) = of("LimitRange")[0]["spec"]["limits"]
    assert limit["type"] == "Container" and set(limit) >= {"default", "defaultRequest", "max"}


# The chart's values.


def test_stages_are_light_for_airflow_and_share_no_disk() -> None:
    assert VALUES["executor"] == "LocalExecutor"
    for part in ("dags", "logs", "triggerer"):
        assert VALUES[part]["persistence"]["enabled"] is False
    assert VALUES["triggerer"]["enabled"] is True
    for part in ("postgresql", "redis", "flower", "pgbouncer", "createUserJob"):
        assert VALUES[part]["enabled"] is False
    assert VALUES["config"]["core"]["load_examples"] == "False"


def test_the_chart_s_variables_are_settings_that_there_are() -> None:
    told = {pair["name"]: pair["value"] for pair in VALUES["env"]}
    assert told["NIGHTSTILL_RUNNER"] == "kubernetes"
    for name, value in told.items():
        if name.startswith("NIGHTSTILL_KUBERNETES_"):
            field = name.removeprefix("NIGHTSTILL_KUBERNETES_").lower()
            assert KubernetesSettings.model_fields[field].default == value
    assert not [name for name in told if "SECRET_ACCESS" in name or "PASSWORD" in name]


def test_airflow_s_parts_run_without_rights_of_the_host() -> None:
    contexts = VALUES["securityContexts"]
    assert contexts["pod"]["runAsNonRoot"] is True and contexts["pod"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert contexts["containers"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # What must be written on a root that cannot: Airflow's home, and temporary files.
    assert {mount["mountPath"] for mount in VALUES["volumeMounts"]} == {VALUES["airflowHome"], "/tmp"}
    assert {mount["name"] for mount in VALUES["volumeMounts"]} == {volume["name"] for volume in VALUES["volumes"]}
    # Those that never talk to Kubernetes have no token for it.
    for part in ("dagProcessor", "apiServer", "migrateDatabaseJob"):
        assert VALUES[part]["serviceAccount"]["automountServiceAccountToken"] is False


def test_machines_of_one_training_reach_each_other() -> None:
    policy = named("NetworkPolicy", "training")["spec"]
    several = [{"key": "jobset.sigs.k8s.io/jobset-name", "operator": "Exists"}]
    ((source,), (target,)) = (rule[0][peers] for rule, peers in ((policy["ingress"], "from"), (policy["egress"], "to")))
    for peer in (policy["podSelector"], source["podSelector"], target["podSelector"]):
        assert peer["matchExpressions"] == several and peer["matchLabels"] == {**LABELS}
