"""Rows are dealt to training, validation and test: by a hash that never changes, or by time."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.core.errors import DataError
from tasks.problems.blocks.splits import SPLITS, by_hash, by_time
from tasks.problems.tabular.labelled.options import Options

SEPARATOR, NULL = "\x1f", "\x00"


def keys_of(rows: pl.DataFrame, options: Options) -> pl.Series:
    """Return (rows,) text by which rows belong together: the group, or the id, or all values they are predicted from.

    Equal values give equal text whatever type of number a source has them in.
    """
    names = (options.group,) if options.group else options.id or options.predictors
    parts = []
    for name in names:
        dtype = rows.schema[name]
        value = pl.col(name).cast(pl.Float64) if dtype.is_numeric() and name in options.numbers else pl.col(name)
        parts.append(value.cast(pl.String).fill_null(NULL))
    return rows.select(pl.concat_str(parts, separator=SEPARATOR).alias("key")).to_series()


def split_of(rows: pl.DataFrame, keys: pl.Series, options: Options) -> NDArray[np.str_]:
    """Return (rows,) the split of each labelled row, LEFT_OUT for one that must be in none. Raises DataError."""
    shares = options.valid_share, options.test_share
    splits = _by_time(rows, keys, options) if options.time else by_hash(keys, *shares)
    for name in SPLITS:
        if not (splits == name).any():
            how = f"by {options.time}" if options.time else "by hash"
            raise DataError(
                f"{options.target}: no {name} row among {len(rows)} labelled ones split {how}; deliver more"
            )
    return splits


def _by_time(rows: pl.DataFrame, keys: pl.Series, options: Options) -> NDArray[np.str_]:
    moments = rows[options.time or ""].cast(pl.Date).to_physical()
    if moments.null_count():
        raise DataError(f"{options.time}: null in {moments.null_count()} rows; each needs its time")
    return by_time(moments, keys if options.group else None, options.valid_share, options.test_share)
