"""The rows of each table of a request are bounded, not those of the first alone."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.service.app import make_app
from tasks.problems.contracts import contract_to_json
from tasks.problems.ranking.dataset import make_contract
from tasks.problems.ranking.options import parse_options
from tasks.releases.store import ReleaseStore
from tests.unit.serving.test_new_items import EVENTS, KNOWN, PROBLEM
from tests.unit.serving.test_recommend import ITEMS, model
from tests.unit.serving.test_service import settings, until

MOST = 8


@pytest.fixture
def client(releases: ReleaseStore, folder: Path, cache: Path) -> Iterator[TestClient]:
    problem = {**PROBLEM, "users": ["age"]}
    contract = contract_to_json(make_contract(parse_options(problem), ITEMS))
    files = {
        "model.onnx": model(),
        "contract.json": json.dumps(contract).encode(),
        "run.yaml": json.dumps({"problem": {"kind": "ranking", **problem}, "checks": {}}).encode(),
    }
    releases.publish(files, expected=0, run_id="r", as_of=date(2026, 1, 1), reason="better")
    app = make_app(settings(folder, cache, max_further_rows=MOST))
    with TestClient(app, raise_server_exceptions=False) as found:
        until(lambda: found.get("/readyz").status_code == 200)
        yield found


def ask(client: TestClient, items: list[dict[str, Any]], events: list[dict[str, Any]] = EVENTS, **others: Any) -> Any:
    tables = {"events": events, "items": items, **others}
    return client.post("/v1/score", json={"as_of": "2026-01-01", "tables": tables})


def items(count: int) -> list[dict[str, Any]]:
    return [*KNOWN, *({"item": f"n{place}", "genres": "drama", "year": 1990} for place in range(count - len(KNOWN)))]


def test_a_further_table_of_more_rows_than_are_allowed_is_refused(client: TestClient) -> None:
    answer = ask(client, items(MOST + 1))
    assert answer.status_code == 422, answer.text
    told = answer.json()
    assert told["field"] == "tables.items" and told["rule"] == "rows <= 8"
    assert told["error"] == (
        "tables.items: 9 rows in one request; at most 8 are allowed, leave out rows of which nothing is asked, "
        "or raise NIGHTSTILL_SERVING_MAX_FURTHER_ROWS"
    )


def test_it_is_refused_before_its_rows_are_checked(client: TestClient) -> None:
    answer = ask(client, [{"item": None, "genres": None, "year": None}] * (MOST + 1))
    assert answer.status_code == 422 and answer.json()["rule"] == "rows <= 8"


def test_as_many_as_are_allowed_are_scored_and_the_first_table_has_its_own_bound(client: TestClient) -> None:
    assert ask(client, items(MOST)).status_code == 200
    one_user = [{"user": "u", "item": f"b{place}", "time": "2026-01-01"} for place in range(MOST + 1)]
    assert ask(client, KNOWN, one_user).status_code == 200


def test_users_may_be_told_and_need_not_be(client: TestClient) -> None:
    without = ask(client, KNOWN)
    told = ask(client, KNOWN, users=[{"user": "u", "age": 33}, {"user": "ż", "age": None}])
    assert without.status_code == told.status_code == 200, told.text
    assert told.json() == without.json()
    assert client.post("/v1/recommend", json={"histories": [["b"]], "k": 2}).status_code == 200


@pytest.mark.parametrize(
    ("users", "field"),
    [
        ([{"user": "u", "age": "1"}] * 2, "users"),
        ([{"user": None, "age": "1"}], "users.user"),
        ([{"user": "u"}], "users.age"),
        ([{"user": f"u{place}", "age": "1"} for place in range(MOST + 1)], "tables.users"),
    ],
)
def test_users_that_are_wrong_are_refused(client: TestClient, users: list[dict[str, Any]], field: str) -> None:
    answer = ask(client, KNOWN, users=users)
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"].startswith(field), answer.text


@pytest.mark.parametrize(
    ("tables", "field", "words"),
    [
        ({"events": EVENTS, "items": KNOWN, "orders": []}, "tables.orders", "no such table; the workload has: events"),
        ({f"t{place}": [] for place in range(1000)}, "tables.t0", "no such table; the workload has: events"),
        ({"items": KNOWN}, "", "events: this table is missing"),
        ({"events": KNOWN, "items": EVENTS}, "events.user", "column exists"),
        ({"events": [{**EVENTS[0], "item": ["b"] * 1000}], "items": KNOWN}, "item", "a list in row 0 is not text"),
        ({"events": [{**EVENTS[0], "user": {"a": 1}}], "items": KNOWN}, "user", "in row 0 is not text"),
    ],
)
def test_tables_that_are_not_those_of_a_ranking_are_refused(
    client: TestClient, tables: dict[str, Any], field: str, words: str
) -> None:
    answer = client.post("/v1/score", json={"as_of": "2026-01-01", "tables": tables})
    told = answer.json()
    assert (answer.status_code, told["field"]) == (422, field) and words in told["error"], told


def test_of_a_huge_history_the_last_items_are_read(client: TestClient) -> None:
    last = [{"user": "u", "item": item, "time": "2026-01-01"} for item in "abc"]
    early = [{"user": "u", "item": f"e{place}", "time": "2025-12-31"} for place in range(2_000)]
    short, huge = ask(client, KNOWN, last), ask(client, KNOWN, early + last)
    assert short.status_code == huge.status_code == 200, huge.text
    assert short.json()["rows"] == huge.json()["rows"] != []
    answer = ask(client, KNOWN, early * 3)
    assert answer.status_code == 413 and "the body has more than 200000 bytes" in answer.json()["error"]
