"""Texts become numbers by one rule, which the contract holds; client and service read raw texts by it."""

import json
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fastapi.testclient import TestClient
from hypothesis import example, given
from hypothesis import settings as tried
from hypothesis import strategies as st
from onnx import TensorProto, helper

from serving.client import Champion
from serving.contract import Contract, InputError, Tokens
from serving.contract.tokens import LOOKED_AT, SHORT, _number, words_of
from serving.service.app import make_app
from tasks.releases.store import ReleaseStore
from tests.unit.serving.test_service import settings, until

WORDS = Tokens("words", "text", length=4, buckets=8, longest=40)
CONTRACT: dict[str, Any] = {
    "problem": "text",
    "inputs": {"words": ["int64", [4]]},
    "order": ["words"],
    "output_shape": [2],
    "categories": {},
    "tokens": {"words": WORDS.to_json()},
    "statistics": {"shares": [0.5, 0.5]},
    "settings": {"options": {"classes": ["short", "long"], "longest": 40}},
}
RUN = b"problem: {kind: text, classes: [short, long], longest: 40, words: 4, buckets: 256}\nchecks: {}\n"


def model() -> bytes:
    """The chance of `long` rises with the number of words."""
    nodes = [
        helper.make_node("Sign", ["words"], ["there"]),
        helper.make_node("Cast", ["there"], ["ones"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["ones", "weights"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("words", TensorProto.INT64, ["batch", 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor("weights", TensorProto.FLOAT, [4, 2], [0.0, 1.0] * 4)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made)
    data: bytes = made.SerializeToString()
    return data


def test_words_are_told_apart_by_letters_alone() -> None:
    assert words_of("Où est-il?  ＡＢＣ\tﬁn") == ["où", "est", "-", "il", "?", "abc", "fin"]
    one, other = (WORDS.encode([text]) for text in ("CAFE\u0301 now", "café  NOW"))
    assert one.tolist() == other.tolist()


def test_numbers_are_the_same_for_ever() -> None:
    field = Tokens("grams", "text", length=12, buckets=1000, words=2, letters=(2, 3), once=True)
    ever = [213, 991, 585, 309, 475, 947, 263, 552, 382, 0, 0, 0]
    assert field.encode(["No no", ""]).tolist() == [ever, [0] * 12]
    assert field.encode(["no no"]).tolist() != Tokens(**{**vars(field), "seed": 1}).encode(["no no"]).tolist()


def by_the_rule(field: Tokens, text: str) -> list[int]:
    """The rule of `Tokens` as its docstring says it, with no thought of speed."""
    said = words_of(text)
    tokens = []
    bordered = ["\n", *said, "\n"]
    for end in range(1, len(bordered)):
        if end < len(bordered) - 1:
            of_word = ["w" + bordered[end]]
            whole = f" {bordered[end]} "
            for size in range(field.letters[0], field.letters[1] + 1) if field.letters else ():
                of_word += ["l" + whole[start : start + size] for start in range(len(whole) - size + 1)]
            tokens += of_word[: field.length] if len(bordered[end]) > SHORT else of_word
        runs = range(2, min(field.words, end + 1) + 1) if said else ()
        tokens += ["r" + " ".join(bordered[end + 1 - size : end + 1]) for size in runs]
    numbers = [_number(token, field.seed, field.buckets) for token in tokens]
    if field.once:
        numbers = list(dict.fromkeys(numbers[: LOOKED_AT * field.length]))
    return numbers[: field.length]


@tried(max_examples=50, deadline=None)
@given(
    st.one_of(st.text(max_size=90), st.text("ab 1.,9é\ud800", max_size=120)),
    st.sampled_from([{}, {"words": 2, "letters": (2, 5)}, {"words": 3}, {"words": 4, "letters": (1, 3), "seed": 3}]),
    st.sampled_from([7, 40, 400]),
    st.booleans(),
)
@example("profit 1,234.5 from 12 in 2009 , ＥＵＲ ３ ﬁn", {"words": 2, "letters": (2, 5)}, 400, True)
@example("a b " * 30, {"words": 2, "letters": (2, 5)}, 7, True)
@example("a" * 18 + " b", {"words": 2, "letters": (1, 3)}, 7, True)
def test_all_texts_have_the_numbers_that_the_rule_says(
    text: str, options: dict[str, Any], length: int, once: bool
) -> None:
    field = Tokens("grams", "text", length=length, buckets=65_536, once=once, **options)
    assert field.numbers(text) == by_the_rule(field, text)


def test_a_token_stands_once_or_as_often_as_it_comes_up_to_the_length() -> None:
    again = Tokens("words", "text", length=4, buckets=1000).encode(["a b a b a b"])[0]
    assert again[0] == again[2] != again[1] and len(again) == 4
    once = Tokens("words", "text", length=4, buckets=1000, once=True).encode(["a b a b"])[0]
    assert (once > 0).tolist() == [True, True, False, False]


def test_a_long_word_has_the_tokens_of_a_short_one_and_is_not_remembered() -> None:
    from serving.contract import tokens

    field = Tokens("grams", "text", length=400, buckets=100_000, letters=(2, 2))
    before = tokens._remembered.cache_info().currsize
    assert (field.encode(["x" * 300]) > 0).sum() == 302
    assert tokens._remembered.cache_info().currsize == before


def test_a_text_that_repeats_itself_is_not_read_to_its_end() -> None:
    field = Tokens("grams", "text", length=20, buckets=100_000, letters=(2, 5), once=True)
    same = "a b " * 100
    assert field.encode([same + "zebra"]).tolist() == field.encode([same]).tolist()
    assert (field.encode(["a b " * 5 + "zebra"]) > 0).sum() == 20


def test_words_that_are_remembered_take_a_few_megabytes() -> None:
    from serving.contract import tokens

    largest = tokens._remembered("abcdefghijklmnopqrstuvwxyz012345"[: tokens.SHORT], 1, 8, 0, 2**24)
    size = sys.getsizeof(largest) + sum(map(sys.getsizeof, largest))
    assert tokens.REMEMBERED * size < 32 * 2**20


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["ok", None], "text: null in row 1; expected a text"),
        ([7], "text: a int in row 0; expected a text"),
        (["ok", "x" * 41], "text: 41 characters in row 1; expected at most 40: shorten the text"),
    ],
)
def test_what_is_no_text_or_too_long_is_told_with_its_row(texts: list[Any], words: str) -> None:
    with pytest.raises(InputError) as found:
        WORDS.encode(texts)
    assert words in str(found.value)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        ([[1, 2, 3, 0]], "a list; expected a NumPy array, int64, batch × 4"),
        (np.array([[1, 2, 3, 0]], np.int32), "dtype int32"),
        (np.array([[1, 2, 3]]), "shape 1 × 3"),
        (np.array([[1, 2, 3, 0], [0, -1, 0, 0]]), "-1 at [1, 1]; numbers of tokens are below 8"),
        (np.array([[1, 2, 8, 0]]), "8 at [0, 2]"),
    ],
)
def test_numbers_that_no_text_has_are_refused(array: Any, words: str) -> None:
    with pytest.raises(InputError) as found:
        WORDS.check(array)
    assert words in str(found.value)


