"""This module loads the benchmark's series as arrays, with the origins that competitors are tuned and scored on.

An origin is the index of the last known step; its window is the `horizon` steps after it. Windows of validation end
before the first test window starts. Rolling origins are those that the field uses for each set:

| set | series, steps | horizon | test origins | validation origins |
|---|---|---|---|---|
| m5 | 30,490 daily | 28 | 3, 7 days apart, the last one is the competition's | 3, 7 days apart |
| walmart | 3,331 weekly | 8 | 3, 4 weeks apart, the last one 8 weeks before the end | 3, 4 weeks apart |
| journey | about 310 daily | 28 | 3, 7 days apart, the newest of them those of the workload `sales` | 3, 7 days apart |
| vic | 1, half-hours | 48 | 56: each midnight of the last 8 weeks | 56 midnights before |
| etth1, ettm1 | 7 channels | 96 | every step of months 17-20 | every step of months 13-16 |
| weather, exchange | 21, 8 channels | 96 | every step of the last 20 % | every step of the 10 % before |
| traffic | 1, hours | 24 | 56: each midnight of the last 8 weeks | 56 midnights before |
| pollution | 1, hours | 24 | 112: each midnight of the last 16 weeks | 112 midnights before |
| housing | 46 monthly | 12 | 12, a month apart | 12, a month apart |
| hobbies | 149 daily, most days zero | 28 | 3: each 28 days | 3, 28 days apart |

The rows of etth1 to exchange follow Zeng et al. 2023 (arXiv:2205.13504): channels are z-scored with the mean and
standard deviation of the training part, models are fitted on that part only, and no test window is dropped.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.core.errors import ConfigError, DataError

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Metric = Literal["wape", "wql", "mse"]
Ends = Callable[[int], tuple[int, int, int]]
T = TypeVar("T", bound=np.generic)

PROJECT = Path(__file__).resolve().parents[1]
EVENTS = ("Cultural", "National", "Religious", "Sporting")
JOURNEY_END = date(2017, 12, 3)  # the last day that the replayed source can show as today


@dataclass(frozen=True)
class Origins:
    """Origins have `train_end`, the last step to fit on while tuning, and `valid` and `test`, origins in time order."""

    train_end: int
    valid: tuple[int, ...]
    test: tuple[int, ...]

    def of(self, split: Literal["valid", "test"]) -> tuple[int, ...]:
        """Return the origins of one split."""
        return self.valid if split == "valid" else self.test


@dataclass(frozen=True)
class BenchSet:
    """A set has N series over T steps. Arrays are read-only.

    `values` (N, T) float32, zero where not `observed` (N, T): before a series' start, or missing. `times` (T,):
    start of each step, local time. `seasons`: steps in a cycle, shortest first. `static`: name -> (N,) text or
    numbers. `known`: covariates known ahead, name -> (N or 1, T) float32; `past`: the same, but known up to the origin
    only. `context`: a sensible look-back, in steps. `metric`: which error decides; forecasts are of quantiles and mean,
    and of the mean alone where it is `mse`.
    """

    name: str
    series: NDArray[np.str_]
    values: Floats
    observed: Flags
    times: NDArray[np.datetime64]
    frequency: str
    seasons: tuple[int, ...]
    horizon: int
    context: int
    metric: Metric
    origins: Origins
    static: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    known: Mapping[str, Floats] = field(default_factory=dict)
    past: Mapping[str, Floats] = field(default_factory=dict)
    last: int = -1  # the last step with values: see `sealed`

    def __post_init__(self) -> None:
        count, steps = self.values.shape
        shapes = {"observed": self.observed.shape == (count, steps), "times": self.times.shape == (steps,)}
        shapes |= {name: array.shape == (count,) for name, array in {"series": self.series, **self.static}.items()}
        covariates = {**self.known, **self.past}
        shapes |= {name: array.shape in {(count, steps), (1, steps)} for name, array in covariates.items()}
        if wrong := [name for name, fits in shapes.items() if not fits]:
            raise DataError(f"{self.name}: {', '.join(wrong)}: shape does not fit {count} series of {steps} steps")
        valid, test = self.origins.valid, self.origins.test
        if not (valid and test) or [*valid, *test] != sorted({*valid, *test}):
            raise DataError(f"{self.name}: origins: both splits need origins, each later than the one before")
        if not 0 <= self.origins.train_end <= valid[0] or valid[-1] + self.horizon > test[0]:
            raise DataError(f"{self.name}: origins: training must end before validation, and that before testing")
        if test[-1] + self.horizon >= steps:
            raise DataError(f"{self.name}: origins: the last test window goes beyond the {steps} steps")
        if self.last < 0:
            object.__setattr__(self, "last", steps - 1)
        for array in (self.values, self.observed, self.times, self.series, *self.static.values(), *covariates.values()):
            array.flags.writeable = False

    @property
    def fit_end(self) -> int:
        """Return the last step that the final model may be fitted on, however its settings were chosen.

        The first test origin; for the sets scored by MSE the end of the training part, as published figures have it.
        """
        return self.origins.train_end if self.metric == "mse" else self.origins.test[0]

    @property
    def starts(self) -> NDArray[np.int64]:
        """Return (N,) index of the first observed step; T if there is none."""
        first: NDArray[np.int64] = np.where(
            self.observed.any(axis=1), self.observed.argmax(axis=1), self.values.shape[1]
        )
        return first

    def history(self, origin: int) -> tuple[Floats, Flags]:
        """Return values and their flags up to and with `origin`, copied: (N, origin + 1) each.

        Raises DataError on an origin after the last test origin: later values are for the scorer alone.
        """
        if not 0 <= origin <= self.origins.test[-1]:
            last = self.origins.test[-1]
            raise DataError(f"{self.name}: history({origin}) would show test values; the last test origin is {last}")
        return self.values[:, : origin + 1].copy(), self.observed[:, : origin + 1].copy()

    def targets(self, origins: tuple[int, ...]) -> tuple[Floats, Flags]:
        """Return the values after each origin, and whether they were observed: (len(origins), N, horizon) each.

        Raises DataError on a sealed set's unknown steps.
        """
        if max(origins) + self.horizon > self.last:
            raise DataError(f"{self.name}: targets of origin {max(origins)} are sealed; tune on validation origins")
        return windows(self.values, origins, self.horizon), windows(self.observed, origins, self.horizon)

    def earlier(self, back: int) -> "BenchSet":
        """Return the set as it was `back` times the way from validation to test ago: a rolling origin to choose by.

        With `back` of 1 the last test window is today's last validation window, and nothing after it is in the set.
        Raises DataError when too little is left.
        """
        shift = back * (self.origins.test[-1] - self.origins.valid[-1])
        steps = self.values.shape[1] - shift
        if self.origins.train_end < shift:
            raise DataError(f"{self.name}: {back} back: nothing is left to learn from; take fewer")
        valid, test = (tuple(origin - shift for origin in self.origins.of(split)) for split in ("valid", "test"))
        known, past = (
            {name: array[:, :steps] for name, array in covariates.items()} for covariates in (self.known, self.past)
        )
        return replace(
            self,
            values=self.values[:, :steps],
            observed=self.observed[:, :steps],
            times=self.times[:steps],
            origins=Origins(self.origins.train_end - shift, valid, test),
            known=known,
            past=past,
            last=-1,
        )

    def sealed(self) -> "BenchSet":
        """Return the set as competitors get it: no value, and no covariate of the past, after the last test origin."""
        last = self.origins.test[-1]
        values, observed = self.values.copy(), self.observed.copy()
        values[:, last + 1 :], observed[:, last + 1 :] = 0, False
        past = {name: np.where(np.arange(array.shape[1]) <= last, array, np.nan) for name, array in self.past.items()}
        return replace(self, values=values, observed=observed, past=past, last=last)


def windows(array: NDArray[T], origins: tuple[int, ...], length: int) -> NDArray[T]:
    """Return the `length` steps after each origin: (N, T) -> (len(origins), N, length), a copy."""
    view = np.lib.stride_tricks.sliding_window_view(array, length, axis=1)
    return np.ascontiguousarray(view[:, np.array(origins) + 1].swapaxes(0, 1))


def data_root() -> Path:
    """Return the data's folder: NIGHTSTILL_BENCH_DATA, `../shared/data` beside the project by default."""
    return Path(os.environ.get("NIGHTSTILL_BENCH_DATA") or PROJECT.parent / "shared" / "data")


