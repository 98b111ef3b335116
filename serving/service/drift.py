"""How far what a service is asked, and answers, is from what the release was made on: counts by field, no rows kept.

The release's profile.json has quantiles of each number and shares of each category; the index and its bins are those of
the pipeline's own drift.
"""

import json
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.client import Model
from serving.client.release import PROFILE

log = logging.getLogger(__name__)

BINS = 10
LEAST_SHARE = 1e-4
LEAST_VALUES = 100
"""Of fewer values an index says nothing."""
MEMORY = 100_000
"""After so many values of a field their counts are halved, so that what was asked long ago fades."""
ROWS = 500
"""Of a larger table, or output, so many rows by chance are looked at: equal distances could meet a week's beat."""
EVERY = 10
"""Tables of one in so many requests are looked at, the first among them, so that requests take no longer."""
OTHER = "(other)"


class Field:
    """A field counts its values by the bins of the profile: deciles or categories, missing values last."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.missing = float(found["missing"])
        shares = found["shares"]
        if shares is None:
            quantiles = np.asarray(found["quantiles"], np.float64)
            self._places: Mapping[str, int] | None = None
            self._edges = _edges(quantiles)
            counts = np.bincount(np.searchsorted(self._edges, quantiles), minlength=len(self._edges) + 1)
            known = counts / max(len(quantiles), 1) * (1 - self.missing)
        else:
            self._places = {str(name): place for place, name in enumerate(shares)}
            self._places = {**self._places, OTHER: self._places.get(OTHER, len(shares))}
            known = np.array([*map(float, shares.values()), *([0.0] if OTHER not in shares else [])])
        self._shares = np.append(known, self.missing)
        self._counts = np.zeros(len(self._shares))

    def see(self, values: pl.Series) -> None:
        """Count the values of a column; one of another kind than the profile's is let be."""
        if self._places is None:
            if values.dtype.is_numeric():
                self.see_numbers(values.to_numpy().astype(np.float64, copy=False))  # a null becomes NaN
            return
        other, places = self._places[OTHER], self._places
        texts = values if values.dtype == pl.String else values.cast(pl.String)
        for value, count in Counter(texts.to_list()).items():  # of so few values faster than a grouping
            self._counts[-1 if value is None else places.get(value, other)] += count
        self._fade()

    def see_numbers(self, values: NDArray[np.float64]) -> None:
        """Count numbers; those that are not finite are missing."""
        places = np.searchsorted(self._edges, values)
        places[~np.isfinite(values)] = len(self._counts) - 1
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._fade()

    def index(self) -> float:
        """Return the population stability index; NaN of fewer than LEAST_VALUES values."""
        if self._counts.sum() < LEAST_VALUES:
            return float("nan")
        p, q = (np.maximum(one / one.sum(), LEAST_SHARE) for one in (self._counts, self._shares))
        p, q = p / p.sum(), q / q.sum()
        return float(((p - q) * np.log(p / q)).sum())

    def _fade(self) -> None:
        if self._counts.sum() > MEMORY:
            self._counts /= 2


class Asked:
    """Asked counts the columns of the tables that a release is sent, and the outputs that it gives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._model: Model | None = None
        self._requests = 0
        self._columns: dict[str, Field] = {}
        self._outputs: list[tuple[str, Field]] = []

    def see_tables(self, model: Model, tables: Mapping[str, pl.DataFrame], several: bool) -> None:
        """Count the columns of tables. `several`: a column's name follows that of its table, as in the profile."""
        with self._lock:
            self._follow(model)
            self._requests += 1
            if self._requests % EVERY != 1:
                return
            for table, frame in tables.items():
                some = frame.sample(ROWS) if len(frame) > ROWS else frame
                for column in some.iter_columns():
                    field = self._columns.get(f"{table}.{column.name}" if several else column.name)
                    if field is not None:
                        field.see(column)

    def see_output(self, model: Model, output: NDArray[np.float32]) -> None:
        """Count outputs (rows, …, outputs)."""
        with self._lock:
            self._follow(model)
            found = output.reshape(-1, output.shape[-1]) if output.size else output.reshape(0, 1)
            if len(found) > ROWS:
                found = found[np.random.default_rng().integers(len(found), size=ROWS)]
            flat: NDArray[np.float64] = found.astype(np.float64)
            if len(self._outputs) == 1 and flat.shape[1] > 1:  # of a whole catalogue the largest is profiled
                flat = flat.max(axis=1, keepdims=True)
            if flat.shape[1] == len(self._outputs):
                for place, (_, field) in enumerate(self._outputs):
                    field.see_numbers(flat[:, place])

    def indices(self) -> Iterator[tuple[str, str, float]]:
        """Yield kind (`input`, `prediction`), name and index of each field that was seen often enough."""
        with self._lock:
            named = [("input", *item) for item in self._columns.items()]
            found = [
                (kind, name, field.index())
                for kind, name, field in (*named, *(("prediction", *item) for item in self._outputs))
            ]
        yield from (one for one in found if np.isfinite(one[2]))

    def _follow(self, model: Model) -> None:
        if model is self._model:
            return
        self._model, self._columns, self._outputs, self._requests = model, {}, [], 0
        try:
            profile = json.loads(model.files.get(PROFILE, b"{}"))
            columns = {name: Field(found) for name, found in profile.get("inputs", {}).items()}
            outputs = [(name, Field(found)) for name, found in profile.get("predictions", {}).items()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("release %s: its %s cannot be read: %s", model.release.number, PROFILE, error)
            return
        self._columns, self._outputs = columns, outputs


def _edges(quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inner bounds of the bins. A value that several deciles share, such as zero, is a bin of its own."""
    if not len(quantiles):
        return np.empty(0)
    deciles = np.quantile(quantiles, np.linspace(0, 1, BINS + 1), method="inverted_cdf")
    values, counts = np.unique(deciles, return_counts=True)
    tied = values[counts > 1]
    return np.unique(np.concatenate([deciles[1:-1], tied, np.nextafter(tied, -np.inf)]))
