"""Drift measures how far tonight's inputs and predictions are from the ones the champion was released with.

A profile is what a release keeps of its own: quantiles of every number, shares of every category.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import special

from tasks.gates.options import DriftGate
from tasks.gates.result import SIGNIFICANT_DIGITS, GateResult, at_most, refused, rounded
from tasks.gates.robustness import one_line
from tasks.problems.base import Floats, Raw
from tasks.tables.steps import MONTHS, Step
from tasks.tables.table import TableContract

Level = Literal["none", "moderate", "large"]

DAYS = 56
"""A profile is made of a snapshot's last days: whole weeks, and few enough that a change is not thinned out."""
LONG_STEPS = 12
"""A profile of longer steps is made of a snapshot's last months, quarters or years."""
QUANTILES = 200
BINS = 10
CATEGORIES = 100
OUTPUTS = 100
LEAST_SHARE = 1e-4
MODERATE, LARGE = 0.1, 0.25
"""These are the usual limits of the index: Siddiqi, Credit Risk Scorecards (2006), chapter 10."""
OTHER = "(other)"
WAY_OUT = "to go on without, leave gates.drift out for a night"


@dataclass(frozen=True)
class Column:
    """A Column profiles one column: `quantiles` at the middles of equal shares if numbers, else `shares` by category.

    `missing`: share of values that are null or NaN; the quantiles are of the others.
    """

    missing: float
    quantiles: tuple[float, ...] = ()
    shares: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Drift:
    """Drift tells how far one column or output is from the reference. `ks`: of numbers alone."""

    name: str
    kind: Literal["input", "prediction"]
    psi: float
    ks: float | None

    @property
    def level(self) -> Level:
        """Return the index in a word."""
        return "large" if not self.psi <= LARGE else "moderate" if self.psi >= MODERATE else "none"

    def to_json(self) -> dict[str, Any]:
        """Return plain values, rounded so that they read well."""
        return {**asdict(self), "psi": rounded(self.psi), "ks": rounded(self.ks), "level": self.level}


Profile = Mapping[str, Column]


@dataclass(frozen=True)
class DriftFound:
    """DriftFound holds a line for every column compared, the most drifted first. `note`: why there are none."""

    lines: tuple[Drift, ...] = ()
    note: str = ""
    first_night: bool = False


def profile_inputs(raw: Raw, contracts: Sequence[TableContract]) -> dict[str, Column]:
    """Profile all tables' columns but keys and dates over the last `DAYS` days, or `LONG_STEPS` months, up to `as_of`.

    Where there are several tables, a column's name follows that of its table: `items.price`.
    """
    found: dict[str, Column] = {}
    for contract in contracts:
        if contract.name in raw.tables:
            prefix = f"{contract.name}." if len(contracts) > 1 else ""
            profile = _profile_table(raw.tables[contract.name], contract, raw.as_of)
            found |= {f"{prefix}{name}": column for name, column in profile.items()}
    return found


def profiled(contract: TableContract) -> list[str]:
    """Return the columns of a table that have a profile: neither keys nor free text nor moments."""
    kinds = ("date", "moment", "binary")
    return [item.name for item in contract.columns if not (item.key or item.free) and item.kind not in kinds]


def _profile_table(table: pl.LazyFrame, contract: TableContract, as_of: date) -> dict[str, Column]:
    recent = table
    if contract.date is not None:
        day, step = pl.col(contract.date).dt.date(), Step(contract.step)
        since = step.day_ahead(as_of, -LONG_STEPS) if step.name in MONTHS else as_of - timedelta(days=DAYS)
        recent = table.filter(day <= as_of, day > since)
    names = table.collect_schema().names()
    found = {}
    # One at a time: a table is many columns, each as long as the snapshot.
    for name in (each for each in profiled(contract) if each in names):
        values = recent.select(pl.col(name)).collect(engine="streaming").to_series()
        found[name] = (
            _numbers(values.cast(pl.Float64).fill_null(np.nan).to_numpy())
            if values.dtype.is_numeric()
            else _categories(values.cast(pl.String))
        )
    return found


