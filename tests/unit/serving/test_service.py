"""The scoring service: good requests are answered, every bad one with 4xx and a line that names the field."""

import asyncio
import json
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from fastapi import Request
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from serving.__main__ import main
from serving.client import Contract, InputError
from serving.service.app import make_app
from serving.service.bodies import JSON, SAFETENSORS, BadBody, arrays_of
from serving.service.http import Intake, Refused
from serving.service.metrics import age_seconds
from serving.service.settings import ServiceSettings
from tasks.core.storage import FolderStore
from tasks.releases.store import ReleaseStore
from tests.serving_releases import CONTRACT, expected, inputs, promote

MAX_ROWS, MAX_BYTES = 100, 200_000


def until(condition: Callable[[], bool]) -> None:
    """Wait for what the service does in the background."""
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("it did not happen")


class Losing(FolderStore):
    """Models never arrive in it."""

    def write(self, key: str, data: bytes) -> None:
        if not key.endswith("/model.onnx"):
            super().write(key, data)


def settings(folder: Path, cache: Path, **changes: Any) -> ServiceSettings:
    given = {"workload": "sales", "release_store": str(folder), "cache": cache, "poll_seconds": 0.05}
    return ServiceSettings(**{**given, "max_rows": MAX_ROWS, "max_bytes": MAX_BYTES, **changes})


@pytest.fixture
def client(releases: ReleaseStore, folder: Path, cache: Path) -> Iterator[TestClient]:
    """Of a service with one release, whose factor is 2."""
    promote(releases, 2)
    with TestClient(make_app(settings(folder, cache)), raise_server_exceptions=False) as found:
        until(lambda: found.get("/readyz").status_code == 200)
        yield found


def request(rows: int = 2, **changes: Any) -> dict[str, Any]:
    """A good request as JSON, with other values for some inputs; None leaves one out."""
    given = {name: array.tolist() for name, array in inputs(rows).items()} | changes
    return {"inputs": {name: value for name, value in given.items() if value is not None}}


def value(client: TestClient, name: str, **labels: str) -> float:
    """A number of /metrics; 0 if it is not there yet."""
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return 0.0


# Good requests.


@pytest.mark.parametrize("rows", [1, 2, MAX_ROWS])
def test_json_gives_the_model_s_output(client: TestClient, rows: int) -> None:
    answer = client.post("/v1/predict", json=request(rows))
    assert answer.status_code == 200 and answer.headers["X-Nightstill-Release"] == "1"
    found = answer.json()
    assert np.array_equal(np.array(found.pop("output"), np.float32), expected(2, rows))
    assert found == {"workload": "sales", "release": 1, "as_of": "2026-01-01"}


@pytest.mark.parametrize("rows", [2, MAX_ROWS])
def test_safetensors_give_the_same_bits(client: TestClient, rows: int) -> None:
    given = {**inputs(rows), "spare": np.zeros((rows, 1), np.float32)}
    answer = client.post("/v1/predict", content=safetensors.numpy.save(given), headers={"Content-Type": SAFETENSORS})
    assert answer.status_code == 200 and answer.headers["Content-Type"] == SAFETENSORS
    assert np.array_equal(safetensors.numpy.load(answer.content)["output"], expected(2, rows))


