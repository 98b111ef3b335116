"""Building images: what the client is asked for. A script stands for the docker client."""

import shutil
from pathlib import Path

import pytest

from infra.local import images
from infra.local.environments import PROJECT
from tasks.pipeline.handover.checkout import checkout_commit

INSPECT = """
case "$*" in
  *RepoDigests*) echo '["python@sha256:aaa"]' ;;
  *.Id*) echo sha256:bbb ;;
  *.Size*) echo 123000000 ;;
  tag*) echo "$*" >> "$(dirname "$0")/tags" ;;
  build*) echo "$DOCKER_BUILDKIT $*" >> "$(dirname "$0")/builds"; [ ! -e "$(dirname "$0")/broken" ] ;;
esac
"""


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the client notes its builds; torch comes from an index, so that nothing is fetched here."""
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\n{INSPECT}")
    program.chmod(0o755)
    monkeypatch.setenv("NIGHTSTILL_DOCKER", str(program))
    monkeypatch.setenv("NIGHTSTILL_TORCH_INDEX", "https://torch.example/cpu")
    return tmp_path / "builds"


def test_both_images_by_buildkit_with_commit_lock_and_index(
    builds: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NIGHTSTILL_IMAGE_TAG", "v1")
    assert images.main() == 0
    task, airflow = builds.read_text().splitlines()
    assert task.startswith("1 build ") and "--file docker/task.Dockerfile --tag nightstill-task:v1 " in task
    assert "--build-arg TORCH_INDEX=https://torch.example/cpu" in task and "TORCH" not in airflow
    for command, name in ((task, "task"), (airflow, "airflow")):
        assert f"--build-arg COMMIT={checkout_commit(PROJECT)}" in command
        assert f"--build-arg LOCK={images.lock_digest(name)}" in command
    told = capsys.readouterr().out
    assert "nightstill-airflow:v1" in told and "NIGHTSTILL_TASK_IMAGE=nightstill-task:bbb\n" in told
    assert (builds.parent / "tags").read_text().splitlines()[0] == "tag nightstill-task:v1 nightstill-task:bbb"


@pytest.mark.parametrize("digest", ["sha256:aaa", "sha256:bbb"])
def test_the_base_that_was_asked_for(builds: Path, monkeypatch: pytest.MonkeyPatch, digest: str) -> None:
    monkeypatch.setenv("NIGHTSTILL_BASE_DIGEST", digest)
    assert images.main() == 0


def test_another_base_builds_nothing(
    builds: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NIGHTSTILL_BASE_DIGEST", "sha256:ccc")
    assert images.main() == 78
    assert "NIGHTSTILL_BASE_DIGEST=sha256:ccc: python:3.11-slim-bookworm here is python@sha256:aaa" in (
        capsys.readouterr().err
    )
    assert not builds.exists()


def test_a_build_that_fails(builds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (builds.parent / "broken").touch()
    assert images.main() == 75
    assert "error: nightstill-task:latest: the build failed" in capsys.readouterr().err


def test_no_client_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("NIGHTSTILL_TORCH_INDEX", "https://torch.example/cpu")
    assert images.main() == 75
    assert "no docker client found; install Docker" in capsys.readouterr().err


def test_the_scoring_service_s_image_is_built_when_it_is_asked_for(builds: Path) -> None:
    assert images.main(["serving"]) == 0
    (command,) = builds.read_text().splitlines()
    assert "--file docker/serving.Dockerfile --tag nightstill-serving:" in command and "TORCH" not in command
    assert f"--build-arg LOCK={images.lock_digest('serving')}" in command


@pytest.mark.parametrize("name", ["task", "airflow", "serving"])
def test_the_dockerfiles_start_from_the_base_as_it_is(name: str) -> None:
    text = (PROJECT / "docker" / f"{name}.Dockerfile").read_text()
    bases = [line.split()[1] for line in text.splitlines() if line.startswith("FROM ")]
    assert bases == ["python:3.11-slim-bookworm"] * 2
    assert "--require-hashes" in text and "\nUSER " in text