def load(name: str, root: Path | None = None) -> BenchSet:
    """Load the set `name` (see SETS), below `root` or `data_root()`.

    Raises ConfigError on an unknown name or missing data.
    """
    if name not in SETS:
        raise ConfigError(f"set: there is no {name!r}; there are: {', '.join(SETS)}")
    try:
        return SETS[name](root or data_root())
    except FileNotFoundError as error:
        raise ConfigError(
            f"set {name}: {error.filename or error}: no such file; NIGHTSTILL_BENCH_DATA names the folder of the data"
        ) from error


def rolling(steps: int, horizon: int, count: int, apart: int) -> Origins:
    """Return origins counted back from the end: `count` for testing, and before them as many for validation.

    The last window ends with the last step. Training, while tuning, ends at the first validation origin.
    """
    test = [steps - 1 - horizon - apart * step for step in reversed(range(count))]
    last = test[0] - horizon
    tuning = [last - apart * step for step in reversed(range(count))]
    return Origins(train_end=tuning[0], valid=tuple(tuning), test=tuple(test))


def _m5(root: Path) -> BenchSet:
    sales = pl.read_parquet(file_of(root, "m5/sales_wide_2015-03-03_2016-05-22.parquet"))
    series = sales.select("id").join(
        pl.read_parquet(file_of(root, "m5/series.parquet")), on="id", how="left", maintain_order="left"
    )
    days = pl.Series([date.fromisoformat(name) for name in sales.columns[1:]])
    calendar = pl.read_parquet(file_of(root, "m5/calendar.parquet")).filter(
        pl.col("date").dt.date().is_in(days.implode())
    )
    times = days.to_numpy().astype("datetime64[us]")
    observed = times >= series["first_row"].to_numpy().astype("datetime64[us]")[:, None]
    values = np.where(observed, sales.drop("id").to_numpy(), 0).astype(np.float32)
    known = {
        f"event_{kind.lower()}": _row(calendar.select((pl.col("event_type_1") == kind).fill_null(value=False)
                                       | (pl.col("event_type_2") == kind).fill_null(value=False)).to_series())
        for kind in EVENTS
    }  # fmt: skip
    states = ("CA", "TX", "WI")
    snap = np.stack([calendar[f"snap_{state}"].to_numpy() for state in states]).astype(np.float32)
    known["snap"] = snap[[states.index(state) for state in series["state_id"]]]
    return BenchSet(
        name="m5",
        series=_texts(series["id"].str.strip_suffix("_evaluation")),
        values=values,
        observed=observed,
        times=times,
        frequency="D",
        seasons=(7,),
        horizon=28,
        context=56,
        metric="wape",
        origins=rolling(values.shape[1], 28, 3, 7),
        static={name: _texts(series[name]) for name in ("item_id", "dept_id", "cat_id", "store_id", "state_id")},
        known=known,
    )


