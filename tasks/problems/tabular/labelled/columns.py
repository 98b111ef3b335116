"""Raw columns become numbers, with where they are known, and codes: in training and in scoring alike."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from serving.contract import side_by_side
from tasks.problems.base import FeatureContract, Floats, Inputs
from tasks.problems.tabular.labelled.options import Options

UNKNOWN = "<unknown>"
KNOTS = 65
"""A number's distribution in training is kept as so many quantiles, which models cut into pieces."""
DIGITS = 9


def numbers_of(rows: pl.DataFrame, options: Options) -> Floats:
    """Return (rows, features) of numbers, booleans as 0 and 1, and parts of dates; NaN where they are not known."""
    columns = [
        *[pl.col(name).cast(pl.Float64) for name in options.numbers],
        *[pl.col(name).cast(pl.Float64) for name in options.booleans],
        *[part for name in options.dates for part in _parts_of_date(pl.col(name))],
    ]
    found = rows.select(
        column.fill_null(np.nan).cast(pl.Float32).alias(name)
        for name, column in zip(options.features, columns, strict=True)
    )
    return found.to_numpy().astype(np.float32, order="C").reshape(len(rows), len(columns))


def _parts_of_date(value: pl.Expr) -> Iterator[pl.Expr]:
    day = value.cast(pl.Date)
    yield from (part.cast(pl.Float64) for part in (day.to_physical(), day.dt.month(), day.dt.day(), day.dt.weekday()))


def model_inputs(rows: pl.DataFrame, options: Options, contract: FeatureContract) -> Inputs:
    """Return the contract's inputs of raw rows.

    `numeric` (rows, features): in the table's units, 0 where not known. `observed`: 1 where known, else 0. `codes`
    (rows, categories): 0 for null and for values that are not in the code book.
    """
    inputs: Inputs = {}
    if "numeric" in contract.inputs:
        numbers = numbers_of(rows, options)
        observed = np.isfinite(numbers)
        inputs = {"numeric": np.where(observed, numbers, np.float32(0)), "observed": observed.astype(np.float32)}
    if "codes" in contract.inputs:
        codes = [
            rows[name]
            .cast(pl.String)
            .replace_strict(list(book), list(range(len(book))), default=0, return_dtype=pl.Int64)
            .fill_null(0)
            .to_numpy()
            for name, book in contract.categories.items()
        ]
        inputs["codes"] = np.column_stack(codes).astype(np.int64)
    return inputs


def contract_of(training: pl.DataFrame, label: Floats, weight: Floats, options: Options) -> FeatureContract:
    """Return the contract as the training rows make it.

    `label` (rows,): values or numbers of classes. `weight` (rows,): how much a row counts in what is said of labels.
    """
    numbers = numbers_of(training, options)
    statistics: dict[str, Any] = {"mean": [], "scale": [], "knots": []}
    for column in numbers.T.astype(np.float64):
        known = column[np.isfinite(column)]
        if not len(known):
            known = np.zeros(1)
        knots = np.unique(np.quantile(known, np.linspace(0, 1, KNOTS), method="inverted_cdf").astype(np.float32))
        statistics["mean"].append(_rounded(known.mean()))
        statistics["scale"].append(_rounded(known.std()) or 1.0)
        statistics["knots"].append([float(value) for value in knots])
    statistics |= _of_labels(label.astype(np.float64), weight, options)
    books = {}
    for name in options.categories:
        counts = training[name].cast(pl.String).drop_nulls().value_counts()
        common = counts.filter(pl.col("count") >= options.min_count)[name].to_list()
        books[name] = (UNKNOWN, *sorted(value for value in common if value != UNKNOWN))
    return make_contract(options, books, statistics)


def _of_labels(label: Floats, weight: Floats, options: Options) -> dict[str, Any]:
    """Return what naive forecasts and the scale of outputs are made of; rows count by their weight, as in errors."""
    weight = weight / weight.mean()
    if options.labels:
        counts = np.bincount(label.astype(np.int64), weight, minlength=options.width) + 1.0
        return {"shares": [_rounded(share) for share in counts / counts.sum()]}
    scaled = np.log1p(label) if options.error == "rmsle" else label
    mean = np.average(scaled, weights=weight)
    centre = np.quantile(scaled, 0.5, weights=weight, method="inverted_cdf") if options.error == "mae" else mean
    spread = np.sqrt(np.average((scaled - mean) ** 2, weights=weight))
    found: dict[str, Any] = {"centre": _rounded(centre), "spread": _rounded(spread) or 1.0}
    if options.quantiles:
        levels = np.quantile(scaled, options.quantiles, weights=weight, method="inverted_cdf")
        found["quantiles"] = [_rounded(value) for value in levels]
    return found


def _rounded(value: Any) -> float:
    """Keep nine digits: the last ones of a sum depend on the order in which it was taken."""
    return float(f"{float(value):.{DIGITS}g}")


def make_contract(
    options: Options, books: Mapping[str, tuple[str, ...]], statistics: Mapping[str, Any]
) -> FeatureContract:
    """Return the contract of models on these rows.

    `statistics`: `mean`, `scale` and `knots` (rising quantiles) by feature; of a value `centre`, `spread` and, if they
    are predicted, `quantiles` (of its logarithm under rmsle), else `shares` of the classes.
    """
    width = len(options.features)
    inputs: dict[str, tuple[str, tuple[int, ...]]] = {}
    if width:
        inputs = {"numeric": ("float32", (width,)), "observed": ("float32", (width,))}
    if options.categories:
        inputs["codes"] = ("int64", (len(options.categories),))
    return FeatureContract(
        problem="tabular",
        inputs=inputs,
        output_shape=(options.width,),
        categories=books,
        statistics=statistics,
        settings={"options": options.model_dump(mode="json"), "features": list(options.features)},
        codes={"codes": side_by_side(books)} if options.categories else {},
        limits={"observed": (0, 1)} if width else {},
    )


def draft_contract(options: Options) -> FeatureContract:
    """Return a contract without the facts that only data tell."""
    width = len(options.features)
    statistics: dict[str, Any] = {"mean": [0.0] * width, "scale": [1.0] * width, "knots": [[0.0, 1.0]] * width}
    if options.labels:
        statistics["shares"] = [1 / options.width] * options.width
    else:
        statistics |= {"centre": 0.0, "spread": 1.0}
        if options.quantiles:
            statistics["quantiles"] = [0.0] * len(options.quantiles)
    return make_contract(options, dict.fromkeys(options.categories, (UNKNOWN,)), statistics)
