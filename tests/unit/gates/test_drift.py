"""Drift: profiles of released data, distances with known values, and the gate."""

import json
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from tasks.gates.champion import Champion
from tasks.gates.drift import (
    DAYS,
    Column,
    drift_gate,
    drift_json,
    drift_line,
    drift_since,
    kolmogorov_smirnov,
    profile_inputs,
    profile_json,
    profile_outputs,
    stability_index,
)
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.gate import Opponents
from tasks.gates.options import DriftGate, Gates
from tasks.gates.verdict import decide
from tasks.problems.base import Raw

LAST = date(2026, 3, 31)


def raw(sales: Any, **changes: pl.Expr) -> Raw:
    return Raw({"series": sales.table().with_columns(**changes)}, sales.as_of)


def numbers(values: Any) -> Column:
    return profile_outputs(np.asarray(values, np.float32)[:, None])["output 0"]


def released(inputs: dict[str, Column], predictions: dict[str, Column] | None = None) -> bytes:
    return json.dumps(profile_json(inputs, predictions or {})).encode()


def test_the_index_of_hand_made_shares() -> None:
    now, then = Column(0.0, shares={"a": 0.6, "b": 0.4}), Column(0.0, shares={"a": 0.5, "b": 0.5})
    # (0.6 - 0.5) ln(0.6 / 0.5) + (0.4 - 0.5) ln(0.4 / 0.5)
    assert stability_index(now, then) == pytest.approx(0.1 * np.log(1.2) - 0.1 * np.log(0.8), abs=2e-4)
    assert stability_index(then, then) == 0


def test_the_index_of_a_shifted_normal_is_that_of_its_bins_and_the_distance_that_of_the_distributions() -> None:
    random = np.random.default_rng(0)
    then, now = numbers(random.normal(0, 1, 40_000)), numbers(random.normal(0.5, 1, 40_000))
    edges = stats.norm.ppf(np.linspace(0, 1, 11))
    p, q = np.diff(stats.norm.cdf(edges - 0.5)), np.full(10, 0.1)
    assert stability_index(now, then) == pytest.approx(float(((p - q) * np.log(p / q)).sum()), abs=0.03)
    assert kolmogorov_smirnov(now, then) == pytest.approx(2 * stats.norm.cdf(0.25) - 1, abs=0.012)
    assert kolmogorov_smirnov(now, then) == pytest.approx(stats.ks_2samp(now.quantiles, then.quantiles).statistic)
    some, ties = Column(0.0, quantiles=(1.0, 1.0, 2.0)), Column(0.0, quantiles=(1.0, 2.0, 2.0, 5.0))
    assert kolmogorov_smirnov(some, ties) == pytest.approx(2 / 3 - 1 / 4)


@pytest.mark.parametrize(("shift", "level"), [(0.0, "none"), (0.4, "moderate"), (1.0, "large")])
def test_drift_is_told_in_words(shift: float, level: str) -> None:
    random = np.random.default_rng(1)
    then = {"price": numbers(random.normal(0, 1, 5000))}
    now = {"price": numbers(random.normal(shift, 1, 5000))}
    found = drift_since(4, released(then), now, None)
    assert [line.level for line in found.lines] == [level]
    assert (drift_line(found) or "").startswith(f"input price: {level} (")


def test_a_constant_that_changes_zeros_that_grow_and_values_that_go_missing_are_large() -> None:
    ones = numbers(np.ones(500))
    assert stability_index(numbers(np.full(500, 0.9)), ones) > 0.25
    assert stability_index(numbers(np.full(500, 1.1)), ones) > 0.25
    assert stability_index(ones, ones) == 0
    random = np.random.default_rng(2)
    many = np.where(random.random(5000) < 0.3, 0, random.gamma(2, 5, 5000))
    more = np.where(random.random(5000) < 0.6, 0, random.gamma(2, 5, 5000))
    assert stability_index(numbers(more), numbers(many)) > 0.25
    gone = np.where(random.random(5000) < 0.3, np.nan, many)
    assert stability_index(numbers(gone), numbers(many)) > 0.25
    assert stability_index(numbers(np.full(500, np.nan)), ones) > 0.25


def test_a_category_that_is_new_or_gone_is_seen() -> None:
    then = Column(0.0, shares={"a": 0.5, "b": 0.5})
    assert stability_index(Column(0.0, shares={"a": 0.5, "c": 0.5}), then) > 0.25
    assert stability_index(Column(0.5, shares={"a": 0.25, "b": 0.25}), then) > 0.25


def test_a_profile_is_of_the_last_weeks_up_to_as_of_and_of_no_key(sales: Any) -> None:
    found = profile_inputs(raw(sales), sales.problem().tables())
    assert set(found) == {"store_id", "department", "units", "price", "promo_display", "promo_mailer", "holiday"}
    assert found["department"].shares == pytest.approx({"d1": 1 / 3, "d2": 1 / 3, "d3": 1 / 3}, abs=1e-5)
    old = (pl.col("date") <= sales.as_of - timedelta(days=DAYS)) | (pl.col("date") > sales.as_of)
    spoilt = raw(sales, price=pl.when(old).then(99.0).otherwise("price"))
    assert profile_inputs(spoilt, sales.problem().tables()) == found