def test_whole_numbers_are_numbers_and_charsets_do_not_matter(client: TestClient) -> None:
    x = [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    body = json.dumps(request(x=x))
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = client.post("/v1/predict", content=body, headers=headers)
    assert np.array_equal(np.array(answer.json()["output"], np.float32), expected(2))


def test_the_model_and_its_contract(client: TestClient, releases: ReleaseStore) -> None:
    found = client.get("/v1/model").json()
    entry = releases.release()
    assert (found["release"], found["model_sha256"], found["manifest_sha256"]) == (
        1,
        entry.model_sha256,
        entry.manifest_sha256,
    )
    assert found["contract"]["inputs"] == {
        "x": {"dtype": "float32", "shape": ["batch", 2, 3], "needed": True},
        "codes": {"dtype": "int64", "shape": ["batch", 2], "needed": True},
        "spare": {"dtype": "float32", "shape": ["batch", 1], "needed": False},
    }
    assert found["contract"]["output"]["shape"] == ["batch", 2, 3]
    assert found["contract"]["categories"]["store"] == ["<unknown>", "s1", "s2"]


def test_its_own_description_names_both_forms_of_requests(client: TestClient) -> None:
    found = client.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert set(found) == {"application/json", SAFETENSORS}


# Bad ones.

X = [[[0.0] * 3] * 2] * 2


def deep(levels: int) -> Any:
    found: Any = 1.0
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        (request(x=None), "x", "x: missing; expected float32, batch × 2 × 3"),
        (request(y=X), "y", "y: no such input; the contract has: x, codes, spare"),
        (request(x=1.0), "x", "x: a single value; expected nested lists of numbers"),
        (request(x={"a": 1}), "x", "x: a single value; expected nested lists"),
        (request(x="0"), "x", "x: a single value; expected nested lists"),
        ({"inputs": {**request()["inputs"], "x": None}}, "x", "x: a single value"),
        (request(x=[[[0.0] * 3, [0.0] * 2]] * 2), "x", "x: lists of unequal lengths"),
        (request(x=[[[0.0] * 2] * 2] * 2), "x", "x: shape 2 × 2 × 2; expected float32, batch × 2 × 3"),
        (request(x=[[0.0] * 3] * 2), "x", "x: shape 2 × 3; expected float32, batch × 2 × 3"),
        (request(x=deep(40)), "x", "x: shape 1 × 1"),
        (request(x=deep(80)), "x", "x: "),
        (request(x=X[:1]), "codes", "codes: 2 rows, the inputs before it have 1"),
        (request(x=[[["a"] * 3] * 2] * 2), "x", "x: 'a'; expected nested lists of numbers, float32"),
        (request(x=[[[None] * 3] * 2] * 2), "x", "x: null; expected"),
        (request(x=[[[True] * 3] * 2] * 2), "x", "x: True; expected"),
        (request(x=[[[1.0, True, 1.0]] * 2] * 2), "x", "x: True; expected"),
        (request(x=[[[{}, 1, 1]] * 2] * 2), "x", "x: an object; expected"),
        (request(x=[[[1e39] * 3] * 2] * 2), "x", "x: inf at [0, 0, 0]; expected finite numbers of float32"),
        (request(codes=[[1.0, 1.0]] * 2), "codes", "codes: 1.0; expected nested lists of whole numbers, int64"),
        (request(codes=[[1, True]] * 2), "codes", "codes: True; expected"),
        (request(codes=[[2**63, 0]] * 2), "codes", "codes: a number beyond int64"),
        (request(codes=[[2**63, 2**63]] * 2), "codes", "codes: a number beyond int64"),
        (request(codes=[[10**30, 0]] * 2), "codes", "codes: "),
        (request(codes=[[3, 0]] * 2), "codes", "codes: 3 at [0, 0]; codes of store are 0 to 2 in this release"),
        (request(codes=[[-1, 0]] * 2), "codes", "codes: -1 at [0, 0]; codes of store are 0 to 2"),
        (request(spare=[["a"]] * 2), "spare", "spare: 'a'; expected"),
        (request(x=[], codes=[]), "x", "x: no values"),
        (request(MAX_ROWS + 1), "", f"{MAX_ROWS + 1} rows in one request; at most {MAX_ROWS} are allowed"),
        ({**request(), "parameters": {}}, "parameters", "parameters: no such field; the request has `inputs` alone"),
        ({"instances": []}, "inputs", "inputs: expected an object"),
        ({"inputs": []}, "inputs", "inputs: expected an object"),
        ([1], "inputs", "inputs: expected an object"),
        (None, "inputs", "inputs: expected an object"),
    ],
)
def test_bad_json_content_is_refused_by_field(client: TestClient, body: Any, field: str, said: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/predict", content=json.dumps(body), headers=headers)
    assert answer.status_code == 422
    assert answer.json()["field"] == field and answer.json()["error"].startswith(said)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"inputs=1",
        b'{"inputs": {"x": [NaN]}}',
        b'{"inputs": {"x": [Infinity]}}',
        b"[" * 2_000,
    ],
)
def test_what_is_no_json_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error"].startswith("not JSON: ")


