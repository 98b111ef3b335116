"""What the service recommends: raw ids in, ids of the best items out, and a line for what it cannot take."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fastapi.testclient import TestClient
from onnx import TensorProto, helper

from serving.client import Champion
from serving.contract import Contract, InputError
from serving.contract.choice import chosen
from serving.service.app import make_app
from serving.service.recommend import recommend
from tasks.releases.store import ReleaseStore
from tests.unit.serving.test_service import settings, until

ITEMS = ["a", "b", "c", "d", "e"]
CONTRACT: dict[str, Any] = {
    "problem": "ranking",
    "inputs": {"history": ["int64", [3]]},
    "order": ["history"],
    "output_shape": [5],
    "categories": {"item": ITEMS},
    "histories": {"history": {"column": "item", "first": 1}},
    "choice": 3,
    "statistics": {},
    "settings": {},
}


def model() -> bytes:
    """Scores are 5, 4, 3, 2, 1 times the last code of the history, so that they tell which one came last."""
    nodes = [
        helper.make_node("Gather", ["history", "last"], ["code"], axis=1),
        helper.make_node("Cast", ["code"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["number", "falling"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("history", TensorProto.INT64, ["batch", 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 5])],
        [
            helper.make_tensor("last", TensorProto.INT64, [1], [2]),
            helper.make_tensor("falling", TensorProto.FLOAT, [1, 5], [5.0, 4.0, 3.0, 2.0, 1.0]),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made)
    data: bytes = made.SerializeToString()
    return data


@pytest.fixture
def client(releases: ReleaseStore, folder: Path, cache: Path) -> Iterator[TestClient]:
    files = {"model.onnx": model(), "contract.json": json.dumps(CONTRACT).encode()}
    releases.publish(files, expected=0, run_id="r", as_of=date(2026, 1, 1), reason="better")
    with TestClient(make_app(settings(folder, cache)), raise_server_exceptions=False) as found:
        until(lambda: found.get("/readyz").status_code == 200)
        yield found


def test_the_best_that_a_user_has_not_had_are_named(client: TestClient) -> None:
    asked = {"histories": [["d", "x", "a", "b", "e", "b"], [], ["nothing", 7]], "k": 2}
    answer = client.post("/v1/recommend", json=asked)
    assert answer.status_code == 200 and answer.json()["release"] == 1
    assert answer.json()["recommendations"] == [
        {"items": ["c"], "scores": [15.0], "unknown": 1, "popular": False},  # b counts where it came first
        {"items": ["a", "b"], "scores": [0.0, 0.0], "unknown": 0, "popular": True},
        {"items": ["a", "b"], "scores": [0.0, 0.0], "unknown": 2, "popular": True},
    ]


def test_drift_counts_what_is_recommended(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    numbers = {"missing": 0.0, "quantiles": [float(place) for place in range(200)], "shares": None}
    files = {
        "model.onnx": model(),
        "contract.json": json.dumps(CONTRACT).encode(),
        "profile.json": json.dumps({"inputs": {}, "predictions": {"score": numbers}}).encode(),
    }
    releases.publish(files, expected=0, run_id="r", as_of=date(2026, 1, 1), reason="better")
    with TestClient(make_app(settings(folder, cache)), raise_server_exceptions=False) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        for _ in range(2):
            assert client.post("/v1/recommend", json={"histories": [["c"]] * 100, "k": 1}).status_code == 200
        assert 'nightstill_drift{field="score",kind="prediction"}' in client.get("/metrics").text


def test_the_client_says_the_same(client: TestClient, folder: Path, cache: Path) -> None:
    found = Champion.open(str(folder), "sales", cache=cache).recommend(["c", "e"], k=2)
    (answer,) = client.post("/v1/recommend", json={"histories": [["c", "e"]], "k": 2}).json()["recommendations"]
    assert (list(found.items), list(found.scores)) == (answer["items"], answer["scores"]) == (["a", "b"], [25.0, 20.0])


@pytest.mark.parametrize(
    ("body", "status", "field", "words"),
    [
        ("{", 400, "", "not JSON"),
        ({"history": [["a"]]}, 422, "histories", "expected an object"),
        ({"histories": [["a"]], "n": 3}, 422, "n", "no such field; the request has: histories, k"),
        ({"histories": []}, 422, "histories", "0 of them; expected 1 to 100 in one request"),
        ({"histories": [["a"]] * 101}, 422, "histories", "101 of them"),
        ({"histories": [[]] * 1200}, 422, "histories", "1201 lists; expected 1 to 100 histories in one request"),
        ({"histories": [["[" * 2000]]}, 200, None, ""),
        ({"histories": [['"[' * 2000]]}, 200, None, ""),
        ('{"histories": [["' + '\\"[' * 50_000, 400, "", "not JSON"),
        ({"histories": ["a"]}, 422, "histories", "number 0 is no list"),
        ({"histories": [["a"], ["b", None]]}, 422, "histories", "None at [1, 1]; expected the id of an item"),
        ({"histories": [["a", True]]}, 422, "histories", "True at [0, 1]"),
        ({"histories": [["a"]], "k": 0}, 422, "k", "0; expected a whole number from 1 to 1000"),
        ({"histories": [["a"]], "k": 1.5}, 422, "k", "1.5; expected a whole number"),
        ({"histories": [["a"]], "k": True}, 422, "k", "True; expected a whole number"),
        ({"histories": [["a"]], "k": {"a": 1}}, 422, "k", "a dict; expected a whole number"),
        ({"histories": [["a"]] * 100, "k": 1000}, 200, None, ""),
        ({"histories": [["a"]] * 101, "k": 1000}, 422, "histories", "101 of them"),
        ({"histories": [[], ["a"] * 10_000]}, 200, None, ""),
        ({"histories": [[], ["a"] * 10_001]}, 422, "histories", "number 1 is no list of at most 10000 ids"),
        ({"histories": [["a" * 300_000]]}, 413, "", " bytes"),
        ({"histories": [["a"]], "tables": {"users": []}}, 422, "tables", "no such field; the request has: histories"),
        (f'{{"histories": [["a", {"[" * 1000 + "]" * 1000}]]}}', 422, "histories", "a list at [0, 1]; expected the id"),
        (f'{{"histories": [["a"]], "k": {"[" * 1000 + "]" * 1000}}}', 422, "k", "a list; expected a whole number"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(
    client: TestClient, body: Any, status: int, field: str, words: str
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    answer = client.post("/v1/recommend", content=content, headers={"Content-Type": "application/json"})
    said = answer.json()
    assert (answer.status_code, said.get("field")) == (status, field) and words in said.get("error", "")


def test_more_items_than_memory_should_hold_are_refused(
    client: TestClient, releases: ReleaseStore, folder: Path
) -> None:
    with TestClient(make_app(settings(folder, folder / "other", max_rows=200))) as wide:
        until(lambda: wide.get("/readyz").status_code == 200)
        answer = wide.post("/v1/recommend", json={"histories": [["a"]] * 101, "k": 1000})
    assert (answer.status_code, answer.json()) == (
        422,
        {
            "error": "k: 1000 for each of 101 histories are 101,000 items; expected at most 100,000 in one request",
            "field": "k",
        },
    )


def test_no_more_requests_than_told_are_answered_at_once(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, seen = [0], []

    def noting(*given: Any, **named: Any) -> Any:
        running[0] += 1
        seen.append(running[0])
        time.sleep(0.05)
        running[0] -= 1
        return recommend(*given, **named)

    monkeypatch.setattr("serving.service.app.recommend", noting)
    with TestClient(make_app(settings(folder, folder / "other", scores_at_once=1))) as narrow:
        until(lambda: narrow.get("/readyz").status_code == 200)
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(narrow.post, "/v1/recommend", json={"histories": [["a"]]}) for _ in range(4)]
            assert [each.result().status_code for each in asked] == [200] * 4
    assert seen == [1] * 4


def test_many_histories_are_scored_in_parts(
    client: TestClient, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Champion.open(str(folder), "sales", cache=cache).model
    whole = loaded.recommend([["a", 7], ["b"], [], ["c"], ["d", "e"]], 2)
    rows: list[int] = []
    run = loaded.predict

    def noting(inputs: Any) -> Any:
        rows.append(len(inputs["history"]))
        return run(inputs)

    monkeypatch.setattr(loaded, "predict", noting)
    monkeypatch.setattr("serving.client.champion.SCORES_BYTES", 2 * 4 * len(ITEMS))
    assert loaded.recommend([["a", 7], ["b"], [], ["c"], ["d", "e"]], 2) == whole and rows == [2, 2, 1]


@pytest.mark.parametrize(
    ("history", "count", "words"),
    [
        (["a"], True, "k: True; expected a whole number of 1 or more"),
        (["a"], "3", "k: '3'; expected a whole number"),
        (["a"], 0, "k: 0; expected a whole number of 1 or more"),
        ("ab", 3, "histories: number 0 is 'ab'; expected a list of ids"),
        (None, 3, "histories: number 0 is None; expected a list of ids"),
        (np.array("a"), 3, "histories: number 0 is a ndarray; expected a list of ids"),
        (["a", ["b"]], 3, r"histories: a list at \[0, 1\]; expected the id of an item"),
        (["a", 1.0], 3, r"histories: 1.0 at \[0, 1\]"),
    ],
)
def test_the_client_refuses_what_the_service_refuses(
    client: TestClient, folder: Path, cache: Path, history: Any, count: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        Champion.open(str(folder), "sales", cache=cache).recommend(history, count)


def test_whole_numbers_are_the_texts_of_the_tables(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    named = {**CONTRACT, "categories": {"item": ["1", "2", "3", "4", "5"]}}
    files = {"model.onnx": model(), "contract.json": json.dumps(named).encode()}
    releases.publish(files, expected=0, run_id="r", as_of=date(2026, 1, 1), reason="better")
    champion = Champion.open(str(folder), "sales", cache=cache)
    assert champion.recommend([1, 5]) == champion.recommend(["1", np.int64(5)]) == champion.recommend(["1", "5"])
    assert champion.recommend([1, 5]).items == ("2", "3", "4")


def test_the_release_tells_its_histories(client: TestClient) -> None:
    told = client.get("/v1/model").json()["contract"]
    assert told["histories"] == {"history": {"column": "item", "first": 1}}
    assert told["choice"] == 3 and told["repeats"] is False


def test_codes_that_no_item_has_are_refused() -> None:
    contract = Contract.from_json(CONTRACT)
    with pytest.raises(
        InputError, match=r"^history: 6 at \[0, 1\]; codes of item are 1 to 5 in this release, 0 for none$"
    ):
        contract.check({"history": np.array([[0, 6, 1]])}, ["history"])
    with pytest.raises(TypeError, match="choice: 3 is not how many of the best are named"):
        Contract.from_json({**CONTRACT, "histories": {}})


@pytest.mark.parametrize("choice", [0, 3])
def test_a_release_whose_outputs_are_not_its_items_is_not_loaded(choice: int) -> None:
    with pytest.raises(ValueError, match=r"its output has the shape \(4,\), and history 5 values of item; expected an"):
        Contract.from_json({**CONTRACT, "choice": choice, "output_shape": [4]})


@pytest.mark.parametrize("count", [1, 4, 9])
def test_the_best_are_in_order_and_equals_in_their_own(count: int) -> None:
    scores = np.array([1, 3, 3, 2, 3, 0], np.float32)
    assert chosen(scores, [1], count).tolist() == [2, 4, 3, 0, 5][:count]
