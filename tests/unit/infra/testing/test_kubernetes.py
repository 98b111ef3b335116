"""The parts of the test in a real cluster that need none: where it may work, and what it refuses to start on."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.testing import kubernetes
from infra.testing.kubernetes import MANIFESTS, NAMESPACE, NEEDED, like, main, moved

VICTIM: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "sales-teach-lstm-1", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}},
    "spec": {
        "nodeName": "node1",
        "containers": [{"name": "base", "resources": {"limits": {"memory": "3Gi"}, "requests": {"memory": "3Gi"}}}],
    },
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize("path", sorted(MANIFESTS.glob("*.yaml")), ids=lambda path: path.name)
def test_nothing_of_the_test_is_put_where_production_is(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] == "Kustomization":
            continue
        found = moved(document)
        metadata = found["metadata"]
        assert (metadata["name"] if found["kind"] == "Namespace" else metadata["namespace"]) == NAMESPACE
        assert {subject["namespace"] for subject in found.get("subjects", [])} <= {NAMESPACE}
        assert {**found, "metadata": 0, "subjects": 0} == {**document, "metadata": 0, "subjects": 0}


def test_the_pod_is_asked_for_again_with_another_limit_and_nothing_else_changed() -> None:
    found = like(VICTIM, "4GiB")
    resources = {"limits": {"memory": "4GiB"}, "requests": {"memory": "4GiB"}}
    assert found["spec"] == {"containers": [{"name": "base", "resources": resources}]}
    assert set(found["metadata"]) == {"name", "labels"} and found["metadata"]["labels"] == {"a": "b"}
    assert "status" not in found and VICTIM["spec"]["nodeName"] == "node1"


def test_what_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in NEEDED:
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv("KUBECONFIG")
    assert main() == 64
    assert capsys.readouterr().err == "error: set KUBECONFIG\n"


def test_a_folder_that_is_not_its_own_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NEEDED:
        monkeypatch.setenv(name, "x")
    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/kubectl")
    monkeypatch.setattr(kubernetes, "HOME", tmp_path)
    (tmp_path / "work").write_text("mine")
    assert main() == 64
    assert (tmp_path / "work").read_text() == "mine" and "not a folder of this test" in capsys.readouterr().err
