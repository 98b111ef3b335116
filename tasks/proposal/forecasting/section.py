"""The section of params.yaml that fits a table: its columns, its length, its number of rows."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from tasks.proposal.forecasting.lengths import Plan
from tasks.proposal.forecasting.roles import NUMBER, is_flag
from tasks.proposal.forecasting.seen import QUANTILES, Seen
from tasks.proposal.forecasting.time import zone_of
from tasks.tables.validation.options import CheckOptions

LEAST_SHARE = 0.7  # of series that are there at the end
LEAST_NOISE, MOST_NOISE = 0.01, 0.1  # of the robustness gate
LEADS = 4  # steps of the horizon at which simple forecasts are tried
FEWEST_LAGS, MOST_LAGS, SHORTEST = 8, 28, 6  # of the trees: newest values, and steps of a mean
FEW = 2000  # windows
SEGMENT_ROWS = 8  # on the evaluation set, of a segment that is judged


class Naive(NamedTuple):
    """Mean absolute errors over the horizon of repeating the last season, and of repeating the last value.

    `size`: the mean absolute value, which errors are a share of. `apart`: by how much a season differs from the last.
    """

    season: float
    last: float
    size: float
    apart: float

    @property
    def is_last(self) -> bool:
        """Whether the last value is the better forecast, as of prices and other values that wander."""
        return self.last < self.season

    def share(self, error: float) -> float:
        """Return an error as a share of the values' size."""
        return error / self.size if self.size else error


def section_of(name: str, path: str, seen: Seen) -> dict[str, Any]:
    """The section of the workload `name` for a file that its source reads as `path`."""
    time, roles, known, plan, ours = seen.time, seen.roles, seen.known, seen.plan, seen.ours
    lengths, step, positive = plan.lengths, time.step, seen.least >= 0
    covariates = {ours[column]: _covariate(column, seen) for column in roles.covariates}
    categories = {ours[column]: _change(column, seen) for column in roles.categories}
    changing = bool(covariates or categories)
    behind = any(told["known"] == "past" for told in (*covariates.values(), *categories.values()))
    naive = naive_of(seen)
    best = min(naive.season, naive.last)
    limit = _limit(naive.share(best) if positive else best)
    problem: dict[str, Any] = {
        "kind": "forecasting",
        "frequency": step.name,
        "horizon": lengths.horizon,
        "season": lengths.season,
        "context": lengths.context,
        "quantiles": list(QUANTILES),
        "mean": True,
        "metric": _metric(seen),
        "positive": positive,
        **({"naive": "trailing", "naive_steps": 1} if naive.is_last else {}),
        "normalise": "scale" if seen.often_zero else "standard",
        "series": [ours[column] for column in roles.series],
        "static": [ours[column] for column in roles.static],
        **({"numbers": [ours[column] for column in roles.numbers]} if roles.numbers else {}),
        "covariates": covariates,
        **({"categories": categories} if categories else {}),
        "stride": plan.stride,
        "test_origins": plan.origins,
        "valid_origins": plan.origins,
        "origin_step": plan.step,
        "min_history": plan.min_history,
    }
    student = {
        "model": {"kind": "linear-mlp", "hidden": _by_size(plan, 16, 32, 48), "embedding": 4}
        | ({"past": True} if changing else {}),
        "training": _training(plan, 30, 0.003),
    }
    return {
        "title": f"{roles.target} of {name}, {lengths.horizon} {step.noun}s ahead",
        "description": f"Proposed by `nightstill new` for {seen.look.path.name}.",
        "schedule": "0 5 * * *",
        "timezone": zone_of(known[time.column]),
        "folds": 2,
        "ensemble": "validation",
        "source": _source(path, seen),
        "problem": problem,
        "checks": _checks(seen),
        "teachers": {
            "lightgbm": {"model": _trees(seen, changing, behind)},
            "mlp": {
                "model": {"kind": "mlp", "hidden": _by_size(plan, 64, 128, 256), "blocks": 1, "embedding": 8},
                "training": _training(plan, 10, 0.002),
            },
        },
        "students": {"student": {**student, "alpha": 0.5}, "twin": {**student, "alpha": 1.0}},
        "prefer": "accuracy",
        "recipes": {
            "int8": {"steps": [{"kind": "int8-weights"}]},
            "smallest": {
                "search": {
                    "limits": {"retention": 1.01, "parity": 0.05, "bytes": 262_144},
                    "trials": 12,
                    "space": [
                        {"kind": "neurons", "keep": [0.25, 1.0], "epochs": 1},
                        {"kind": "numbers", "choices": ["int4-weights", "int8-weights"]},
                    ],
                }
            },
        },
        "gates": {
            "accuracy": {
                "limit": limit, "naive_margin": 0.0, "retention": 1.1, "champion_margin": 0.03, "max_gain": 0.9
            },
            "segments": {"by": [ours[name] for name in _segments(seen)], "limit": 0.3, "min_rows": SEGMENT_ROWS},
            "size": {"max_bytes": 262_144},
            "latency": {"batch": 1, "threads": 1, "max_p50_ratio": 30, "max_p95_ratio": 50},
            "parity": {"tolerance": 0.05},
            "robustness": [
                {"kind": "noise", "level": _noise(naive), "limit": 1.3}, {"kind": "missing", "level": 0.1, "limit": 2.0}
            ],
        },
    }  # fmt: skip


def _metric(seen: Seen) -> str:
    if seen.least < 0:
        return "mae"
    return "wql" if seen.mostly_zero else "wape"


