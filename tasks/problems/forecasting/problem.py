"""The forecasting problem wires panel, windows, metrics and losses to the interface that all stages know."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.problems.base import (
    SCORING_BYTES,
    Correction,
    Dataset,
    Example,
    FeatureContract,
    Floats,
    HardRows,
    Inputs,
    Outcomes,
    Predict,
    Problem,
    Rows,
    Score,
    Since,
    Strategies,
    rows_within,
)
from tasks.problems.forecasting.afterwards import Naive, outcomes
from tasks.problems.forecasting.conformal import Conformal, fit
from tasks.problems.forecasting.covariates import KNOWN
from tasks.problems.forecasting.dataset import Windows, build_windows, load_windows
from tasks.problems.forecasting.disturbances import disturb
from tasks.problems.forecasting.metrics import naive_forecast, score
from tasks.problems.forecasting.options import parse_options
from tasks.problems.forecasting.panel import SERIES, build_panel, recent
from tasks.problems.forecasting.windows import UNKNOWN, draft_statistics, encode, gather, make_contract, phase_book
from tasks.tables.table import Column, TableContract, Tables

PAST_STEPS_SHOWN = 42
PLACES_SHOWN = 3
"""Numbers of pictures have so many decimal places, and more where values are below one."""
ABOUT = {"ahead": "known ahead", "past": "known up to as_of"}


class Forecasting(Problem):
    """Forecasting predicts quantiles of the units of many series, `horizon` steps ahead."""

    kind: ClassVar[str] = "forecasting"
    refits: ClassVar[bool] = True
    corrections: ClassVar[type[Correction] | None] = Conformal

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = parse_options(options)

    @property
    def primary_metric(self) -> str:
        return self.options.metric

    @property
    def output_names(self) -> tuple[str, ...]:
        return self.options.outputs

    @property
    def segment_columns(self) -> tuple[str, ...]:
        return self.options.static

    def tables(self) -> tuple[TableContract, ...]:
        options = self.options
        kind: Literal["date", "moment"] = "date" if options.step.whole_days else "moment"
        columns = [
            Column("date", kind, key=True, known_ahead=True, about="step"),
            *[
                Column(name, "string", key=True, known_ahead=True, about="identifier of the series")
                for name in options.series
            ],
            *[
                Column(name, "string", known_ahead=True, fixed=True, about="fixed by series")
                for name in options.static
                if name not in options.series
            ],
            Column(
                "units",
                "number",
                nullable=True,
                low=0 if options.positive else None,
                about="units of that step; null only after as_of",
            ),
        ]
        columns += [
            Column(name, "number", known_ahead=True, fixed=True, about="fixed by series") for name in options.numbers
        ]
        columns += [
            Column(
                name,
                "number",
                nullable=one.missing,
                known_ahead=one.known == "ahead",
                low=one.low,
                high=one.high,
                above=one.above,
                about=f"covariate, {ABOUT[one.known]}",
            )
            for known in KNOWN
            for name, one in options.covariates_known(known).items()
        ]
        columns += [
            Column(name, "string", nullable=one.missing, known_ahead=one.known == "ahead", about=ABOUT[one.known])
            for name, one in options.categories.items()
        ]
        about = "public holiday; without this column it is computed for problem.country"
        columns.append(Column("holiday", "boolean", required=False, known_ahead=True, about=about))
        step = options.frequency
        return (TableContract(tuple(columns), "date", "units", options.series, options.horizon, SERIES, step=step),)

    def draft_contract(self) -> FeatureContract:
        options = self.options
        books = {**phase_book(options), **dict.fromkeys(options.static, (UNKNOWN,))}
        return make_contract(options, books, draft_statistics(options))

    def features(self, tables: Tables, as_of: date) -> Dataset:
        return build_windows(build_panel(tables[SERIES], as_of, self.options), self.options)

    def load(self, folder: Path) -> Dataset:
        return load_windows(folder)

    def hard_loss(self, contract: FeatureContract) -> HardRows:
        from tasks.problems.forecasting.losses import hard_loss

        return hard_loss(contract)

    def strategies(self) -> Strategies:
        from tasks.problems.forecasting.augment import AUGMENT
        from tasks.problems.forecasting.series import TERMS
        from tasks.problems.forecasting.soft import SOFT

        return Strategies(SOFT, TERMS, AUGMENT)

    def naive(self, dataset: Dataset, rows: Rows) -> Floats:
        output = np.empty((len(rows), *dataset.contract.output_shape), np.float32)
        done = 0
        for inputs in dataset.batches(rows, ["units", "observed"]):
            part = naive_forecast(inputs["units"], self.options, inputs["observed"])
            output[done : done + len(part)] = part
            done += len(part)
        return output

    def score(self, output: Floats, target: NDArray[Any]) -> Score:
        return score(output, target, self.options)

    @property
    def calibrated_by(self) -> tuple[str, ...]:
        return ("coverage", "pinball") if len(self.options.quantiles) > 1 else ()

    def correction(self, dataset: Dataset, rows: Rows, output: Floats) -> Correction | None:
        if not self.options.calibrate:
            return None
        assert isinstance(dataset, Windows)
        return fit(output, dataset.target(rows), dataset.origins[rows], self.options)

    def ensemble(self, outputs: Iterable[Floats], weights: Sequence[float] | None = None) -> Floats:
        """Average quantiles level by level (Vincentization), which keeps their order."""
        total: Floats | None = None
        count = 0
        for count, output in enumerate(outputs, start=1):  # one at a time: the outputs for all rows are large
            part = output if weights is None else output * np.float32(weights[count - 1])
            total = np.array(part, dtype=np.float32) if total is None else np.add(total, part, out=total)
        if total is None:
            raise ValueError("an ensemble needs an output")
        return total / np.float32(count) if weights is None else total

    def corrupt(self, kind: str, level: float, inputs: Inputs, seed: int) -> Inputs:
        return disturb(kind, level, inputs, seed)

    def recent(self, tables: Tables, as_of: date, contract: FeatureContract) -> Tables:
        """Return the rows from `context` steps before the end of `as_of` on."""
        return {SERIES: recent(tables[SERIES], as_of, parse_options(contract.settings["options"]))}

    def predict(self, tables: Tables, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
        """Return columns date, series_id, the static columns, and one column an output (p10, p50, p90, mean).

        `series_id`: the series' columns in one (`name_of_series`).
        Every series with a row in the last `context` steps up to `as_of` gets a forecast: missing history counts as not
        observed, and a category that training did not see gets the code for unknown. `series_id` and the static columns
        are categorical.
        """
        options = parse_options(contract.settings["options"])
        steps = options.context + options.horizon
        panel = build_panel(recent(tables[SERIES], as_of, options), as_of, options, steps)
        lines = np.arange(len(panel.names), dtype=np.int64)
        origin = len(panel.times) - 1 - options.horizon
        codes = encode(panel, contract.categories)
        size = rows_within(contract.row_bytes(model.names), SCORING_BYTES)
        parts = (lines[start : start + size] for start in range(0, len(lines), size))
        output = np.concatenate(
            [
                model(gather(panel, codes, part, np.full_like(part, origin), options, model.names, contract.statistics))
                for part in parts
            ]
        )
        times = pl.Series("date", panel.times[origin + 1 :].astype("datetime64[m]").astype("datetime64[us]"))
        if panel.zone is not None:
            times = times.dt.replace_time_zone("UTC").dt.convert_time_zone(panel.zone)
        row, step = (
            pl.Series(values)
            for values in np.divmod(np.arange(output.shape[0] * options.horizon, dtype=np.uint32), options.horizon)
        )
        names = {"series_id": panel.names, **panel.static}
        return pl.DataFrame(
            {
                "date": (times.cast(pl.Date) if options.step.whole_days else times)[step],
                **{name: pl.Series(values).cast(pl.Categorical)[row] for name, values in names.items()},
                **{name: output[:, :, place].ravel() for place, name in enumerate(options.outputs)},
            }
        )

    def last_day(self, as_of: date) -> date:
        return self.options.step.day_ahead(as_of, self.options.horizon)

    def truth_by(self, as_of: date, days: int) -> date:
        """Return the day of the step by which as many steps are over; all of the horizon at least."""
        return max(self.last_day(as_of), self.options.step.day_ahead(as_of, days))

    def naive_predictions(self, since: Since, contract: FeatureContract) -> pl.DataFrame:
        return self.predict(since.now, since.as_of, contract, Naive(self.options))

    def outcomes(self, predictions: pl.DataFrame, since: Since, contract: FeatureContract) -> Outcomes:
        return outcomes(predictions, since, self.options)

    def examples(self, dataset: Dataset, rows: Rows, outputs: Mapping[str, Floats], count: int) -> list[Example]:
        """Show the series of largest, median … smallest volume at the newest origin among `rows`.

        The band (`low`, `high`) is that of the first of `outputs`.
        """
        assert isinstance(dataset, Windows)
        newest = np.flatnonzero(dataset.origins[rows] == dataset.origins[rows].max())
        actual = dataset.target(rows[newest])
        ranked = np.argsort(-np.nansum(actual, axis=1), kind="stable")
        chosen = ranked[np.unique(np.linspace(0, len(ranked) - 1, min(count, len(ranked))).astype(int))]
        past = dataset.inputs(rows[newest[chosen]], ["units"])["units"][:, -PAST_STEPS_SHOWN:]
        return [
            self._example(dataset, rows, outputs, int(newest[place]), past[number], actual[place])
            for number, place in enumerate(chosen.tolist())
        ]

    def _example(
        self, dataset: Windows, rows: Rows, outputs: Mapping[str, Floats], row: int, past: Floats, actual: Floats
    ) -> Example:
        origin = int(dataset.origins[rows[row]])
        times = [dataset.panel.time(origin + step) for step in range(1, self.options.horizon + 1)]
        dates = tuple((time.date() if self.options.step.whole_days else time).isoformat() for time in times)
        band = next(iter(outputs.values()))[row]

        places = max(PLACES_SHOWN, PLACES_SHOWN - math.floor(math.log10(dataset.contract.statistics["mean_units"])))

        def line(values: Floats) -> tuple[float, ...]:
            return tuple(round(float(value), places) for value in values)

        return Example(
            title=str(dataset.panel.names[dataset.lines[rows[row]]]),
            dates=dates,
            past=line(past),
            actual=tuple(value if math.isfinite(value) else None for value in line(actual)),
            curves={name: line(output[row, :, self.options.median]) for name, output in outputs.items()},
            low=line(band[:, 0]),
            high=line(band[:, len(self.options.quantiles) - 1]),
        )
