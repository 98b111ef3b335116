"""What came of forecasts is kept for BI, append-only: `_watched/<workload>/<day of truth>/outcomes.parquet`.

An underscore begins no workload's name, so these lie beside the forecasts. A day is written when its truth has come,
and once more, as `outcomes-2.parquet` and so on, when something of it is another than before.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from typing import Any

import polars as pl

from tasks.core.storage import ObjectExists, ObjectStore
from tasks.problems.base import BY
from tasks.scoring.kept import append
from tasks.watching.join import OTHERS, Joined

ROOT, NAME = "_watched", "outcomes"
DIGITS = 9
"""The last digits of a sum depend on the order of threads, and equal outcomes are to give equal bytes."""


@dataclass(frozen=True)
class Recorded:
    """Recorded says where each day's outcomes are, and on which days the truth is another than when last counted."""

    files: Mapping[date, str]
    corrected: tuple[date, ...]


def record(store: ObjectStore, workload: str, joined: Joined) -> Recorded:
    """Write every day of truth whose outcomes are not kept as they are. Raises the errors of `append`."""
    files: dict[date, str] = {}
    corrected: list[date] = []
    for (day,), rows in joined.rows.sort("day").group_by("day", maintain_order=True):
        assert isinstance(day, date)
        stem = f"{ROOT}/{workload}/{day}/{NAME}"
        digest = hashlib.sha256(rows.select("entity", "truth").unique().sort("entity", "truth").write_csv().encode())
        content = parquet(sums(rows, joined.exponent))
        before = _last_truth(store, workload, day)
        place, fresh = append(store, stem, content)
        if fresh or not store.exists(f"{place}.json"):  # a killed watch left the sums alone
            told = {"truth_sha256": digest.hexdigest(), "sha256": hashlib.sha256(content).hexdigest()}
            create(store, f"{place}.json", told)
            if before not in ("", digest.hexdigest()):
                corrected.append(day)
        files[day] = f"{place}.parquet"
    return Recorded(files, tuple(corrected))


def sums(rows: pl.DataFrame, exponent: float) -> pl.DataFrame:
    """Return a line for each forecast, step and part of one day: sums, of which a BI tool makes errors of any part.

    The error of lines is (sum of `loss` / sum of `weight`) ** `exponent`; that of others on these rows has `naive` or
    `former` for `loss`. `part` is `all`, or a segment's column, which has a `value`. `mean_gap` is there on days with
    forecasts of a mean.
    """
    parts = {"all": pl.lit(""), **{name.removeprefix(BY): pl.col(name) for name in rows.columns if name.startswith(BY)}}
    keys = ("day", "as_of", "release", "former_release", "step")
    # A day without one has no column of it: what is kept of it stays the same when later releases forecast a mean.
    of_mean = ("mean_gap",) if "mean_gap" in rows.columns and rows["mean_gap"].count() else ()
    totals = ("loss", "weight", *OTHERS, "gap", *of_mean, "size")
    found = [
        rows.group_by(*keys, pl.lit(part).alias("part"), value.alias("value"))
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            *[pl.when(pl.col(name).count() == pl.len()).then(pl.col(name).sum()).alias(name) for name in totals],
            pl.col("inside").sum().cast(pl.Int64).alias("covered"),
            pl.col("inside").count().cast(pl.Int64).alias("intervals"),
        )
        .with_columns(pl.col(totals).round_sig_figs(DIGITS), pl.lit(exponent).alias("exponent"))
        for part, value in parts.items()
    ]
    return pl.concat(found).sort(*keys, "part", "value")


def create(store: ObjectStore, key: str, document: Mapping[str, Any]) -> bytes:
    """Write a JSON document that is never replaced, and return its bytes: those of before, if it is there."""
    data = (json.dumps(document, indent=1, sort_keys=True, default=str) + "\n").encode()
    try:
        store.create(key, data)
    except ObjectExists:
        return store.read(key)
    return data


def _last_truth(store: ObjectStore, workload: str, day: date) -> str:
    """Return the digest of the truth that was counted last; empty if none was."""
    prefix = f"{ROOT}/{workload}/{day}/{NAME}"
    keys = [key for key in store.keys(prefix) if key.endswith(".json")]
    if not keys:
        return ""
    newest = max(keys, key=lambda key: int(key.removeprefix(prefix).removesuffix(".json").removeprefix("-") or 1))
    found: dict[str, str] = json.loads(store.read(newest))
    return found["truth_sha256"]


def parquet(table: pl.DataFrame) -> bytes:
    """Return a table as the bytes of a Parquet file."""
    content = BytesIO()
    table.write_parquet(content, compression="zstd")
    return content.getvalue()
