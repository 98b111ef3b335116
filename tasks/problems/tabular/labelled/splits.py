"""Rows are dealt to training, validation and test: by a hash that never changes, or by time."""

from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.core.errors import DataError
from tasks.problems.base import Split
from tasks.problems.tabular.labelled.options import Options

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
LEFT_OUT = ""
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
    splits = _by_time(rows, keys, options) if options.time else _by_hash(keys, options)
    for name in SPLITS:
        if not (splits == name).any():
            how = f"by {options.time}" if options.time else "by hash"
            raise DataError(
                f"{options.target}: no {name} row among {len(rows)} labelled ones split {how}; deliver more"
            )
    return splits


def _by_hash(keys: pl.Series, options: Options) -> NDArray[np.str_]:
    """Deal keys by their hash: a row's split depends on nothing but the row."""
    unique = keys.unique()
    share = {key: int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) / 2**64 for key in unique}
    place = np.array([share[key] for key in keys])
    return _cut(1 - place, options)


def _by_time(rows: pl.DataFrame, keys: pl.Series, options: Options) -> NDArray[np.str_]:
    """Deal the latest moments to test, those before to validation; rows of one moment are in one split.

    A group is where its latest row is; its earlier rows in other splits are left out.
    """
    moments = rows[options.time or ""].cast(pl.Date).to_physical()
    if moments.null_count():
        raise DataError(f"{options.time}: null in {moments.null_count()} rows; each needs its time")
    # Share of rows that are earlier: all rows of one moment have the same.
    earlier = ((moments.rank("min") - 1) / len(moments)).to_numpy()
    splits = _cut(earlier, options)
    if options.group:
        latest = pl.DataFrame({"key": keys, "time": moments}).select(pl.col("time").max().over("key")).to_series()
        by_moment = dict(zip(moments.to_list(), splits.tolist(), strict=True))
        home = np.array([by_moment[moment] for moment in latest])
        splits = np.where(splits == home, splits, LEFT_OUT)
    return splits


def _cut(place: NDArray[np.float64], options: Options) -> NDArray[np.str_]:
    """Return the split of each place in 0 … 1, the last ones test."""
    test = 1 - options.test_share
    found: NDArray[np.str_] = np.where(
        place >= test, "test", np.where(place >= test - options.valid_share, "valid", "train")
    )
    return found
