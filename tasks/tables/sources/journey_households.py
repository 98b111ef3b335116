"""This source gives daily purchases per household from Complete Journey, with demographics where the set has them."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from tasks.core.config import Frozen
from tasks.tables.sources.base import Snapshot, parse_options
from tasks.tables.sources.replay import (
    NON_UNIT_DEPARTMENTS,
    NOTE,
    original_day,
    present,
    scan,
    shift_weeks,
    transactions,
)
from tasks.tables.table import TableContract

SPEND_COLUMNS = {
    "spend_grocery": ("GROCERY", "FROZEN GROCERY"),
    "spend_drug_gm": ("DRUG GM", "COSMETICS", "NUTRITION"),
    "spend_produce": ("PRODUCE", "SALAD BAR", "FLORAL", "GARDEN CENTER"),
    "spend_meat": ("MEAT", "MEAT-PCKGD", "SEAFOOD", "SEAFOOD-PCKGD"),
    "spend_deli": ("DELI", "PASTRY", "CHEF SHOPPE", "RESTAURANT"),
    "spend_fuel": ("FUEL",),
}


class Options(Frozen):
    """This source has no options."""


class JourneyHouseholds:
    """The table has one row per household and day with a purchase; nothing after `as_of`.

    - `basket_count`: baskets of the day; `units`: pieces, without departments that count in other measures;
    - `spend`: paid, and `discount`: saved by loyalty card and coupons, in dollars;
    - `spend_…`: the day's spend by group of departments (`spend_other`: the rest);
    - `age`, `income`, `household_size`: bands, null for the two thirds of households that gave none.
    """

    def __init__(self, options: Mapping[str, Any], contract: TableContract, project: Path) -> None:
        parse_options(Options, options, "complete-journey-households")
        self.name = contract.name

    def fetch(self, as_of: date) -> Snapshot:
        today, weeks = original_day(as_of), shift_weeks(as_of)
        department = pl.col("department").fill_null("")
        grouped = [name for group in SPEND_COLUMNS.values() for name in group]
        parts = {
            name: pl.col("sales_value").filter(department.is_in(group)).sum() for name, group in SPEND_COLUMNS.items()
        }
        parts["spend_other"] = pl.col("sales_value").filter(~department.is_in(grouped)).sum()
        table = (
            transactions()
            .filter(pl.col("date") <= today)
            .group_by("date", "household_id")
            .agg(
                pl.col("basket_id").n_unique().cast(pl.Int64).alias("basket_count"),
                pl.col("quantity").filter(~department.is_in(NON_UNIT_DEPARTMENTS)).sum().alias("units"),
                pl.col("sales_value").sum().alias("spend"),
                pl.sum_horizontal("retail_disc", "coupon_disc", "coupon_match_disc").sum().alias("discount"),
                **parts,
            )
            # Cents: sums of floats depend on the order of threads, and equal nights must give equal bytes.
            .with_columns(pl.col("spend", "discount", *parts).round(2))
            .join(
                scan("demographics").select("household_id", "age", "income", "household_size"),
                on="household_id",
                how="left",
            )
            .with_columns(present("date", weeks), pl.col("household_id").cast(pl.String))
            .sort("date", "household_id")
            .collect()
        )
        return Snapshot({self.name: table}, notes=(f"{NOTE}: {as_of} shows the set's {today}",), shift_weeks=weeks)
