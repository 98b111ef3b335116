"""The image of the scoring service: confined, run by nobody special, with nothing of the pipeline in it."""

import http.client
import json
import secrets
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.local import images
from tasks.releases.signing import generate
from tests.e2e.containers.conftest import s3_environment
from tests.e2e.containers.machine import CONFINED, docker, require
from tests.ports import free_port
from tests.serving_releases import expected, inputs, open_releases, promote, promote_tables
from tests.unit.conftest import Sales

pytestmark = pytest.mark.timeout(300)
CACHE = ("--tmpfs", "/cache:mode=1777")
PIPELINE = "dags torch mlflow airflow onnx sklearn dvc tasks.stages tasks.releases"


@pytest.fixture(scope="module")
def image() -> str:
    """Its name."""
    require("Docker Engine (DOCKER_HOST)", there=docker("info", check=False).returncode == 0)
    name = images.reference("serving")
    there = docker("image", "inspect", name, check=False).returncode == 0
    require("image of the scoring service; run `make serving-image`", there=there)
    return name


class Running:
    """A container of the service on this machine's network."""

    def __init__(self, image: str, **settings: str) -> None:
        self.port = free_port()
        self.name = f"nightstill-test-{secrets.token_hex(6)}"
        told = {
            "NIGHTSTILL_SERVING_WORKLOAD": "sales",
            "NIGHTSTILL_SERVING_PORT": str(self.port),
            "NIGHTSTILL_SERVING_POLL_SECONDS": "0.2",
            **s3_environment(),
            **settings,
        }
        variables = [part for name, value in told.items() for part in ("--env", f"{name}={value}")]
        docker("run", "--detach", "--name", self.name, *CONFINED, *CACHE, *variables, image)

    def get(self, path: str, body: bytes | None = None, media_type: str = "application/json") -> Any:
        """The answer to a request, None while there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(
                "POST" if body else "GET", path, body, {"Content-Type": media_type, "Accept": "application/json"}
            )
            return json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(300):
            if condition():
                return
            time.sleep(0.2)
        pytest.fail(docker("logs", self.name).stderr)


@pytest.fixture
def running(image: str, bucket: str, tmp_path: Path) -> Iterator[tuple[Running, Path]]:
    """With trusted keys as text, as a Secret gives them; and the private key's path."""
    private, public, _ = generate(tmp_path / "keys")
    store = f"s3://{bucket}/releases"
    found = Running(image, NIGHTSTILL_RELEASE_STORE=store, NIGHTSTILL_TRUSTED_KEYS=public.read_text())
    yield found, private
    docker("rm", "--force", found.name)


def test_it_serves_what_is_signed_follows_the_ledger_and_stops_in_order(
    running: tuple[Running, Path], bucket: str
) -> None:
    service, private = running
    releases = open_releases(f"s3://{bucket}/releases", str(private))
    body = json.dumps({"inputs": {name: array.tolist() for name, array in inputs().items()}}).encode()
    service.until(lambda: "no release of 'sales' yet" in (service.get("/readyz") or {}).get("problem", ""))
    for number, factor in ((1, 2), (2, 3)):
        promote(releases, factor)
        service.until(lambda number=number: service.get("/readyz").get("release") == number)  # type: ignore[misc]
        assert np.array_equal(np.array(service.get("/v1/predict", body)["output"], np.float32), expected(factor))
    promote(open_releases(f"s3://{bucket}/releases"), 4)
    service.until(lambda: "not signed" in service.get("/readyz")["problem"])
    assert service.get("/v1/predict", body)["release"] == 2
    # Rows of a raw table, by the feature code in the image; Parquet is read in a process of its own.
    sales = Sales()
    table = sales.table().collect()
    promote_tables(releases, {"kind": "forecasting", **sales.options}, table, sales.as_of)
    service.until(lambda: service.get("/readyz").get("release") == 4)
    file = BytesIO()
    table.write_parquet(file)
    found = service.get(f"/v1/score?as_of={sales.as_of}", file.getvalue(), "application/vnd.apache.parquet")
    assert len(found["rows"]) == 6 * sales.options["horizon"], found
    docker("stop", service.name)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", service.name).stdout.strip() == "0"


def test_it_is_confined_and_holds_nothing_of_the_pipeline(image: str) -> None:
    (found,) = json.loads(docker("image", "inspect", image).stdout)
    assert found["Config"]["User"] == "10001:10001"
    assert found["Config"]["Labels"]["io.nightstill.lock.sha256"] == images.lock_digest("serving")

    def inside(*command: str) -> str:
        entrypoint, *arguments = command
        told = ["run", "--rm", *CONFINED, *CACHE, "--entrypoint", entrypoint, image, *arguments]
        return docker(*told).stdout

    tried = "for place in / /app /opt /tmp /usr /cache; do touch $place/x 2>/dev/null && echo $place; done; true"
    assert inside("sh", "-c", tried).split() == ["/cache"]
    asked = f"import importlib.util as u; print([n for n in '{PIPELINE}'.split() if u.find_spec(n)])"
    assert inside("python", "-c", asked).strip() == "[]"
