"""A table of items over HTTP: new ones are named, and as many as memory holds."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.service import tables
from serving.service.app import make_app
from tasks.problems.contracts import contract_to_json
from tasks.problems.ranking.dataset import make_contract
from tasks.problems.ranking.new_items import ITEM_BYTES
from tasks.problems.ranking.options import parse_options
from tasks.releases.store import ReleaseStore
from tests.unit.serving.test_recommend import ITEMS, model
from tests.unit.serving.test_service import settings, until

PROBLEM: dict[str, Any] = {
    "items": True,
    "history": 3,
    "new_items": {"words": ["genres"], "numbers": {"year": 5.0}, "regularisation": 0.1},
}
EVENTS = [{"user": "u", "item": "b", "time": "2026-01-01"}]
KNOWN = [
    {"item": item, "genres": "drama" if item in "ab" else "war", "year": 1990 + at} for at, item in enumerate(ITEMS)
]


@pytest.fixture
def client(releases: ReleaseStore, folder: Path, cache: Path) -> Iterator[TestClient]:
    contract = make_contract(parse_options(PROBLEM), ITEMS)
    run = {"problem": {"kind": "ranking", **PROBLEM}, "checks": {}}
    files = {
        "model.onnx": model(),
        "contract.json": json.dumps(contract_to_json(contract)).encode(),
        "run.yaml": json.dumps(run).encode(),
    }
    releases.publish(files, expected=0, run_id="r", as_of=date(2026, 1, 1), reason="better")
    with TestClient(make_app(settings(folder, cache)), raise_server_exceptions=False) as found:
        until(lambda: found.get("/readyz").status_code == 200)
        yield found


def ask(client: TestClient, items: list[dict[str, Any]]) -> Any:
    return client.post("/v1/score", json={"as_of": "2026-01-01", "tables": {"events": EVENTS, "items": items}})


def test_new_items_are_named_by_attributes_that_are_numbers(client: TestClient) -> None:
    answer = ask(client, [*KNOWN, {"item": "n", "genres": "drama", "year": 1990.5}])
    assert answer.status_code == 200, answer.text
    scores = {row["item"]: row["score"] for row in answer.json()["rows"]}
    assert scores.keys() == {"a", "c", "d", "e", "n"}
    assert scores["c"] < scores["n"] <= 1.1 * scores["a"]


def test_more_new_items_than_memory_should_hold_are_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BESIDE_BYTES", 2 * ITEM_BYTES)
    new = [{"item": f"n{place}", "genres": "drama", "year": None} for place in range(3)]
    answer = ask(client, [*KNOWN, *new])
    assert (answer.status_code, answer.json()["field"], answer.json()["rule"]) == (422, "items.item", "new items <= 2")
    assert ask(client, [*KNOWN, *new[:2]]).status_code == 200


def test_new_items_without_the_known_ones_are_refused(client: TestClient) -> None:
    answer = ask(client, [{"item": "n", "genres": "drama", "year": None}])
    assert answer.status_code == 422 and "empty for all items that the release knows" in answer.json()["error"]
