"""Items that nobody had yet: scored as the items that are like them, beside those of the catalogue."""

from io import BytesIO

import numpy as np
import polars as pl
import pytest

from serving.contract import Contract
from tasks.core.errors import ConfigError, DataError, RuleError
from tasks.problems.contracts import contract_to_json
from tasks.problems.ranking.new_items import BLOCK, ITEM_BYTES, VOCABULARY, invert, likeness, weights
from tasks.problems.ranking.options import NewItems, parse_options
from tasks.scoring.rows import from_parquet, from_records
from tasks.tables.sources.rows import conform
from tasks.tables.table import Tables
from tests.unit.problems.ranking.films import AS_OF, OPTIONS, dataset, events, problem

ATTRIBUTES = NewItems(words=("genres",), numbers={"year": 5.0}, regularisation=0.1)
NEW = {"words": ["genres"], "numbers": {"year": 5.0}, "regularisation": 0.1}


def items(new: int = 2) -> pl.DataFrame:
    """Films f00 to f39 of two genres, and new ones: n0 is like the odd ones, n1 like the even ones."""
    ids = [f"f{number:02d}" for number in range(40)] + [f"n{number}" for number in range(new)]
    genres = ["war drama" if number % 2 else "comedy" for number in range(40)] + ["drama war", "comedy"][:new]
    return pl.DataFrame({"item": ids, "genres": genres, "year": ["1990"] * 40 + ["1990", "unknown"][:new]})


def test_likeness_counts_what_is_shared_and_nothing_that_is_missing() -> None:
    found = likeness(items()[-2:], items()[:40], ATTRIBUTES).T
    np.testing.assert_allclose(found[:2], [[2.0, 2.0], [4.0, 1.0]])  # f00 (comedy), f01 (war drama) by n0, n1
    apart = items()[:1].with_columns(year=pl.lit("1995"))
    assert likeness(apart, items()[:40], ATTRIBUTES)[0, 0] == pytest.approx(2 * (1 + np.exp(-0.5)))


def test_weights_are_those_of_kernel_ridge_regression() -> None:
    table = items()
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2, 8))[np.arange(40) % 2] + 0.01 * rng.normal(size=(40, 8))
    found = weights(table[-2:], table[:40], ATTRIBUTES) @ vectors
    np.testing.assert_allclose(found[0], vectors[1::2].mean(axis=0), atol=0.02)
    assert np.linalg.norm(found[1] - vectors[0]) < np.linalg.norm(found[1] - vectors[1])


def test_new_items_are_named_beside_the_others_and_not_again() -> None:
    build = problem(split="leave-one-out", items=True, new_items=NEW, top=42)
    made = build.features({"events": events().lazy()}, AS_OF)
    size = made.contract.output_shape[0]

    class Odd:
        """Films of odd numbers are wanted."""

        names = ("history",)

        def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
            odd = [int(item[1:]) % 2 for item in made.contract.categories["_item"]]
            return np.tile(
                np.array(odd, np.float32) + np.linspace(0, 0.01, size, dtype=np.float32), (len(inputs["history"]), 1)
            )

    tables = {"events": events().lazy(), "items": items().lazy()}
    found = build.predict(tables, AS_OF, made.contract, Odd())
    mine = found.filter(pl.col("user") == "u000")
    scores = dict(mine.select("item", "score").iter_rows())
    assert 0.8 < scores["n0"] < 1.1 and scores["n1"] < 0.5
    without = build.predict({"events": events().lazy()}, AS_OF, made.contract, Odd())
    assert not without.filter(pl.col("item").is_in(["n0", "n1"])).height
    told = without.join(found, on=("user", "item")).select(pl.col("score") == pl.col("score_right")).to_series()
    assert told.all(), "what the catalogue has is scored as before"
    had = pl.DataFrame({"user": ["u000"], "item": ["n0"], "time": [AS_OF], "clock": [99.0]})
    again = build.predict({**tables, "events": pl.concat([events(), had]).lazy()}, AS_OF, made.contract, Odd())
    named = again.filter(pl.col("user") == "u000")["item"].to_list()
    assert "n0" not in named and "n1" in named
    assert Contract.from_json(contract_to_json(made.contract)).choice == 40


def test_weights_of_many_are_those_of_each_and_in_single_precision_as_good() -> None:
    table = items()
    many = pl.concat([table[-2:]] * 1500).with_columns(item=pl.int_range(3000).cast(pl.String))
    found = weights(many, table[:40], ATTRIBUTES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[-2:], weights(table[-2:], table[:40], ATTRIBUTES), rtol=1e-4, atol=1e-5)
    alike = likeness(table[:40], table[:40], ATTRIBUTES).astype(np.float64) + 0.1 * np.eye(40)
    exact = np.linalg.solve(alike, likeness(table[-2:], table[:40], ATTRIBUTES).T.astype(np.float64)).T
    np.testing.assert_allclose(found[:2], exact + (1 - exact.sum(axis=1, keepdims=True)) / 40, rtol=1e-4, atol=1e-5)


