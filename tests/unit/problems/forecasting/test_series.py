"""Series that are named by one column, several, or none."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from tasks.core.errors import ConfigError
from tasks.problems.forecasting.options import parse_options
from tasks.problems.forecasting.panel import build_panel
from tasks.problems.forecasting.problem import Forecasting

PLAIN = {"covariates": {}, "static": ["store"], "horizon": 2, "context": 8}
LAST = date(2026, 3, 31)


def table() -> pl.DataFrame:
    days = pl.date_range(date(2026, 3, 1), LAST, "1d", eager=True)
    keys = pl.DataFrame({"store": ["a/b", "a", "a\\"], "item": ["c", "b/c", "c"]})
    rows = pl.DataFrame({"date": days}).join(keys, how="cross")
    return rows.with_columns(units=pl.arange(0, pl.len()).cast(pl.Float64)).sort("date", "store", "item")


def test_several_columns_are_one_name_that_no_other_series_has() -> None:
    panel = build_panel(table().lazy(), LAST, parse_options({**PLAIN, "series": ["store", "item"]}))
    assert panel.names.tolist() == [r"a/b\/c", r"a\/b/c", r"a\\/c"]
    assert panel.static["store"].tolist() == ["a", "a/b", "a\\"]
    assert panel.observed.sum() == 3 * 31


def test_a_table_without_a_column_of_series_is_one_series() -> None:
    rows = table().filter(item="b/c").drop("item")
    options = {**PLAIN, "series": [], "static": []}
    panel = build_panel(rows.lazy(), LAST, parse_options(options))
    assert panel.names.tolist() == ["all"] and panel.observed.sum() == 31
    (contract,) = Forecasting(options).tables()
    assert contract.keys == ("date",) and contract.entity == ()


def test_keys_and_static_columns_stand_in_the_contract_once() -> None:
    (contract,) = Forecasting({**PLAIN, "series": ["store", "item"]}).tables()
    assert contract.keys == ("date", "store", "item") and contract.entity == ("store", "item")
    assert [column.name for column in contract.columns].count("store") == 1


def test_the_default_is_as_it_was() -> None:
    options = parse_options(PLAIN)
    assert options.series == ("series_id",) and "series" not in options.model_dump(mode="json")
    named = table().with_columns(series_id="item")
    one = build_panel(named.filter(item="c", store="a/b").lazy(), LAST, options)
    other = build_panel(named.filter(item="c", store="a/b").lazy(), LAST, parse_options({**PLAIN, "series": ["item"]}))
    for name, values in one.arrays().items():
        np.testing.assert_array_equal(values, other.arrays()[name])


@pytest.mark.parametrize(
    ("series", "said"),
    [
        (["store", "store"], "series: store is named twice"),
        (["units"], "series: units is the target"),
        (["price"], "price: price is named in series already"),
    ],
)
def test_a_column_that_cannot_name_series_is_refused(series: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_options({"static": ["store"], "series": series})
