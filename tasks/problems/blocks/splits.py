"""Labelled rows are dealt to training, validation and test: by a hash that never changes, or by time."""

from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.problems.base import Split

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
LEFT_OUT = ""


def by_hash(keys: pl.Series, valid_share: float, test_share: float) -> NDArray[np.str_]:
    """Return (rows,) the split of each row by the hash of its key: it depends on nothing but the row."""
    unique = keys.unique()
    share = {key: int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) / 2**64 for key in unique}
    place = np.array([share[key] for key in keys])
    return _cut(1 - place, valid_share, test_share)


def by_time(moments: pl.Series, groups: pl.Series | None, valid_share: float, test_share: float) -> NDArray[np.str_]:
    """Return (rows,) the split of each row: the latest are test, those before validation; equal moments stay together.

    A group is where its latest row is; its earlier rows in other splits are LEFT_OUT. `moments` has no null.
    """
    # Share of rows that are earlier: all rows of one moment have the same.
    earlier = ((moments.rank("min") - 1) / len(moments)).to_numpy()
    splits = _cut(earlier, valid_share, test_share)
    if groups is not None:
        latest = pl.DataFrame({"key": groups, "time": moments}).select(pl.col("time").max().over("key")).to_series()
        by_moment = dict(zip(moments.to_list(), splits.tolist(), strict=True))
        home = np.array([by_moment[moment] for moment in latest])
        splits = np.where(splits == home, splits, LEFT_OUT)
    return splits


def with_validation(rows: pl.DataFrame, split: str) -> pl.DataFrame:
    """Return the rows for a last fit: those that validated, by the column `split`, are trained on; the order stays."""
    return rows.with_columns(pl.col(split).replace("valid", "train"))


def _cut(place: NDArray[np.float64], valid_share: float, test_share: float) -> NDArray[np.str_]:
    """Return the split of each place in 0 … 1, the last ones test."""
    test = 1 - test_share
    found: NDArray[np.str_] = np.where(place >= test, "test", np.where(place >= test - valid_share, "valid", "train"))
    return found
