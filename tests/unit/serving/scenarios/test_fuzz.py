"""Whatever anybody writes, reading it ends with one of the errors that are told, and the service has no fault."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import safetensors.numpy
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.client.errors import IntegrityError
from serving.client.release import Release, digests
from serving.contract import Contract
from serving.service.app import make_app
from serving.service.bodies import JSON, SAFETENSORS
from serving.service.settings import ServiceSettings
from tasks.scoring.rows import ARROW, CSV, PARQUET
from tests.conftest import sales_table
from tests.serving_releases import CONTRACT, inputs, open_releases, promote_tables
from tests.unit.serving.test_forged import ENTRY, sealed
from tests.unit.serving.test_service import until
from tests.unit.serving.test_tables import AS_OF, SALES, content

# NIGHTSTILL_FUZZ=20000 is the long one.
FUZZ = settings(
    max_examples=int(os.environ.get("NIGHTSTILL_FUZZ", "50")),
    deadline=None,
    derandomize="NIGHTSTILL_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["x", "codes", "2026-05-31", "\0", "../x", "a" * 64, 2**63, -1, 1e300])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)


@st.composite
def changed(draw: st.DrawFn, good: Any) -> Any:
    """The good value, with something else, or nothing, at a place or two."""
    found = json.loads(json.dumps(good))
    for _ in range(draw(st.integers(1, 2))):
        at = found
        while isinstance(at, dict | list) and at:
            key = draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
            if not isinstance(at[key], dict | list) or not at[key] or draw(st.integers(0, 3)) == 0:
                if draw(st.integers(0, 3)) == 0:
                    del at[key]
                else:
                    at[key] = draw(VALUES)
                break
            at = at[key]
    return found


def spoilt(good: bytes) -> st.SearchStrategy[bytes]:
    """The good bytes, cut or with other bytes at some place."""

    def spoil(place: int, other: bytes, cut: bool) -> bytes:
        place %= len(good) + 1
        return good[:place] + other + (b"" if cut else good[place + len(other) :])

    return st.builds(spoil, st.integers(0, 2**20), st.binary(max_size=9), st.booleans())


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> ServiceSettings:
    """Of a service whose release takes rows."""
    folder = tmp_path_factory.mktemp("fuzz")
    promote_tables(open_releases(folder / "releases"), SALES, sales_table(AS_OF, days=200), AS_OF, max_units=5000)
    return ServiceSettings(workload="sales", release_store=str(folder / "releases"), cache=folder / "cache")


@pytest.fixture(scope="module")
def client(told: ServiceSettings) -> Iterator[TestClient]:
    """Of that service."""
    with TestClient(make_app(told), raise_server_exceptions=False) as found:
        until(lambda: found.get("/readyz").status_code == 200)
        yield found


TABLE = sales_table(AS_OF, days=20, stores=1, departments=1)
ROWS = json.loads(content(TABLE.head(30), JSON))
PREDICT = {"inputs": {name: array.tolist() for name, array in inputs().items()}}


def send(client: TestClient, path: str, body: bytes, form: str) -> None:
    """No answer is a fault of the service, and every refusal is one line of JSON."""
    answer = client.post(path, content=body, headers={"Content-Type": form})
    assert answer.status_code in (200, 400, 413, 415, 422), (answer.status_code, body)
    if answer.status_code != 200:
        assert "\n" not in answer.json()["error"]


@FUZZ
@given(body=VALUES | changed(PREDICT) | st.dictionaries(st.sampled_from(["inputs"]), VALUES))
def test_values_to_predict(client: TestClient, body: Any) -> None:
    send(client, "/v1/predict", json.dumps(body).encode(), JSON)


@FUZZ
@given(body=spoilt(json.dumps(PREDICT).encode()) | st.binary())
def test_bytes_to_predict(client: TestClient, body: bytes) -> None:
    send(client, "/v1/predict", body, JSON)


@FUZZ
@given(body=spoilt(safetensors.numpy.save(inputs())) | st.binary())
def test_safetensors_to_predict(client: TestClient, body: bytes) -> None:
    send(client, "/v1/predict", body, SAFETENSORS)


@FUZZ
@given(body=VALUES | changed(ROWS))
def test_rows_to_score(client: TestClient, body: Any) -> None:
    send(client, "/v1/score", json.dumps(body).encode(), JSON)


@pytest.mark.parametrize("form", [CSV, PARQUET, ARROW])
def test_tables_to_score(client: TestClient, form: str) -> None:
    @FUZZ
    @given(body=spoilt(content(TABLE, form)) | st.binary())
    def each(body: bytes) -> None:
        send(client, f"/v1/score?as_of={AS_OF}", body, form)

    each()


@FUZZ
@given(as_of=st.text(max_size=12), accept=st.text(st.characters(codec="ascii", categories=["L", "P"])))
def test_other_parts_of_a_request(client: TestClient, as_of: str, accept: str) -> None:
    body, told = json.dumps(ROWS).encode(), {"Content-Type": JSON, "Accept": accept}
    answer = client.post("/v1/score", params={"as_of": as_of}, content=body, headers=told)
    assert answer.status_code in (200, 422)


# What fits the description need not fit the release's contract, so a refusal of it is no fault.
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def described(client: TestClient) -> Any:
    """What the service says of itself; it is asked as an application, without a network."""

    async def running(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await client.app(scope, receive, send)
            return
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})

    return schemathesis.openapi.from_asgi("/openapi.json", running)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "not-fitting"])
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/score"])
def test_answers_to_what_is_posted_are_as_described(described: Any, path: str, mode: GenerationMode) -> None:
    """Codes, content types and bodies of answers are held against it."""

    @FUZZ
    @given(case=described[path]["POST"].as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    each()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v1/model"])
def test_answers_to_what_is_asked_are_as_described(described: Any, path: str) -> None:
    described[path]["GET"].Case().call_and_validate(checks=CHECKS)


@FUZZ
@given(stored=st.binary() | spoilt(sealed()) | VALUES.map(lambda one: json.dumps(one).encode()))
def test_bytes_of_a_ledger_entry(stored: bytes) -> None:
    if stored != sealed():
        with pytest.raises(IntegrityError):
            Release.parse(stored, 1, "here")


@FUZZ
@given(changes=st.dictionaries(st.sampled_from(list(ENTRY)), VALUES))
def test_an_entry_whose_digest_holds(changes: dict[str, Any]) -> None:
    with suppress(IntegrityError, UnicodeEncodeError):
        release = Release.parse(sealed(**changes), 1, "here")
        assert type(release.number) is int and ".." not in release.files.split("/")


MANIFEST = {"files": {"model.onnx": {"sha256": "a" * 64, "bytes": 1}, "contract.json": {"sha256": "b" * 64}}}


@FUZZ
@given(manifest=st.binary() | (VALUES | changed(MANIFEST)).map(lambda one: json.dumps(one).encode()))
def test_manifests(manifest: bytes) -> None:
    with suppress(ValueError):
        assert all("/" not in name and len(digest) == 64 for name, digest in digests(manifest).items())


@FUZZ
@given(contract=st.binary() | (VALUES | changed(CONTRACT)).map(lambda one: json.dumps(one).encode()))
@example(b"[" * 100_000)
def test_contracts(contract: bytes) -> None:
    with suppress(ValueError, KeyError, TypeError):
        Contract.parse(contract)