def _walmart(root: Path) -> BenchSet:
    """Return the set without markdowns, temperature, fuel price, CPI and unemployment: none is known ahead."""
    sales = pl.read_parquet(file_of(root, "walmart_weekly/train.parquet"))
    stores = pl.read_parquet(file_of(root, "walmart_weekly/stores.parquet"))
    features = pl.read_parquet(file_of(root, "walmart_weekly/features.parquet"))
    wide = sales.pivot("Date", index=("Store", "Dept"), values="Weekly_Sales").sort("Store", "Dept")
    series = wide.select("Store", "Dept").join(stores, on="Store", how="left", maintain_order="left")
    weeks = sales["Date"].unique().sort()
    table = wide.select(weeks.dt.strftime("%Y-%m-%d 00:00:00.000000").to_list()).to_numpy()
    holiday = features.group_by("Date").agg(pl.col("IsHoliday").any()).sort("Date")
    names = series.select(pl.format("{}-{}", "Store", "Dept")).to_series()
    return BenchSet(
        name="walmart",
        series=_texts(names),
        values=np.nan_to_num(table).astype(np.float32),
        observed=np.isfinite(table),
        times=weeks.to_numpy().astype("datetime64[us]"),
        frequency="W-FRI",
        seasons=(52,),
        horizon=8,
        context=52,
        metric="wape",
        origins=rolling(len(weeks), 8, 3, 4),
        static={
            "store": _texts(series["Store"].cast(pl.String)),
            "dept": _texts(series["Dept"].cast(pl.String)),
            "type": _texts(series["Type"]),
            "size": series["Size"].to_numpy().astype(np.float32),
        },
        known={"holiday": _row(holiday.filter(pl.col("Date").is_in(weeks.implode()))["IsHoliday"])},
    )