def test_the_contract_holds_the_rule() -> None:
    read = Contract.from_json(json.loads(json.dumps(CONTRACT)))
    assert read.texts == {"words": WORDS} and read.classes == ("short", "long")
    for change in ({"buckets": "8"}, {"letters": [1]}, {"words": 0}, {"buckets": 1}, {"column": 3}):
        with pytest.raises((TypeError, ValueError)):
            Contract.from_json({**CONTRACT, "tokens": {"words": {**WORDS.to_json(), **change}}})


@pytest.fixture
def client(releases: ReleaseStore, folder: Path, cache: Path) -> Iterator[TestClient]:
    files = {"model.onnx": model(), "contract.json": json.dumps(CONTRACT).encode(), "run.yaml": RUN}
    releases.publish(files, expected=0, run_id="r", as_of=date(2026, 1, 1), reason="better")
    with TestClient(make_app(settings(folder, cache)), raise_server_exceptions=False) as found:
        until(lambda: found.get("/readyz").status_code == 200)
        yield found


def test_the_client_and_the_service_say_the_same_of_raw_texts(client: TestClient, folder: Path, cache: Path) -> None:
    texts = ["one", "one two three four", ""]
    champion = Champion.open(str(folder), "sales", cache=cache)
    told = champion.predict_texts(texts)
    assert [one.label for one in told] == ["long", "long", "short"]
    asked = {"as_of": "2026-01-01", "rows": [{"text": text} for text in texts]}
    answer = client.post("/v1/score", json=asked)
    assert answer.status_code == 200, answer.text
    for row, one in zip(answer.json()["rows"], told, strict=True):
        assert row["predicted"] == one.label
        assert [row["p_short"], row["p_long"]] == pytest.approx(list(one.chances.values()), rel=1e-12)
    assert client.get("/v1/model").json()["contract"]["tokens"]["words"]["longest"] == 40
    with pytest.raises(InputError, match="41 characters in row 1"):
        champion.predict_texts(["ok", "x" * 41])
    with pytest.raises(InputError, match="expected a list of texts"):
        champion.predict_texts("one")


@pytest.mark.parametrize(
    ("rows", "field", "words"),
    [
        ([{"text": "ok"}, {"text": "x" * 41}], "text", "41 characters in row 1; expected at most 40"),
        ([{"text": None}], "text", "not null"),
        ([{"text": 3}], "text", "type"),
    ],
)
def test_rows_that_are_no_texts_are_told_in_a_line(client: TestClient, rows: Any, field: str, words: str) -> None:
    answer = client.post("/v1/score", json={"as_of": "2026-01-01", "rows": rows})
    assert (answer.status_code, answer.json()["field"]) == (422, field) and words in answer.text


def test_a_release_of_something_else_tells_no_label(client: TestClient, folder: Path, cache: Path) -> None:
    champion = Champion.open(str(folder), "sales", cache=cache)
    other = Contract.from_json({**CONTRACT, "tokens": {}})
    champion.model.contract = other
    with pytest.raises(InputError, match="does not tell the label of a text"):
        champion.predict_texts(["one"])
