"""A source: visits of a few shops, made up by a rule, so that a night can be run again."""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from tasks.core.config import Frozen
from tasks.tables.sources.base import Snapshot, parse_options, sort_by_keys
from tasks.tables.table import TableContract


class Options(Frozen):
    """`shops`: how many. `days`: how many up to `as_of`."""

    shops: int = Field(default=6, gt=0)
    days: int = Field(default=60, gt=0)


class Shop:
    """One row for each shop and day: its weekly rhythm and some noise."""

    def __init__(self, options: Mapping[str, Any], contract: TableContract, project: Path) -> None:
        self.options, self.contract = parse_options(Options, options, "acme-shop"), contract

    def fetch(self, as_of: date) -> Snapshot:
        days = [as_of - timedelta(days=back) for back in range(self.options.days)]
        rows = [
            {"date": day, "shop": f"shop-{shop}", "visits": float(20 + 5 * shop + 8 * (day.weekday() > 4) + noise)}
            for shop in range(self.options.shops)
            for day in days
            for noise in np.random.default_rng([shop, day.toordinal()]).integers(0, 5, 1)
        ]
        table = sort_by_keys(pl.DataFrame(rows), self.contract.keys)
        return Snapshot({self.contract.name: table}, ("made up",))