def _journey(_: Path) -> BenchSet:
    """Return the set of the product's own source, with the settings of its workload `sales`."""
    from tasks.config.workload import load_workload
    from tasks.tables.sources.journey_sales import JourneySales
    from tasks.tables.table import TableContract

    workload = load_workload(PROJECT / "params.yaml", "sales")
    contract = TableContract(
        (), date="date", target="units", entity=("series_id",), horizon=workload.problem.options["horizon"]
    )
    source = JourneySales(workload.source.options, contract, PROJECT)
    table = source.fetch(JOURNEY_END).tables[contract.name]
    return journey_set(table.filter(pl.col("date") <= JOURNEY_END), workload.problem.options)


def journey_set(table: pl.DataFrame, options: Mapping[str, Any]) -> BenchSet:
    """Return the set of a `complete-journey` table: a row a series and day, options of a forecasting problem."""
    table = table.sort("series_id", "date")
    series = table.group_by("series_id", maintain_order=True).first()

    def wide(name: str) -> Floats:
        return table[name].to_numpy().reshape(len(series), -1).astype(np.float32)

    values, horizon = wide("units"), int(options["horizon"])
    return BenchSet(
        name="journey",
        series=_texts(series["series_id"]),
        values=values,
        observed=np.ones(values.shape, np.bool_),
        times=table["date"].head(values.shape[1]).to_numpy().astype("datetime64[us]"),
        frequency="D",
        seasons=(int(options["season"]),),
        horizon=horizon,
        context=int(options["context"]),
        metric="wape",
        origins=rolling(values.shape[1], horizon, 3, 7),
        static={name: _texts(series[name]) for name in ("store_id", "department")},
        known={name: wide(name) for name in ("price", "promo_display", "promo_mailer")}
        | {"holiday": wide("holiday")[:1]},
    )


def _vic(root: Path) -> BenchSet:
    """Return the set. Times are Melbourne's summer time all year, for regular steps; `summer_time`: clocks agree."""
    table = pl.read_parquet(file_of(root, "vic_elec/vic_elec.parquet"))
    local = table["Time"].dt.convert_time_zone("Australia/Melbourne")
    return BenchSet(
        name="vic",
        series=np.array(["demand"]),
        values=_row(table["Demand"]),
        observed=np.ones((1, len(table)), np.bool_),
        times=table["Time"].dt.replace_time_zone(None).dt.offset_by("11h").to_numpy(),
        frequency="30min",
        seasons=(48, 336),
        horizon=48,
        context=672,
        metric="wape",
        origins=rolling(len(table), 48, 56, 48),
        known={"holiday": _row(table["Holiday"]), "summer_time": _row(local.dt.dst_offset().dt.total_hours())},
        past={"temperature": _row(table["Temperature"])},
    )