def test_a_matrix_is_inverted_by_blocks() -> None:
    found = np.random.default_rng(0).normal(size=(2 * BLOCK + 7, 900))
    found = found @ found.T
    exact = np.linalg.inv(found)
    invert(found)
    np.testing.assert_allclose(found, exact, atol=1e-10)


def test_a_constant_added_to_all_scores_is_added_to_those_of_new_items() -> None:
    table = items()
    found = weights(table[-2:], table[:40], ATTRIBUTES.model_copy(update={"regularisation": 30.0}))
    scores = np.linspace(-1, 1, 40, dtype=np.float32)
    np.testing.assert_allclose(found @ (scores + 100), found @ scores + 100, rtol=1e-5)


def test_weights_of_the_same_table_are_made_once() -> None:
    table = items()
    first = weights(table[-2:], table[:40], ATTRIBUTES)
    assert weights(table.clone()[-2:], table[:40], ATTRIBUTES) is first
    assert weights(table[-1:], table[:40], ATTRIBUTES) is not first


def test_a_vocabulary_is_bounded() -> None:
    words = " ".join(f"w{number}" for number in range(3 * VOCABULARY))
    known = pl.DataFrame({"genres": [words, words, "a b", "a b", "a b"]})
    found = likeness(known[2:3], known, NewItems(words=("genres",)))
    np.testing.assert_allclose(found[0, 2:], 2.0, rtol=1e-6)


def told(table: pl.DataFrame) -> Tables:
    return {"events": events().lazy(), "items": table.lazy()}


def test_a_table_of_new_items_alone_is_refused() -> None:
    build = problem(split="leave-one-out", items=True, new_items=NEW)
    made = build.features({"events": events().lazy()}, AS_OF)
    with pytest.raises(DataError, match=r"^items: genres, year: empty for all items that the rel"):
        build.predict(told(items()[-2:]), AS_OF, made.contract, Flat(made.contract.output_shape[0]))


def test_more_new_items_than_fit_are_refused() -> None:
    build = problem(split="leave-one-out", items=True, new_items=NEW)
    made = build.features({"events": events().lazy()}, AS_OF)
    build.require_fit(told(items()), made.contract, 2 * ITEM_BYTES)
    with pytest.raises(RuleError, match=r"^items\.item: 2 items are new to the release; at most 1 are") as caught:
        build.require_fit(told(items()), made.contract, ITEM_BYTES)
    assert (caught.value.column, caught.value.rule) == ("items.item", "new items <= 1")
    problem().require_fit(told(items()), made.contract, 1 << 20)


def test_numbers_of_items_may_come_as_numbers() -> None:
    _, table = problem(items=True, new_items=NEW).tables()
    given = items().with_columns(year=pl.Series([1990.5] * 41 + [None]))
    told = conform(given, table, {}, untyped=False)
    assert told.schema["year"] == pl.String and told["year"].drop_nulls().unique().to_list() == ["1990.5"]
    sent = from_records(
        [{"item": "n0", "genres": "war", "year": value} for value in (1995, 1990.5, "1990", None)], table
    )
    assert sent["year"].to_list() == ["1995", "1990.5", "1990", None]
    content = BytesIO()
    given.write_parquet(content)
    assert from_parquet(content.getvalue(), table, 100, 1 << 20).schema["year"] == pl.String
    with pytest.raises(RuleError, match="genres: 7 in row 0 is not text"):
        from_records([{"item": "n0", "genres": 7}], table)


class Flat:
    """All items are wanted alike."""

    names = ("history",)

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        return np.ones((len(inputs["history"]), self.size), np.float32)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "new_items: .*name columns of the table of items in words or numbers"),
        ({"numbers": {"year": 0}}, r"numbers\.year: expected a difference above 0"),
        ({"words": ["a"], "regularisation": 0}, "new_items.regularisation"),
    ],
)
def test_what_cannot_tell_of_items_is_refused(given: dict[str, object], message: str) -> None:
    options = {name: value for name, value in OPTIONS.items() if name != "kind"}
    with pytest.raises(ConfigError, match=message):
        parse_options({**options, "items": True, "new_items": given})


def test_attributes_need_a_table_of_items_which_then_has_their_columns() -> None:
    with pytest.raises(ConfigError, match="new_items: their attributes are columns of the table of items"):
        problem(new_items=NEW)
    _, table = problem(items=True, new_items=NEW).tables()
    assert [column.name for column in table.columns] == ["item", "genres", "year"]
    assert "new_items" in dataset(items=True, new_items=NEW).contract.settings["options"]
