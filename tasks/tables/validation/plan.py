"""Whether what a table must tell of the days ahead is there: a model that reads a plan forecasts badly without one."""

from datetime import date, timedelta

import polars as pl

from tasks.tables.table import TableContract


def missing_plan(table: pl.DataFrame, contract: TableContract, as_of: date) -> str | None:
    """What is missing of the steps after `as_of`, for a note: columns known ahead that have no value there.

    The steps are those that the table's own dates are apart. None where nothing is missing, or nothing can be told.
    """
    planned = [
        column.name
        for column in contract.columns
        if column.known_ahead and column.required and not column.key and column.kind != "string"
    ]
    moment = contract.date
    if moment is None or not contract.horizon_days or not set(planned) <= set(table.columns) or not planned:
        return None
    if not isinstance(table.schema.get(moment), (pl.Date, pl.Datetime)):
        return None
    rows = table.with_columns(pl.col(moment).cast(pl.Date).alias("_day"))
    days = rows["_day"].drop_nulls().unique().sort()
    past = days.filter(days <= as_of)
    if len(past) < 2:
        return None
    apart: list[int] = past.diff().dt.total_days().drop_nulls().mode().sort().to_list()
    step = apart[0]
    last = past[-1]
    steps = (as_of + timedelta(days=contract.horizon_days) - last).days // step
    entity = list(contract.entity)
    series = rows.filter(pl.col("_day") == last).select(entity).n_unique() if entity else 1
    ahead = rows.filter(pl.col("_day") > as_of)
    there = ahead.group_by("_day", *entity).agg(pl.col(planned).is_not_null().all())
    lacking = {name: steps * series - int(there[name].sum()) for name in planned}
    if not (short := {name: count for name, count in lacking.items() if count > 0}):
        return None
    said = ", ".join(f"{name} in {count:,}" for name, count in short.items())
    return (
        f"known ahead, but missing for the {contract.horizon_days} days after {as_of}: {said} of {steps * series:,} "
        "rows; models take the last value, and no promotion"
    )