def handmade(dtype: str, size: int) -> bytes:
    """Safetensors with an array `x` of a type that NumPy may not have."""
    header = json.dumps({"x": {"dtype": dtype, "shape": [2, 2, 3], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


HALF = safetensors.numpy.save(inputs())[:-1]


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"", 400, "not safetensors"),
        (b"\x00" * 100, 400, "not safetensors"),
        (b"\xff" * 100, 400, "not safetensors"),
        (HALF, 400, "not safetensors"),
        (b"\x80\x04\x95", 400, "not safetensors"),  # the start of a pickle
        (handmade("BF16", 24), 4, ""),
        (handmade("F8_E4M3", 12), 4, ""),
        (handmade("F4", 6), 4, ""),
        (handmade("F32", 47), 400, "not safetensors"),
        (safetensors.numpy.save({"x": inputs()["x"]}), 422, "codes: missing"),
        (safetensors.numpy.save({**inputs(), "y": np.zeros(2)}), 422, "y: no such input"),
        (safetensors.numpy.save({**inputs(), "x": np.zeros((2, 2, 3))}), 422, "x: dtype float64; expected float32"),
        (safetensors.numpy.save({**inputs(), "x": np.full((2, 2, 3), np.nan, np.float32)}), 422, "x: nan at"),
        (safetensors.numpy.save({**inputs(), "x": np.array(1, np.float32)}), 422, "x: shape a single number"),
        (safetensors.numpy.save(inputs(0)), 422, "no rows"),
        (safetensors.numpy.save(inputs(MAX_ROWS + 1)), 422, f"{MAX_ROWS + 1} rows in one request"),
    ],
)
def test_bad_safetensors_are_refused(client: TestClient, body: bytes, code: int, said: str) -> None:
    answer = client.post("/v1/predict", content=body, headers={"Content-Type": SAFETENSORS})
    assert answer.status_code in (code, *(range(400, 423) if code == 4 else ()))
    assert answer.json()["error"].startswith(said)