def test_equal_rows_in_another_order_give_an_equal_profile_of_a_few_kilobytes(sales: Any) -> None:
    one = released(profile_inputs(raw(sales), sales.problem().tables()))
    shuffled = Raw({"series": sales.table().sort("units", "price", "promo_mailer")}, sales.as_of)
    assert released(profile_inputs(shuffled, sales.problem().tables())) == one
    assert len(one) < 30_000


def test_many_categories_are_kept_short_and_the_rest_is_one() -> None:
    days = [LAST] * 300
    table = pl.LazyFrame({"date": days, "series_id": "s", "store_id": [f"s{place:03d}" for place in range(300)]})
    from tasks.tables.table import Column as TableColumn
    from tasks.tables.table import TableContract

    columns = (TableColumn("date", "date", key=True), TableColumn("store_id", "string"))
    contract = TableContract(columns, "date", None, ("store_id",), name="series")
    shares = profile_inputs(Raw({"series": table}, LAST), (contract,))["store_id"].shares
    assert shares is not None and len(shares) == 101
    assert shares["(other)"] == pytest.approx(2 / 3, abs=1e-5)


def test_columns_of_several_tables_are_told_apart_by_their_tables_names() -> None:
    from tasks.tables.table import Column as TableColumn
    from tasks.tables.table import TableContract

    sales = TableContract((TableColumn("date", "date"), TableColumn("price", "number")), "date", None, (), name="sales")
    items = TableContract(
        (TableColumn("item", "string", key=True), TableColumn("price", "number")), None, None, (), name="items"
    )
    tables = {
        "sales": pl.LazyFrame({"date": [LAST, date(2020, 1, 1)], "price": [1.0, 9.0]}),
        "items": pl.LazyFrame({"item": ["a", "b"], "price": [3.0, 4.0]}),
    }
    found = profile_inputs(Raw(tables, LAST), (sales, items))
    assert {name: column.quantiles[-1] for name, column in found.items()} == {"sales.price": 1.0, "items.price": 4.0}


def test_inputs_and_the_champions_predictions_are_compared_the_most_drifted_first(sales: Any) -> None:
    contract = sales.problem().tables()
    then, now = profile_inputs(raw(sales), contract), profile_inputs(raw(sales, price=pl.col("price") * 3), contract)
    random = np.random.default_rng(3)
    said = profile_outputs(random.normal(size=(400, 5, 2)).astype(np.float32), ["p10", "p50"])
    says = profile_outputs(random.normal(size=(400, 5, 2)).astype(np.float32) + 1, ["p10", "p50"])
    found = drift_since(2, released(then, said), now, says)
    assert found.lines[0].name == "price" and found.lines[0].level == "large"
    assert {line.name: line.level for line in found.lines if line.kind == "prediction"} == {
        "p10": "large",
        "p50": "large",
    }
    told = drift_json(found)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert drift_line(found) is not None and "input price: large" in str(drift_line(found))


LIMIT = DriftGate(max_psi=0.25)


def test_the_gate_refuses_drifted_inputs_and_lets_equal_ones_pass(sales: Any) -> None:
    contract = sales.problem().tables()
    then = profile_inputs(raw(sales), contract)
    same = drift_gate("c", drift_since(2, released(then), then, None), LIMIT)
    assert [result.passed for result in same] == [True]
    now = profile_inputs(raw(sales, price=pl.col("price") * 3), contract)
    (refused,) = drift_gate("c", drift_since(2, released(then), now, None), LIMIT)
    assert (refused.gate, refused.passed) == ("drift/inputs", False)
    assert "price" in refused.note


def test_without_a_limit_there_is_no_gate_and_on_the_first_night_it_passes(sales: Any) -> None:
    assert drift_gate("c", drift_since(0, None, {}, None), DriftGate()) == []
    (first,) = drift_gate("c", drift_since(0, None, {}, None), LIMIT)
    assert (first.passed, first.note) == (True, "no champion yet")
    assert drift_line(drift_since(0, None, {}, None)) is None


@pytest.mark.parametrize(
    "data",
    [None, b"{", b"[]", b"{}", b'{"inputs": {"units": {}}, "predictions": {}}', b'{"inputs": {}, "predictions": {}}'],
)
def test_a_champion_without_a_profile_that_can_be_read_is_refused_with_a_way_out(data: bytes | None) -> None:
    now = {"units": numbers(np.arange(100))}
    found = drift_since(5, data, now, None)
    (result,) = drift_gate("c", found, LIMIT)
    assert not result.passed
    assert result.note


def test_the_verdict_holds_the_gate(evaluation: EvaluationSet, gates: Gates, make_candidate: Any) -> None:
    naive = evaluation.score(evaluation.problem.naive(evaluation.dataset, evaluation.rows))
    then, now = {"x": numbers(np.arange(100.0))}, {"x": numbers(np.arange(100.0) + 80)}
    found = drift_since(1, released(then), now, None)
    candidate = make_candidate()
    teacher = evaluation.score(evaluation.run(candidate.model))
    opponents = Opponents(naive, teacher, Champion(0), found)
    assert decide([candidate], evaluation, opponents, gates, seed=1).winner is not None
    strict = gates.model_copy(update={"drift": LIMIT})
    verdict = decide([candidate], evaluation, opponents, strict, seed=1)
    assert [result.gate for result in verdict.ranked[0].failed] == ["drift/inputs"]