def profile_outputs(output: Floats, names: Sequence[str] = ()) -> dict[str, Column]:
    """Profile every output of a model, over all rows (and steps): (n, …, outputs), numbered without `names`.

    Of more than `OUTPUTS`, such as the items of a catalogue, the largest alone is profiled.
    """
    flat = output.reshape(-1, output.shape[-1])
    if len(names or flat[0]) > OUTPUTS:
        return {"largest output": _numbers(flat.max(axis=1).astype(np.float64))}
    chosen = names or [f"output {place}" for place in range(flat.shape[1])]
    return {name: _numbers(flat[:, place].astype(np.float64)) for place, name in enumerate(chosen)}


def profile_json(inputs: Profile, predictions: Profile) -> dict[str, Any]:
    """Return the content of profile.json: equal data gives equal values."""
    parts = {"inputs": inputs, "predictions": predictions}
    return {part: {name: asdict(column) for name, column in columns.items()} for part, columns in parts.items()}


def profile_from_json(data: Mapping[str, Any]) -> tuple[Profile, Profile]:
    """Return inputs and predictions that `profile_json` wrote."""
    inputs, predictions = (
        {
            name: Column(found["missing"], tuple(found["quantiles"]), found["shares"])
            for name, found in data[part].items()
        }
        for part in ("inputs", "predictions")
    )
    return inputs, predictions


def drift_json(drift: DriftFound) -> dict[str, Any]:
    """Return the content of drift.json for the report."""
    return {"note": drift.note, "lines": [line.to_json() for line in drift.lines]}


def drift_line(drift: DriftFound) -> str | None:
    """Return the most drifted input and prediction in a few words; None on the first night."""
    if drift.first_night:
        return None
    worst = {line.kind: line for line in reversed(drift.lines)}
    told = [f"{kind} {line.name}: {line.level} ({line.psi:.3g})" for kind, line in sorted(worst.items())]
    return ", ".join(told) or drift.note


def drifts(now: Profile, then: Profile, kind: Literal["input", "prediction"]) -> list[Drift]:
    """Return one line for each column that both have with the same kind of values, the most drifted first."""
    found = [
        Drift(name, kind, stability_index(now[name], then[name]), kolmogorov_smirnov(now[name], then[name]))
        for name in now.keys() & then.keys()
        if (now[name].shares is None) == (then[name].shares is None)
    ]
    return sorted(found, key=lambda drift: (-drift.psi, drift.name))


def drift_since(sequence: int, released: bytes | None, inputs: Profile, champion: Profile | None) -> DriftFound:
    """Return drift since the release that ledger entry `sequence` made champion, 0 for none.

    `released`: its profile.json. `champion`: tonight's predictions of the champion itself, so that only what it is
    asked has changed; None if it could not be run.
    """
    if not sequence:
        return DriftFound(first_night=True)
    if released is None:
        return DriftFound(note=f"ledger entry {sequence} was released without a profile of its inputs; {WAY_OUT}")
    try:
        then_inputs, then_predictions = profile_from_json(json.loads(released))
        lines = drifts(inputs, then_inputs, "input") + drifts(champion or {}, then_predictions, "prediction")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return DriftFound(note=f"profile.json of ledger entry {sequence} cannot be read: {one_line(error)}; {WAY_OUT}")
    return DriftFound(tuple(lines))


def stability_index(now: Column, then: Column) -> float:
    """Return the population stability index: sum of (p - q) ln(p / q) over bins, p tonight's shares, q the reference's.

    It is the symmetric Kullback-Leibler divergence, KL(p, q) + KL(q, p) (Jeffreys 1946; Yurdakul and Naranjo, Journal
    of Risk Model Validation 14, 2020). Bins are the reference's deciles, or its categories; missing values are one bin
    more. Shares are at least `LEAST_SHARE`, so that an empty bin gives a number.
    """
    p, q = (shares / shares.sum() for shares in (np.maximum(one, LEAST_SHARE) for one in _shares(now, then)))
    return float((special.rel_entr(p, q) + special.rel_entr(q, p)).sum())


