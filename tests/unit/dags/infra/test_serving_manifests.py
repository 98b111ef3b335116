"""What infra/kubernetes/serving asks of a cluster: valid, confined, and in step with the image that it starts."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.dags.runners.cluster import check

PROJECT = Path(__file__).parents[4]
FOLDER = PROJECT / "infra" / "kubernetes" / "serving"
TEXT = (FOLDER / "serving.yaml").read_text()
DOCUMENTS: list[dict[str, Any]] = list(yaml.safe_load_all(TEXT))
KINDS = {document["kind"]: document for document in DOCUMENTS}
POD: dict[str, Any] = KINDS["Deployment"]["spec"]["template"]
(MAIN,) = POD["spec"]["containers"]


@pytest.mark.parametrize("kind", KINDS)
def test_kubernetes_takes_every_manifest(kind: str) -> None:
    check(KINDS[kind])
    assert KINDS[kind]["metadata"]["namespace"] == "nightstill"


def test_the_check_refuses_a_manifest_with_a_mistake() -> None:
    spoilt = TEXT.replace("minAvailable", "minAvailible")
    assert spoilt != TEXT
    with pytest.raises(ValueError, match="minAvailible"):
        list(map(check, yaml.safe_load_all(spoilt)))


def test_it_is_asked_for_on_its_own_and_is_no_part_of_the_pipeline_s() -> None:
    own = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert own["resources"] == ["serving.yaml"] and own["images"][0]["name"] == MAIN["image"]
    assert "serving" not in str(yaml.safe_load((FOLDER.parent / "kustomization.yaml").read_text())["resources"])


def test_service_budget_and_network_select_its_pods() -> None:
    labels = POD["metadata"]["labels"]
    assert KINDS["Service"]["spec"]["selector"] == labels
    assert KINDS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert KINDS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert KINDS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert set(KINDS["NetworkPolicy"]["spec"]["policyTypes"]) == {"Ingress", "Egress"}


def test_keys_that_are_missing_keep_it_from_starting() -> None:
    (keys,) = [
        pair["valueFrom"]["configMapKeyRef"] for pair in MAIN["env"] if pair["name"] == "NIGHTSTILL_TRUSTED_KEYS"
    ]
    assert keys == {"name": "nightstill-trusted-keys", "key": "trusted-keys.pem"}


def test_it_runs_confined() -> None:
    assert MAIN["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["spec"]["securityContext"]["runAsNonRoot"] and POD["spec"]["securityContext"]["runAsUser"] == 10001
    assert POD["spec"]["automountServiceAccountToken"] is False
    assert {"startupProbe", "livenessProbe", "readinessProbe", "lifecycle"} <= set(MAIN)
    assert set(MAIN["resources"]) == {"limits", "requests"}


def test_a_pod_without_a_champion_gets_no_requests_and_is_not_killed_for_it() -> None:
    assert MAIN["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert MAIN["livenessProbe"]["httpGet"]["path"] == MAIN["startupProbe"]["httpGet"]["path"] == "/healthz"


def test_credentials_come_by_reference() -> None:
    plain = {pair["name"] for pair in MAIN["env"] if "value" in pair}
    assert plain == {"NIGHTSTILL_SERVING_WORKLOAD", "NIGHTSTILL_RELEASE_STORE", "AWS_DEFAULT_REGION"}


def test_port_user_and_cache_are_those_of_the_image() -> None:
    image = (PROJECT / "docker" / "serving.Dockerfile").read_text()
    (port,) = MAIN["ports"]
    (mount,) = MAIN["volumeMounts"]
    assert f"NIGHTSTILL_SERVING_PORT={port['containerPort']}" in image and "USER 10001:10001" in image
    assert f"NIGHTSTILL_SERVING_CACHE={mount['mountPath']}/" in image