@pytest.mark.parametrize("form", ["application/json", SAFETENSORS])
def test_spoilt_requests_are_never_a_fault_of_the_service(client: TestClient, form: str) -> None:
    rng = np.random.default_rng(0)
    good = json.dumps(request()).encode() if form != SAFETENSORS else safetensors.numpy.save(inputs())
    codes = set()
    for _ in range(300):
        body = bytearray(good)
        for place in rng.integers(0, len(body), int(rng.integers(1, 4))):
            body[place] = int(rng.integers(0, 256)) if rng.random() < 0.5 else body[int(rng.integers(0, len(body)))]
        content = bytes(body[: int(rng.integers(0, len(body)))] if rng.random() < 0.2 else body)
        codes.add(client.post("/v1/predict", content=content, headers={"Content-Type": form}).status_code)
    assert {400, 422} <= codes <= {200, 400, 422}


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"Content-Type": "text/csv"}, "Content-Type"),
        ({"Content-Type": "application/x-pickle"}, "Content-Type"),
        ({}, "Content-Type"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "Content-Encoding"),
    ],
)
def test_other_forms_of_content_are_refused(client: TestClient, headers: dict[str, str], field: str) -> None:
    answer = client.post("/v1/predict", content=json.dumps(request()), headers=headers)
    assert answer.status_code == 415 and answer.json()["field"] == field


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(client: TestClient) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(MAX_BYTES // 1000 + 1):
            yield b" " * 1000

    for content in (b" " * (MAX_BYTES + 1), parts()):
        answer = client.post("/v1/predict", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413 and f"more than {MAX_BYTES} bytes" in answer.json()["error"]


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/v1/predict", 405), ("POST", "/", 404)])
def test_other_paths_and_methods(client: TestClient, method: str, path: str, code: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == code and answer.json()["error"]


def peak(body: bytes, rows: int = 4096) -> int:
    """Bytes of Python and NumPy that reading a body takes at most, beyond its own."""
    contract = Contract.from_json(CONTRACT)
    tracemalloc.start()
    try:
        with pytest.raises((BadBody, InputError)):
            arrays_of(body, JSON, contract, ("x", "codes"), rows)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "value",
    [
        b'"' + b"a" * 60_000 + b'"' + b',""' * 1000,
        b"[[[" + b'"' + b"a" * 60_000 + b'"' + b',""' * 900 + b"]]]",
        b"[]" + b",[]" * 5_000_000,
        b'""' + b',""' * 5_000_000,
        b"{}" + b",{}" * 5_000_000,
        b"1.5" + b",1.5" * 3_000_000,
        b"[" * 1000 + b"]" * 1000,
    ],
    ids=["long string", "long string, nested", "lists", "strings", "objects", "numbers", "deep"],
)
def test_values_of_the_wrong_sort_take_no_memory(value: bytes) -> None:
    body = b'{"inputs": {"codes": [[1, 1]], "x": [' + value + b"]}}"
    assert peak(body) < 4 * len(body) + 2_000_000


def test_a_safetensors_header_of_very_many_arrays_is_refused(client: TestClient) -> None:
    head = json.dumps({f"{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(2000)}).encode()
    body = struct.pack("<Q", len(head)) + head
    answer = client.post("/v1/predict", content=body, headers={"Content-Type": SAFETENSORS})
    assert answer.status_code == 400 and "header of at most" in answer.json()["error"]


def test_json_has_a_limit_of_its_own(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    promote(releases, 2)
    with TestClient(make_app(settings(folder, cache, max_json_bytes=100))) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.post("/v1/predict", json=request()).status_code == 413
        given = safetensors.numpy.save(inputs(20))
        assert client.post("/v1/predict", content=given, headers={"Content-Type": SAFETENSORS}).status_code == 200


def test_answers_do_not_repeat_long_names(client: TestClient) -> None:
    answer = client.post("/v1/predict", json={"inputs": {"y" * 100_000: X}})
    assert answer.status_code == 422 and len(answer.content) < 3000


def test_large_bodies_have_a_bound_together_and_small_ones_are_not_kept_out() -> None:
    async def both() -> None:
        intake = Intake(ServiceSettings(workload="w", max_bytes_at_once=100_000))
        large, small = b" " * 150_000, b" " * 1000
        async with intake.body(sent(large), 200_000) as first:
            assert first == large
            with pytest.raises(Refused, match="try again"):
                async with intake.body(sent(large), 200_000):
                    pass
            async with intake.body(sent(small), 200_000) as second:
                assert second == small
        async with intake.body(sent(large), 200_000) as third:
            assert third == large

    asyncio.run(both())


def test_one_large_body_is_read_at_a_time() -> None:
    async def read() -> int:
        intake = Intake(ServiceSettings(workload="w", max_bytes=100))
        now, most = 0, 0

        async def one(size: int) -> None:
            nonlocal now, most
            async with intake.work(size):
                now += min(size, 100)
                most = max(most, now)
                await asyncio.sleep(0.001)
                now -= min(size, 100)

        await asyncio.gather(*(one(size) for size in (60, 60, 10, 1000, 30, 30, 40, 100)))
        return most

    assert asyncio.run(read()) == 100


def sent(body: bytes) -> Request:
    """A request as the server hands it on."""
    parts = [body[at : at + 10_000] for at in range(0, len(body), 10_000)]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    return Request({"type": "http", "headers": []}, receive)


# What operations see.


def test_before_the_first_release_it_is_alive_and_not_ready(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    folder.mkdir()
    with TestClient(make_app(settings(folder, cache))) as client:
        until(lambda: "no release" in client.get("/readyz").json()["problem"])
        assert client.get("/healthz").status_code == 200 and client.get("/readyz").status_code == 503
        for answer in (client.get("/v1/model"), client.post("/v1/predict", json=request())):
            assert answer.status_code == 503 and answer.headers["Retry-After"] == "5"
            assert "no release of 'sales' yet" in answer.json()["error"]
        assert value(client, "nightstill_reload_failures_total") >= 1
        promote(releases, 2)
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/readyz").json() == {"ready": True, "problem": "", "release": 1}


def test_requests_rows_and_reloads_are_counted(client: TestClient, releases: ReleaseStore, folder: Path) -> None:
    for _ in range(3):
        client.post("/v1/predict", json=request(2))
    client.post("/v1/predict", json={})
    client.get("/nowhere")
    assert value(client, "nightstill_requests_total", path="/v1/predict", code="200") == 3
    assert value(client, "nightstill_requests_total", path="/v1/predict", code="422") == 1
    assert value(client, "nightstill_requests_total", path="other", code="404") == 1
    assert value(client, "nightstill_request_seconds_count", path="/v1/predict") == 4
    assert value(client, "nightstill_rows_total") == 6
    assert value(client, "nightstill_reload_failures_total") == 0
    assert value(client, "nightstill_release_age_seconds") > 0
    promote(releases, 3)
    until(lambda: value(client, "nightstill_release") == 2)
    assert value(client, "nightstill_reloads_total") == 1 and value(client, "nightstill_ledger_entry") == 2
    promote(ReleaseStore(Losing(folder), "sales", releases.keys), 4)
    until(lambda: value(client, "nightstill_reload_failures_total") > 0)
    ready = client.get("/readyz")
    assert ready.status_code == 200 and "model.onnx is missing" in ready.json()["problem"]
    assert value(client, "nightstill_release") == 2


def test_a_release_s_age_is_counted_from_the_end_of_its_last_day() -> None:
    now = datetime(2026, 1, 3, 1, 0, 5, tzinfo=UTC)
    assert age_seconds("2026-01-01", now) == 25 * 3600 + 5
    assert np.isnan(age_seconds(None, now))


def test_a_fault_of_the_service_is_500_without_its_inside(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("serving.service.app.json_answer", broken)
    answer = client.post("/v1/predict", json=request())
    assert answer.status_code == 500 and "secret" not in answer.text
    assert value(client, "nightstill_requests_total", path="/v1/predict", code="500") == 1


# Settings.


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("NIGHTSTILL_SERVING_WORKLOAD", "", "NIGHTSTILL_SERVING_WORKLOAD: "),
        ("NIGHTSTILL_SERVING_PORT", "http", "NIGHTSTILL_SERVING_PORT: "),
        ("NIGHTSTILL_SERVING_MAX_ROWS", "0", "NIGHTSTILL_SERVING_MAX_ROWS: "),
        ("NIGHTSTILL_TRUSTED_KEYS", "nowhere.pem", "nowhere.pem: trusted keys cannot be read"),
    ],
)
def test_a_wrong_setting_is_one_line_and_no_service(
    name: str, text: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NIGHTSTILL_SERVING_WORKLOAD", "sales")
    monkeypatch.setenv(name, text)
    assert main() == 78
    assert capsys.readouterr().err.startswith(f"error: {said}")


def test_settings_are_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NIGHTSTILL_RELEASE_STORE", "NIGHTSTILL_TRUSTED_KEYS", "NIGHTSTILL_SERVING_WORKLOAD"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValidationError):
        ServiceSettings()
    told = {"RELEASE_STORE": "s3://b/r", "TRUSTED_KEYS": "k.pem", "SERVING_WORKLOAD": "sales", "SERVING_MAX_ROWS": "7"}
    for name, text in told.items():
        monkeypatch.setenv(f"NIGHTSTILL_{name}", text)
    found = ServiceSettings()
    assert (found.release_store, found.trusted_keys, found.workload, found.max_rows) == (
        "s3://b/r",
        "k.pem",
        "sales",
        7,
    )