def kolmogorov_smirnov(now: Column, then: Column) -> float | None:
    """Return the largest distance of the two distribution functions, within 1 / `QUANTILES`; None if not of numbers.

    Without a p-value: rows depend on each other and are many, so that any difference would count as significant.
    """
    if not now.quantiles or not then.quantiles:
        return None
    samples = [np.sort(column.quantiles) for column in (now, then)]
    places = np.concatenate(samples)
    # As scipy.stats.ks_2samp, whose import takes a second of every evaluation.
    ours, others = (np.searchsorted(sample, places, side="right") / len(sample) for sample in samples)
    return float(np.abs(ours - others).max())


def drift_gate(candidate: str, drift: DriftFound, gate: DriftGate) -> list[GateResult]:
    """The most drifted input must be within the limit; without a limit there is no result.

    It passes on the first night. What cannot be compared with an existing champion's is refused.
    """
    if gate.max_psi is None:
        return []
    name, rule = "drift/inputs", f"population stability index of every input at most {gate.max_psi:g}"
    if drift.first_night:
        return [GateResult(name, candidate, True, None, gate.max_psi, rule, "no champion yet")]
    inputs = [line for line in drift.lines if line.kind == "input"]
    if drift.note or not inputs:
        return [refused(name, candidate, rule, drift.note or "no input can be compared", gate.max_psi)]
    worst = max(inputs, key=lambda line: line.psi)
    note = f"most drifted of {len(inputs)}: {worst.name}"
    return [at_most(name, candidate, worst.psi, gate.max_psi, rule, note)]


def _numbers(values: NDArray[np.float64]) -> Column:
    known = values[np.isfinite(values)]
    missing = rounded(1 - len(known) / max(len(values), 1)) or 0.0
    if not len(known):
        return Column(missing)
    middles = (np.arange(QUANTILES) + 0.5) / QUANTILES
    found = np.quantile(known, middles, method="inverted_cdf")
    return Column(missing, tuple(float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in found))


def _categories(values: pl.Series) -> Column:
    counts = values.rename("value").drop_nulls().value_counts().sort(["count", "value"], descending=[True, False])
    total = max(len(values), 1)
    shares = {name: count / total for name, count in counts.head(CATEGORIES).iter_rows()}
    if counts.height > CATEGORIES:
        shares[OTHER] = int(counts["count"].slice(CATEGORIES).sum()) / total
    return Column(
        rounded(values.null_count() / total) or 0.0,
        shares={name: rounded(share) or 0.0 for name, share in shares.items()},
    )


def _shares(now: Column, then: Column) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return tonight's and the reference's share of each bin, that of missing values last."""
    if now.shares is not None and then.shares is not None:
        found: dict[str, float] = {}
        for name, share in now.shares.items():
            known = name if name in then.shares or OTHER not in then.shares else OTHER
            found[known] = found.get(known, 0.0) + share
        names = sorted(found.keys() | then.shares.keys())
        pairs = [(found.get(name, 0.0), then.shares.get(name, 0.0)) for name in names]
    else:
        edges = _edges(then.quantiles)
        pairs = list(zip(*(_histogram(column, edges) for column in (now, then)), strict=True))
    p, q = np.array([*pairs, (now.missing, then.missing)]).T
    return p, q


def _edges(quantiles: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the inner bounds of the bins. A value that several deciles share, such as zero, is a bin of its own."""
    if not quantiles:
        return np.empty(0)
    deciles = np.quantile(quantiles, np.linspace(0, 1, BINS + 1), method="inverted_cdf")
    values, counts = np.unique(deciles, return_counts=True)
    tied = values[counts > 1]
    return np.unique(np.concatenate([deciles[1:-1], tied, np.nextafter(tied, -np.inf)]))


def _histogram(column: Column, edges: NDArray[np.float64]) -> list[float]:
    """Return the share of all values in each bin: above the edge before it and up to its own."""
    counts = np.bincount(np.searchsorted(edges, column.quantiles, side="left"), minlength=len(edges) + 1)
    known = (1 - column.missing) / max(len(column.quantiles), 1)
    return [float(count) * known for count in counts]
