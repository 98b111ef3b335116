"""What came of predictions, for each kind of learning, against sums made by hand."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.problems import get_problem
from tasks.problems.base import Outcomes, Since
from tasks.tables.table import Tables
from tasks.watching.join import OTHERS, Joined
from tasks.watching.measure import live_errors
from tasks.watching.record import sums
from tests.unit.watching.shop import PROBLEM, everything

AS_OF, UNTIL = date(2026, 6, 10), date(2026, 6, 12)


def since(tables: Tables, then: Tables | None = None, until: date = UNTIL) -> Since:
    return Since(AS_OF, until, tables, lambda: {} if then is None else then)


def contract(problem: Any, **statistics: Any) -> Any:
    made = problem.draft_contract()
    return made if not statistics else type(made)(**{**vars(made), "statistics": {**made.statistics, **statistics}})


def error(found: Outcomes) -> float:
    mean: float = np.average(found.rows["loss"] / found.rows["weight"], weights=found.rows["weight"])
    return float(mean**found.exponent)


def test_forecasts_are_joined_with_the_units_of_their_series_and_day_as_far_as_these_are_known() -> None:
    problem = get_problem(Spec.model_validate(PROBLEM))
    table = everything().with_columns(units=pl.when(pl.col("date") <= UNTIL).then(pl.col("units")))
    days = [AS_OF + timedelta(days=step) for step in range(1, 8)]
    said = pl.DataFrame(
        {"date": days * 2, "series_id": ["s00"] * 7 + ["gone"] * 7, "region": ["south"] * 14}
    ).with_columns(p10=pl.lit(0.0), p50=pl.lit(10.0), p90=pl.lit(1000.0))
    found = problem.outcomes(said, since({"series": table.lazy()}), contract(problem))
    truth = table.filter(pl.col("series_id") == "s00", pl.col("date").is_between(days[0], UNTIL))["units"].to_numpy()
    assert found.rows.select("entity", "day", "step", "truth").rows() == [
        ("s00", day, step, value) for step, (day, value) in enumerate(zip(days[:2], truth, strict=True), 1)
    ]
    assert error(found) == pytest.approx(np.abs(truth - 10).sum() / truth.sum())
    assert found.rows["gap"].to_list() == pytest.approx(10 - truth)
    assert found.rows["inside"].to_list() == [True, True]
    assert found.rows["by:region"].to_list() == ["south"] * 2
    assert problem.last_day(AS_OF) == days[-1]
    # What was known that evening is no forecast.
    early = said.with_columns(pl.col("date") - pl.duration(days=2))
    assert problem.outcomes(early, since({"series": table.lazy()}), contract(problem)).rows["day"].min() == days[0]


def test_the_bias_of_means_is_told_where_they_were_forecast_and_forecasts_without_one_are_still_scored() -> None:
    problem = get_problem(Spec.model_validate({**PROBLEM, "mean": True}))
    table, days = everything(), [AS_OF + timedelta(days=step) for step in (1, 2)]
    old = pl.DataFrame({"date": days, "series_id": ["s00"] * 2, "region": ["south"] * 2}).with_columns(
        p10=pl.lit(0.0), p50=pl.lit(10.0), p90=pl.lit(1000.0)
    )
    truth = table.filter(pl.col("series_id") == "s00", pl.col("date").is_in(days)).sort("date")["units"].to_numpy()
    new = old.with_columns(mean=pl.Series(truth * 1.5))
    since_then = since({"series": table.lazy()})
    told, untold = (problem.outcomes(said, since_then, contract(problem)).rows for said in (new, old))
    assert "mean_gap" not in untold.columns and untold.equals(told.select(untold.columns))

    def of_release(number: int, rows: pl.DataFrame) -> pl.DataFrame:
        others = {name: pl.lit(None, pl.Float64) for name in OTHERS}
        return rows.with_columns(release=pl.lit(number), former_release=pl.lit(0), as_of=pl.lit(AS_OF), **others)

    def live(rows: pl.DataFrame) -> Any:
        return live_errors(Joined(of_release(1, rows), 1.0, problem.primary_metric), 0.95)[0].to_json()

    assert live(told)["mean_bias"] == pytest.approx(0.5, abs=1e-4)
    assert live(told)["bias"] == pytest.approx((20 - truth.sum()) / truth.sum(), abs=1e-4)
    assert "mean_bias" not in live(untold)
    both = pl.concat([of_release(1, untold), of_release(2, told)], how="diagonal")
    of_both, of_old = sums(both, 1.0), sums(both.filter(release=1), 1.0)
    kept = (
        of_both.filter(part="all")
        .group_by("release")
        .agg(pl.col("mean_gap").sum() / pl.col("size").sum(), null=pl.col("mean_gap").null_count())
    )
    assert kept.sort("release")["null"].to_list() == [2, 0]
    assert kept.sort("release")["mean_gap"][1] == pytest.approx(0.5, abs=1e-4)
    assert of_old.equals(sums(of_release(1, untold), 1.0)), "what is kept of a day without a mean stays as it is"


def test_the_naive_forecast_says_what_it_would_have_said_that_evening() -> None:
    problem = get_problem(Spec.model_validate(PROBLEM))
    now = {"series": everything().lazy()}
    found = problem.naive_predictions(since(now), contract(problem))
    first = found.filter(pl.col("series_id") == "s00").sort("date")
    week = everything().filter(
        pl.col("series_id") == "s00", pl.col("date").is_between(AS_OF - timedelta(days=6), AS_OF)
    )
    assert first["p50"].to_list() == week.sort("date")["units"].to_list()
    # Nothing after the evening is read.
    changed = everything().with_columns(units=pl.when(pl.col("date") > AS_OF).then(9e3).otherwise(pl.col("units")))
    assert problem.naive_predictions(since({"series": changed.lazy()}), contract(problem)).equals(found)


def test_the_naive_forecast_is_that_of_the_workload() -> None:
    """Of values without a cycle the quantiles of the last ones, as the gates have it."""
    problem = get_problem(Spec.model_validate({**PROBLEM, "naive": "trailing"}))
    found = problem.naive_predictions(since({"series": everything().lazy()}), contract(problem))
    assert found.group_by("series_id").agg(pl.col("p50").n_unique())["p50"].unique().to_list() == [1]


EVENTS: dict[str, Any] = {
    "kind": "tabular",
    "entity": "who",
    "target": "spend",
    "horizon_days": 7,
    "step_days": 7,
    "min_history_days": 7,
    "classes": ["none", "some", "much"],
    "edges": [50],
    "windows": [7, 14],
}


def purchases(*rows: tuple[str, int, float]) -> Tables:
    """Rows of who, days after `AS_OF`, and spend."""
    whos, days, spend = zip(*rows, strict=True)
    dates = [AS_OF + timedelta(days=day) for day in days]
    return {"events": pl.LazyFrame({"who": whos, "date": dates, "spend": spend})}


def test_chances_are_joined_with_the_class_once_its_days_are_over() -> None:
    problem = get_problem(Spec.model_validate(EVENTS))
    mine = contract(problem, edges=[50.0])
    tables = purchases(
        ("a", -3, 10), ("b", -3, 60), ("c", -20, 5), ("a", 2, 30), ("a", 5, 30), ("b", 7, 5), ("b", 8, 99)
    )
    said = pl.DataFrame({"who": ["a", "b", "c"], "p_none": [0.2] * 3, "p_some": [0.3] * 3, "p_much": [0.5] * 3})
    over = AS_OF + timedelta(days=7)
    assert problem.last_day(AS_OF) == over
    assert problem.outcomes(said, since(tables, until=over - timedelta(days=1)), mine).rows.is_empty()
    found = problem.outcomes(said, since(tables, until=over), mine)
    assert dict(found.rows.select("entity", "truth").rows()) == {"a": 2, "b": 1, "c": 0}
    assert error(found) == pytest.approx(-np.log([0.5, 0.3, 0.2]).mean())
    assert dict(found.rows.select("entity", "by:previous").rows()) == {"a": "some", "b": "much", "c": "none"}
    assert found.rows["gap"].sum() == pytest.approx(0.5 * 3 - 1)  # the likeliest class came once


def test_the_naive_chances_count_what_followed_each_class_before_the_evening() -> None:
    problem = get_problem(Spec.model_validate(EVENTS))
    mine = contract(problem, edges=[50.0])
    rows = [("a", -10, 60.0), ("a", -3, 60.0), ("b", -10, 60.0), ("b", -3, 10.0), ("new", -1, 60.0)]
    found = problem.naive_predictions(since(purchases(*rows)), mine).sort("who")
    assert found["who"].to_list() == ["a", "b", "new"]
    # After `much` came `much` once and `some` once; each count begins at one.
    assert found.filter(who="a").select("p_none", "p_some", "p_much").row(0) == pytest.approx((0.2, 0.4, 0.4))
    assert found.filter(who="new").row(0)[1:4] == pytest.approx(found.filter(who="a").row(0)[1:4])
    later = purchases(*rows, ("a", 3, 999.0))
    assert problem.naive_predictions(since(later), mine).sort("who").equals(found)


ROWS: dict[str, Any] = {"kind": "tabular", "task": "value", "target": "price", "numbers": ["size"], "id": ["key"]}


def labelled(prices: dict[str, float | None]) -> Tables:
    return {"rows": pl.LazyFrame({"key": list(prices), "size": [1.0] * len(prices), "price": list(prices.values())})}


def test_a_row_is_counted_that_got_its_label_after_it_was_predicted() -> None:
    problem = get_problem(Spec.model_validate(ROWS))
    then, now = labelled({"a": 5.0, "b": None, "c": None}), labelled({"a": 5.0, "b": 13.0, "c": None, "d": 1.0})
    said = pl.DataFrame({"key": ["a", "b", "c"], "predicted": [10.0, 10.0, 10.0]})
    found = problem.outcomes(said, since(now, then), contract(problem))
    assert found.rows.select("entity", "day", "truth", "gap").rows() == [("b", AS_OF, 13.0, -3.0)]
    assert error(found) == pytest.approx(3.0)


def test_without_an_id_rows_cannot_be_watched() -> None:
    problem = get_problem(Spec.model_validate({**ROWS, "id": []}))
    with pytest.raises(ConfigError, match=r"problem\.id: nobody can tell which row a later label is of"):
        problem.outcomes(pl.DataFrame({"row": [0]}), since(labelled({"a": 1.0})), contract(problem))
