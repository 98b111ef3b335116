"""This source gives daily units per store and department from Complete Journey, prices and promotions known ahead."""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from tasks.core.config import Frozen
from tasks.core.errors import ConfigError
from tasks.tables.sources.base import Snapshot, parse_options
from tasks.tables.sources.replay import (
    FIRST_DAY,
    MAX_HORIZON_DAYS,
    NON_UNIT_DEPARTMENTS,
    NOTE,
    SELECTION_END,
    original_day,
    present,
    scan,
    shift_weeks,
    transactions,
)
from tasks.tables.table import TableContract

SERIES = ("store_id", "department")
BASKET_WEEKS = 13  # the selection days, 2017-01-01 … 2017-03-26


class Options(Frozen):
    """`stores` and `departments` say how many are taken, by units sold on the selection days."""

    stores: int = Field(default=40, gt=0)
    departments: int = Field(default=8, gt=0)


class JourneySales:
    """Each series is a store x department; days without a purchase are zeros.

    Rows go on for the horizon (at most 28 days) after `as_of`, without units.
    Stores, departments and baskets are chosen on 2017-01-01 … 2017-03-31, before any night of the replay.
    - `promo_display`, `promo_mailer` (0..1): share of the series' basket (products weighed by their share of the
      series' units in weeks 1-13) that is on display, or in the mailer, in the store in that week.
    - `price`: index of the basket's shelf price, 1 = mean of weeks 1-13. A product's shelf price in a week is
      sum(sales_value + retail_disc + coupon_match_disc) / sum(quantity) over ALL stores (the set's documentation gives
      the formula), carried forward; as a chain-wide price it tells next to nothing about one series' future sales.
    - `holiday`: US holiday on the original day in 2017.
    """

    def __init__(self, options: Mapping[str, Any], contract: TableContract, project: Path) -> None:
        self.options = parse_options(Options, options, "complete-journey")
        if contract.horizon > MAX_HORIZON_DAYS:
            raise ConfigError(f"problem.horizon: the replayed set has {MAX_HORIZON_DAYS} days ahead of as_of at most")
        self.name = contract.name
        self.horizon = timedelta(days=contract.horizon)

    def fetch(self, as_of: date) -> Snapshot:
        today, weeks = original_day(as_of), shift_weeks(as_of)
        sales = transactions().filter(~pl.col("department").is_in(NON_UNIT_DEPARTMENTS)).collect()
        early = sales.filter(pl.col("date") <= SELECTION_END)
        chosen = self._chosen(early)
        basket = _basket(early, chosen)
        units = (
            sales.filter(pl.col("date") <= today)
            .join(chosen, on=SERIES, how="semi")
            .group_by("date", *SERIES)
            .agg(units=pl.col("quantity").sum())
        )
        days = pl.select(date=pl.date_range(FIRST_DAY, today + self.horizon))
        table = (
            days.join(chosen, how="cross")
            .with_columns(week=(pl.col("date") - date(2016, 12, 26)).dt.total_days() // 7 + 1)
            .join(units, on=("date", *SERIES), how="left")
            .join(_promotions(basket), on=(*SERIES, "week"), how="left")
            .join(_prices(sales, basket), on=(*SERIES, "week"), how="left")
            .select(
                present("date", weeks),
                series_id=pl.col("store_id").cast(pl.String) + "-" + pl.col("department"),
                store_id=pl.col("store_id").cast(pl.String),
                department="department",
                units=pl.when(pl.col("date") <= today).then(pl.col("units").fill_null(0)).cast(pl.Float64),
                price="price",
                promo_display=pl.col("promo_display").fill_null(0.0),
                promo_mailer=pl.col("promo_mailer").fill_null(0.0),
                holiday=pl.col("date").is_in(_holidays()),
            )
            .sort("date", "series_id")
        )
        return Snapshot({self.name: table}, notes=(f"{NOTE}: {as_of} shows the set's {today}",), shift_weeks=weeks)

    def _chosen(self, early: pl.DataFrame) -> pl.DataFrame:
        """Return the series: pairs of the largest stores and departments that sold anything on the selection days."""

        def largest(column: str, count: int) -> pl.Series:
            totals = early.drop_nulls(column).group_by(column).agg(pl.col("quantity").sum())
            return totals.sort("quantity", column, descending=(True, False))[column].head(count)

        return (
            early.filter(
                pl.col("store_id").is_in(largest("store_id", self.options.stores).implode()),
                pl.col("department").is_in(largest("department", self.options.departments).implode()),
                pl.col("quantity") > 0,
            )
            .select(SERIES)
            .unique()
            .sort(SERIES)
        )


def _basket(early: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    """Return (store_id, department, product_id, weight): a product's share of its series' units in weeks 1-13."""
    return (
        early.filter(pl.col("week") <= BASKET_WEEKS, pl.col("quantity") > 0)
        .join(chosen, on=SERIES, how="semi")
        .group_by(*SERIES, "product_id")
        .agg(weight=pl.col("quantity").sum())
        .with_columns(pl.col("weight") / pl.col("weight").sum().over(SERIES))
        .sort(*SERIES, "product_id")
    )


def _promotions(basket: pl.DataFrame) -> pl.DataFrame:
    """Return (store_id, department, week, promo_display, promo_mailer). "0" is the set's code for no promotion.

    One product can be promoted more than once in a store and week: each counts once.
    """
    return (
        scan("promotions")
        .filter(
            pl.col("store_id").is_in(basket["store_id"].unique().sort().to_list()),
            (pl.col("display_location") != "0") | (pl.col("mailer_location") != "0"),
        )
        .join(basket.lazy(), on=("store_id", "product_id"))
        .group_by(*SERIES, "week", "product_id")
        .agg(
            pl.col("weight").first(),
            display=(pl.col("display_location") != "0").any(),
            mailer=(pl.col("mailer_location") != "0").any(),
        )
        .sort(*SERIES, "week", "product_id")  # a fixed order of the sums: equal bytes on every run
        .group_by(*SERIES, "week", maintain_order=True)
        .agg(
            promo_display=_share(pl.col("weight").filter(pl.col("display")).sum()),
            promo_mailer=_share(pl.col("weight").filter(pl.col("mailer")).sum()),
        )
        .collect(engine="streaming")
    )


def _share(expr: pl.Expr) -> pl.Expr:
    """Return a sum of weights as a share: rounding must not lead out of 0..1, nor to other bytes."""
    return expr.round(6).clip(0.0, 1.0)


def _prices(sales: pl.DataFrame, basket: pl.DataFrame) -> pl.DataFrame:
    """Return (store_id, department, week, price): see the class."""
    products = basket.select("product_id").unique().sort("product_id")
    value = pl.col("sales_value") + pl.col("retail_disc") + pl.col("coupon_match_disc")
    paid = (
        sales.filter(pl.col("quantity") > 0)
        .join(products, on="product_id", how="semi")
        .sort("product_id", "week", "basket_id", "quantity", "sales_value")
        .group_by("product_id", "week", maintain_order=True)
        .agg(shelf=value.sum() / pl.col("quantity").sum())
    )
    weeks = pl.select(week=pl.int_range(1, 54, dtype=pl.Int64))
    shelf = (
        products.join(weeks, how="cross")
        .join(paid, on=("product_id", "week"), how="left")
        .sort("product_id", "week")
        # Before its first sale a product counts at the first price: those weeks lie in the basket's own 13.
        .with_columns(pl.col("shelf").forward_fill().backward_fill().over("product_id"))
        .with_columns(base=pl.col("shelf").filter(pl.col("week") <= BASKET_WEEKS).mean().over("product_id"))
    )
    # One column a week: long, this would be millions of rows.
    wide = shelf.pivot("week", index=("product_id", "base"), values="shelf")
    cost = [pl.col("weight").dot(str(week)) / pl.col("weight").dot("base") for week in weeks["week"]]
    return (
        basket.join(wide, on="product_id", maintain_order="left")
        .group_by(SERIES, maintain_order=True)
        .agg(price.round(6).alias(str(week)) for price, week in zip(cost, weeks["week"], strict=True))
        .unpivot(index=SERIES, variable_name="week", value_name="price")
        .with_columns(pl.col("week").cast(pl.Int64))
    )


def _holidays() -> list[date]:
    import holidays

    return sorted(holidays.country_holidays("US", years=FIRST_DAY.year))