def _source(path: str, seen: Seen) -> dict[str, Any]:
    shape = {name: True for name, is_so in (("distinct", seen.repeated), ("observed", seen.observed)) if is_so}
    source = seen.look.source(path, seen.time.column, until_as_of=True, **({"shape": shape} if shape else {}))
    renamed = {mine: theirs for theirs, mine in seen.ours.items() if mine != theirs}
    return source | ({"columns": renamed} if renamed else {})


def _covariate(column: str, seen: Seen) -> dict[str, Any]:
    said = _change(column, seen)
    return said | ({"low": 0, "high": 1} if is_flag(seen.known[column]) else {"transform": "standard"})


def _change(column: str, seen: Seen) -> dict[str, Any]:
    known = {"known": "ahead" if seen.is_ahead(column) else "past"}
    return known | ({"missing": True} if column in seen.roles.missing else {})


def _checks(seen: Seen) -> dict[str, Any]:
    """Limits that the file's past keeps."""
    known, roles, time = seen.known, seen.roles, seen.time
    checks: dict[str, Any] = {"max_volume_ratio": 4.0}
    steps = known.select(NUMBER, *roles.series).unique().sort(*roles.series, NUMBER)
    passed = pl.col(NUMBER).diff()
    gap = steps.select((passed.over(roles.series) if roles.series else passed).max() - 1).item() or 0
    if gap > CheckOptions().gap(time.step):
        checks["max_gap_steps"] = int(gap)
    if roles.series:
        last, lately = seen.last, max(1, time.step.within(28))
        there = known.filter(pl.col(NUMBER) == last).select(roles.series).n_unique()
        before = known.filter(pl.col(NUMBER) >= last - lately).select(roles.series).n_unique()
        if there / before < LEAST_SHARE:
            checks["min_entity_share"] = max(0.01, round(0.7 * there / before, 2))
    return checks


def _segments(seen: Seen) -> list[str]:
    """The columns whose segments have rows enough to be judged: a single series has one row an origin."""
    roles = seen.roles
    rows = seen.known.filter(pl.col(NUMBER) == seen.last)
    series = {column: rows[column].alias("value").value_counts()["count"] for column in roles.static}
    return [column for column in roles.static if ((series[column] * seen.plan.origins) >= SEGMENT_ROWS).sum() >= 2]


def naive_of(seen: Seen) -> Naive:
    """The errors of the two simplest forecasts, at some steps of the horizon."""
    known, roles, lengths = seen.known, seen.roles, seen.plan.lengths
    rows = known.select(NUMBER, *roles.series, value=pl.col(roles.target).cast(pl.Float64))
    leads = sorted({max(1, lengths.horizon * part // LEADS) for part in range(1, LEADS + 1)})
    season = [_apart(rows, roles.series, lengths.season * math.ceil(lead / lengths.season)) for lead in leads]
    last = [_apart(rows, roles.series, lead) for lead in leads]
    size = float(rows["value"].abs().sum()) / rows.height
    apart = _apart(rows, roles.series, lengths.season)
    return Naive(sum(season) / len(leads), sum(last) / len(leads), size, apart)


def _apart(rows: pl.DataFrame, series: Sequence[str], steps: int) -> float:
    """Return by how much a value differs from that of the same series so many steps before, on average."""
    before = rows.with_columns(pl.col(NUMBER) + steps).rename({"value": "before"})
    error = rows.join(before, on=[NUMBER, *series]).select((pl.col("value") - pl.col("before")).abs()).to_series()
    return float(error.sum()) / max(len(error), 1)


def _limit(naive: float) -> float:
    """Twice the error of the better naive forecast, in two digits."""
    return float(f"{2 * naive:.2g}") if naive > 0 else 1.0


def _noise(naive: Naive) -> float:
    """Half of what a season differs from the last one, at most a tenth: more would drown what a precise series says."""
    return float(f"{min(MOST_NOISE, max(LEAST_NOISE, naive.share(naive.apart) / 2)):.2g}")


def _trees(seen: Seen, changing: bool, behind: bool) -> dict[str, Any]:
    """Trees that see of a window what a practitioner's do: a season of lags, means of ever shorter spans, extremes.

    Counts with many zeros are told by few lags and long means; more of a window is noise to them. Validation chooses
    how large the trees are.
    """
    season, _, context = seen.plan.lengths
    few = seen.plan.windows < FEW
    halves = [context >> halving for halving in range(1, context.bit_length())]
    more = {
        "lags": min(context, max(FEWEST_LAGS, min(season, MOST_LAGS))),
        "spans": [span for span in halves if span >= SHORTEST],
        "extremes": True,
    }
    return {
        "kind": "lightgbm",
        "trees": _by_size(seen.plan, 80, 120, 160),
        "leaves": 15 if few else 31 if seen.often_zero else [31, 127],
        "min_leaf": _by_size(seen.plan, 10, 30, 50),
        "samples": 150_000,
        **({} if seen.often_zero else more),
        **({"past": True} if changing else {}),
        **({"newest": True} if behind else {}),
    }


def _training(plan: Plan, epochs: int, rate: float) -> dict[str, Any]:
    batch = _by_size(plan, 32, 128, 256)
    batches = min(_by_size(plan, 40, 60, 100), max(40, math.ceil(plan.windows / batch)))
    return {
        "epochs": epochs, "batch_size": batch, "batches_per_epoch": batches, "learning_rate": rate, "patience": 4
    }  # fmt: skip


def _by_size(plan: Plan, small: int, medium: int, large: int) -> int:
    return small if plan.windows < FEW else medium if plan.windows < 30_000 else large
