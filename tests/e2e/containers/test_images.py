"""What `make images` built, looked at from inside."""

import json
import re
from typing import Any

import pytest

from infra.local import images
from tests.e2e.containers.machine import CONFINED, docker

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("engine")]

COMPILERS = "gcc g++ cc clang ld strip make uv"
LEARNING = "torch onnxruntime onnx mlflow sklearn pandas numpy polars great_expectations dvc lightgbm"
LOAD_DAGS = """
from airflow.dag_processing.dagbag import DagBag
bag = DagBag("/app/dags")
print(bag.import_errors, sorted(bag.dags))
"""


def inside(name: str, *command: str, options: tuple[str, ...] = ()) -> str:
    """Output of a command in a confined container of an image."""
    entrypoint, *arguments = command
    where = ("--tmpfs", "/airflow:mode=1777") if name == "airflow" else ()
    told = ["run", "--rm", *CONFINED, *where, *options, "--entrypoint", entrypoint, images.reference(name), *arguments]
    return docker(*told).stdout


def config(name: str) -> dict[str, Any]:
    (found,) = json.loads(docker("image", "inspect", images.reference(name)).stdout)
    settings: dict[str, Any] = found["Config"]
    return settings


@pytest.mark.parametrize("name", ["task", "airflow"])
def test_an_image_says_what_it_was_made_from(name: str) -> None:
    labels = config(name)["Labels"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["org.opencontainers.image.revision"])
    assert labels["io.nightstill.lock.sha256"] == images.lock_digest(name)
    assert labels["org.opencontainers.image.base.name"] == "python:3.11-slim-bookworm"


@pytest.mark.parametrize("name", ["task", "airflow"])
def test_it_runs_as_nobody_special_and_has_no_tools_to_build_with(name: str) -> None:
    assert config(name)["User"].split(":")[0] not in ("", "0", "root")
    assert inside(name, "sh", "-c", f"command -v {COMPILERS} || true") == ""
    places = ("/root", "/home", "/opt", "/var/cache")
    everywhere = ("--user", "0", "--cap-add", "DAC_READ_SEARCH")
    left = ("-ipath", "*cache/pip*", "-o", "-name", "*.whl")
    found = inside(name, "find", *places, *left, options=everywhere)
    assert found == ""


def test_libraries_find_what_they_take_from_the_system() -> None:
    loaded = inside("task", "python", "-c", "import lightgbm, optuna, torch; print(lightgbm.__version__)")
    assert re.fullmatch(r"4\.\d+\.\d+", loaded.strip())


@pytest.mark.parametrize("name", ["task", "airflow"])
def test_nothing_but_its_workspace_can_be_written(name: str) -> None:
    place = "/workspace" if name == "task" else "/airflow"
    tried = f"for place in / /app /opt /tmp /usr {place}; do touch $place/x 2>/dev/null && echo $place; done; true"
    assert inside(name, "sh", "-c", tried).split() == [place]


def test_the_image_of_airflow_holds_no_ml_library_and_loads_its_dags() -> None:
    found = f"import importlib.util as u; print([n for n in '{LEARNING}'.split() if u.find_spec(n)])"
    assert inside("airflow", "python", "-c", found).strip() == "[]"
    loaded = inside("airflow", "python", "-c", LOAD_DAGS).splitlines()[-1]
    kinds = ("nightly", "rollback", "score", "verify", "watch")
    expected = ["tidy", *(f"{kind}_{workload}" for kind in kinds for workload in ("customers", "sales"))]
    assert loaded == f"{{}} {sorted(expected)}"
    assert "nightstill" in inside("airflow", "airflow", "plugins", "--output", "plain"), "its pages of nights"
    assert config("airflow")["Healthcheck"]["Test"] == ["CMD", "/app/docker/healthcheck.py"]


def test_the_health_check_fails_where_no_server_answers() -> None:
    checked = docker(
        "run",
        "--rm",
        *CONFINED,
        "--entrypoint",
        "/app/docker/healthcheck.py",
        "--network",
        "none",
        images.reference("airflow"),
        check=False,
    )
    assert checked.returncode != 0


def test_the_image_of_stages_knows_its_workloads() -> None:
    said = inside("task", "nightstill", "check")
    assert "sales: ok" in said and "customers: ok" in said
