"""Releases that are malformed although every digest holds: the client says so in a line, and the service goes on."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from serving.client import Champion, Contract, InputError, IntegrityError, Model
from serving.client.release import Release
from serving.service.app import make_app
from serving.service.bodies import JSON, BadBody, arrays_of
from tasks.releases.store import ReleaseStore
from tests.conftest import sales_table
from tests.serving_releases import CONTRACT, Files, forge, inputs, model, promote, promote_tables
from tests.unit.serving.scenarios.test_fuzz import FUZZ, VALUES, changed
from tests.unit.serving.test_forged import sealed
from tests.unit.serving.test_service import request, settings, until, value
from tests.unit.serving.test_tables import AS_OF, CSV, SALES, content

GOOD: Files = {"model.onnx": model(3), "contract.json": json.dumps(CONTRACT).encode()}


def contract(**changes: Any) -> Files:
    return {"contract.json": json.dumps(CONTRACT | changes).encode()}


MALFORMED: dict[str, tuple[Files, bytes | None]] = {
    "manifest nested": (GOOD, b"[" * 100_000),
    "manifest a list": (GOOD, b"[]"),
    "manifest no text": (GOOD, b"\xff"),
    "manifest of nothing": (GOOD, b'{"files": {}}'),
    "manifest with a path": (GOOD, b'{"files": {"../x": {"sha256": "' + b"a" * 64 + b'"}}}'),
    "model empty": (GOOD | {"model.onnx": b""}, None),
    "model no protobuf": (GOOD | {"model.onnx": b"no model"}, None),
    "model of nothing": (GOOD | {"model.onnx": b"\x08\x0a"}, None),
    "contract nested": (GOOD | {"contract.json": b"[" * 100_000}, None),
    "contract no text": (GOOD | {"contract.json": b"\xff"}, None),
    "contract not finite": (GOOD | contract(settings={"a": float("nan")}), None),
    "contract not to be told": (
        GOOD | {"contract.json": json.dumps(CONTRACT | {"settings": {"\ud800": 1}}).encode()},
        None,
    ),
    "contract of a type": (GOOD | contract(inputs=CONTRACT["inputs"] | {"spare": ["what", [1]]}), None),
    "contract of a shape": (GOOD | contract(inputs=CONTRACT["inputs"] | {"spare": ["float32", [-1]]}), None),
    "contract of lists": (GOOD | contract(categories={"store": [[]], "day": ["0"]}), None),
    "contract of numbers": (GOOD | contract(output_shape=["2"]), None),
    "contract without settings": (GOOD | contract(settings=[]), None),
}


@pytest.fixture(params=list(MALFORMED))
def malformed(request: pytest.FixtureRequest) -> tuple[Files, bytes | None]:
    return MALFORMED[request.param]


def test_the_client_refuses_it_in_a_line(malformed: tuple[Files, bytes | None], folder: Path, cache: Path) -> None:
    forge(folder, *malformed)
    with pytest.raises(IntegrityError) as caught:
        Champion.open(str(folder), "sales", cache=cache)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600 and caught.value.exit_code == 76


def test_the_service_goes_on_with_the_one_before(
    malformed: tuple[Files, bytes | None], releases: ReleaseStore, folder: Path, cache: Path
) -> None:
    first = promote(releases, 2)
    with TestClient(make_app(settings(folder, cache)), raise_server_exceptions=False) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        forge(folder, *malformed, before=first)
        until(lambda: value(client, "nightstill_reload_failures_total") > 0)
        assert "\n" not in client.get("/readyz").json()["problem"]
        assert client.post("/v1/predict", json=request()).json()["release"] == 1
        assert client.get("/v1/model").status_code == 200 and value(client, "nightstill_release") == 1
    with TestClient(make_app(settings(folder, cache / "fresh")), raise_server_exceptions=False) as client:
        until(lambda: value(client, "nightstill_reload_failures_total") > 0)
        assert client.get("/readyz").status_code == client.post("/v1/predict", json=request()).status_code == 503


@pytest.mark.parametrize("changes", [{"as_of": "soon"}, {"release": "2"}, {"release": None}, {"kind": []}], ids=str)
def test_predictions_and_metrics_go_on_under_a_forged_entry(
    changes: dict[str, Any], releases: ReleaseStore, folder: Path, cache: Path
) -> None:
    first = promote(releases, 2)
    with TestClient(make_app(settings(folder, cache)), raise_server_exceptions=False) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        stored = sealed(**{"seq": 2, "release": 2, "previous": first.sha256, **changes})
        (folder / "sales" / "ledger" / "00000002.json").write_bytes(stored)
        until(lambda: value(client, "nightstill_reload_failures_total") > 0)
        assert client.get("/metrics").status_code == 200 and value(client, "nightstill_release_age_seconds") > 0
        assert client.post("/v1/predict", json=request()).json()["release"] == 1


def test_a_table_release_whose_contract_does_not_fit_takes_arrays_alone(
    releases: ReleaseStore, folder: Path, cache: Path
) -> None:
    table = sales_table(AS_OF, days=200, stores=1)
    entry = promote_tables(releases, SALES, table, AS_OF, max_units=5000)
    files = {name: releases.read(entry, name) for name in releases.files(entry)}
    found = json.loads(files["contract.json"])
    for settings_ in ({}, {"options": {"horizon": "soon"}}, {"options": SALES | {"context": 14}}):
        bad = files | {"contract.json": json.dumps(found | {"settings": settings_}).encode()}
        entry = forge(folder, bad, before=entry)
    with TestClient(make_app(settings(folder, cache)), raise_server_exceptions=False) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        path, told = f"/v1/score?as_of={AS_OF}", {"Content-Type": CSV}
        answer = client.post(path, content=content(table, CSV), headers=told)
        assert answer.status_code == 501 and "\n" not in answer.json()["error"]


BODY = json.dumps({"inputs": {name: array.tolist() for name, array in inputs().items()}}).encode()


@FUZZ
@given(found=changed(CONTRACT), values=st.lists(VALUES, min_size=1, max_size=3))
def test_a_contract_that_is_taken_can_be_used(found: Any, values: list[Any]) -> None:
    try:
        data = json.dumps(found).encode()
        loaded = Model(Release.parse(sealed(), 1, "here"), Contract.parse(data), GOOD["model.onnx"], 1)
    except (ValueError, TypeError):
        return
    for name, field in loaded.contract.coded.items():
        with suppress(InputError):
            loaded.contract.coded[name].encode({book.name: [str(value) for value in values] for book in field.books})
    with suppress(InputError, BadBody):
        loaded.predict(arrays_of(BODY, JSON, loaded.contract, loaded.names, 100))