def _channels(name: str, root: Path, file: str, *, ends: Ends, seasons: tuple[int, ...], frequency: str) -> BenchSet:
    """Return a multivariate set of long horizons; `ends`: rows -> ends of training, validation and test part."""
    horizon = 96
    table = pl.read_parquet(file_of(root, file))
    train, valid, test = ends(len(table))
    table = table.head(test)
    values = table.drop("date").to_numpy().T.astype(np.float64)
    part = values[:, :train]
    values = ((values - part.mean(axis=1, keepdims=True)) / part.std(axis=1, keepdims=True)).astype(np.float32)
    times = table["date"] if table["date"].dtype != pl.String else table["date"].str.to_datetime("%Y/%m/%d %H:%M")
    return BenchSet(
        name=name,
        series=_texts(pl.Series(table.columns[1:])),
        values=values,
        observed=np.ones(values.shape, np.bool_),
        times=times.to_numpy().astype("datetime64[us]"),
        frequency=frequency,
        seasons=seasons,
        horizon=horizon,
        context=336,
        metric="mse",
        origins=Origins(
            train_end=train - 1,
            valid=tuple(range(train - 1, valid - horizon)),
            test=tuple(range(valid - 1, test - horizon)),
        ),
    )


def _months(rows_a_day: int) -> Ends:
    """Return the ends after 12, 4 and 4 months of 30 days."""
    return lambda _: (360 * rows_a_day, 480 * rows_a_day, 600 * rows_a_day)


def _shares(rows: int) -> tuple[int, int, int]:
    """Return the ends after 70, 10 and 20 %, rounded as published: what training and test part leave is validation."""
    train, test = int(rows * 0.7), int(rows * 0.2)
    return train, rows - test, rows


def file_of(root: Path, name: str) -> Path:
    """Return a file's path. Raises FileNotFoundError; polars' own error would not carry the name."""
    if not (path := root / name).is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    return path


def _row(column: pl.Series) -> Floats:
    return column.cast(pl.Float32).to_numpy()[None, :].copy()


def _texts(column: pl.Series) -> NDArray[np.str_]:
    return np.array(column.to_list(), dtype=np.str_)


def _elsewhere(module: str) -> Any:
    """Return a module of further sets, which needs this one."""
    return import_module(f"bench.{module}")


SETS: dict[str, Callable[[Path], BenchSet]] = {
    "m5": _m5,
    "walmart": _walmart,
    "journey": _journey,
    "vic": _vic,
    "etth1": lambda root: _channels(
        "etth1", root, "ett/ETTh1.parquet", ends=_months(24), seasons=(24, 168), frequency="h"
    ),
    "ettm1": lambda root: _channels(
        "ettm1", root, "ett/ETTm1.parquet", ends=_months(96), seasons=(96, 672), frequency="15min"
    ),
    "weather": lambda root: _channels(
        "weather", root, "ltsf_others/weather.parquet", ends=_shares, seasons=(144,), frequency="10min"
    ),
    "exchange": lambda root: _channels(
        "exchange", root, "ltsf_others/exchange_rate.parquet", ends=_shares, seasons=(1,), frequency="D"
    ),
    "traffic": lambda _: _elsewhere("package_sets").workload_set("traffic"),
    "pollution": lambda _: _elsewhere("package_sets").workload_set("pollution"),
    "housing": lambda _: _elsewhere("package_sets").housing(),
    "hobbies": lambda root: _elsewhere("intermittent").hobbies(root),
}
