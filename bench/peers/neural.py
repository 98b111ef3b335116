"""This trains neuralforecast's networks as users would: early stopping on validation, then a fit of that length.

Loss: quantiles (MQLoss) for the sets scored by them, squared error for those scored by MSE. Sets scored by MSE get no
covariates, as published figures have none; the others get all that is known ahead, the calendar, what is known of the
past and one-hot static columns, as far as a network takes such columns.
"""

import logging
import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import process_time
from typing import Any

import numpy as np
import polars as pl
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MSE, MQLoss

from bench.metrics import QUANTILES, Forecasts, score
from bench.peers.base import Result, Unsuitable
from bench.peers.table import calendar
from bench.sets import BenchSet, Floats

# The mean is the average of these, a Riemann sum of the quantile function.
GRID = tuple(level / 10 for level in range(1, 10))
CATEGORIES = 100  # a static column of more distinct values gets no one-hot columns
CHECK_EVERY, PATIENCE = 50, 4
CHECKED_WINDOWS = 150_000
NUMBERS_AT_ONCE, MOST_SERIES, WINDOWS = 20_000_000, 32, 256
CHUNK = 3_000_000  # forecast values held at a time as a table
MOST_TOGETHER = 1000  # series of one window of a network that takes all of them at once
# By window: the library's scaler, of target and covariates. By series: the target alone, over its mean size.
SCALINGS = {"wape": ("window", "series"), "wql": ("window", "series"), "mse": ("window", "none")}


@dataclass(frozen=True)
class Network:
    """A network has a model class, its own options, and the most steps it may train on a set.

    One that takes a window of all series at once (`together`) learns from `windows` of them in a step.
    """

    model: type[Any]
    options: Mapping[str, Any]
    max_steps: int
    windows: int = WINDOWS

    @property
    def together(self) -> bool:
        """Return whether a window is of all series."""
        return bool(self.model.MULTIVARIATE)


def fit_predict(data: BenchSet, seed: int, network: Network, chosen: Mapping[str, Any] | None = None) -> Result:
    """Choose the window scaling and the number of steps on the validation windows, unless they are given.

    Raises Unsuitable where a window of all series would be too large.
    """
    if network.together and len(data.series) > MOST_TOGETHER:
        raise Unsuitable(f"{data.name}: a window is of all {len(data.series)} series, more than {MOST_TOGETHER}")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    start = process_time()
    scaling, steps, tried = (chosen["scaling"], chosen["steps"], {}) if chosen else _tune(data, seed, network)
    tuned = process_time()
    panel = Panel(data, scaling)
    fitted = panel.fit(network, seed, steps, tune=False)
    done = process_time()
    forecasts = _forecasts(data, panel.forecast(fitted, data.origins.test))
    end = process_time()
    model = fitted.models[0]
    return Result(
        forecasts=forecasts,
        train_seconds=done - start,
        fit_seconds=done - tuned,
        predict_seconds=end - done,
        parameters=sum(weights.numel() for weights in model.parameters()),
        size=len(pickle.dumps({name: tensor.numpy() for name, tensor in model.state_dict().items()})),
        settings={
            "scaling": scaling,
            "steps": steps,
            "input_size": data.context,
            "windows": network.windows,
            **network.options,
        },
        tried=tried,
        single=None if network.together else panel.single(fitted),
    )


def _tune(data: BenchSet, seed: int, network: Network) -> tuple[str, int, dict[str, float]]:
    """Return the best scaling, its number of steps, and every scaling's error on validation."""
    tried: dict[str, float] = {}
    lengths: dict[str, int] = {}
    for scaling in SCALINGS[data.metric]:
        panel = Panel(data, scaling)
        fitted = panel.fit(network, seed, network.max_steps, tune=True)
        lengths[scaling] = min((float(loss), step) for step, loss in fitted.models[0].valid_trajectories)[1] + 1
        errors = score(data, _forecasts(data, panel.forecast(fitted, data.origins.valid)), "valid")
        tried[scaling] = errors["mse" if data.metric == "mse" else "wql"]
    scaling = min(tried, key=lambda name: tried[name])
    return scaling, lengths[scaling], tried


def _forecasts(data: BenchSet, outputs: Floats) -> Forecasts:
    if data.metric == "mse":
        return Forecasts(mean=outputs[..., 0])
    outputs = np.sort(outputs, axis=-1)
    if data.values.min() >= 0:
        outputs = np.maximum(outputs, 0)
    return Forecasts(outputs.mean(axis=-1), outputs[..., [GRID.index(level) for level in QUANTILES]])


class Panel:
    """A panel is a set as neuralforecast's long tables: numbered series and steps, a mask of observed values."""

    def __init__(self, data: BenchSet, scaling: str) -> None:
        self.data, self.scaling = data, scaling
        self.size = np.ones(len(data.series), np.float32)
        if scaling == "series":
            values, observed = data.history(data.origins.train_end)
            mean = np.abs(values).sum(axis=1) / np.maximum(observed.sum(axis=1), 1)
            self.size = np.where(mean > 0, mean, 1).astype(np.float32)
        self.known: dict[str, Floats] = {}
        self.static: dict[str, Floats] = {}
        self.past: dict[str, Floats] = {}
        if data.metric != "mse":
            for name, (length, column) in calendar(data).items():
                angle = 2 * math.pi * column / length
                self.known |= {f"{name}_sin": np.sin(angle)[None], f"{name}_cos": np.cos(angle)[None]}
            self.known |= dict(data.known)
            seen = slice(0, data.fit_end + 1)
            self.past = {
                name: (array - array[:, seen].mean()) / array[:, seen].std() for name, array in data.past.items()
            }
            for name, column in data.static.items():
                values = np.unique(column)
                if len(values) <= CATEGORIES:
                    self.static |= {f"{name}_{value}": (column == value).astype(np.float32) for value in values}

    def table(self, begin: int, end: int, series: slice = slice(None)) -> pl.DataFrame:
        """Return rows of the steps begin ... end - 1."""
        data = self.data
        which = np.arange(len(data.series))[series]
        shape = (len(which), end - begin)
        columns: dict[str, np.ndarray] = {
            "unique_id": np.repeat(which, shape[1]),
            "ds": np.tile(np.arange(begin, end), shape[0]),
            "y": (data.values[series, begin:end] / self.size[series, None]).ravel(),
            "available_mask": data.observed[series, begin:end].astype(np.float32).ravel(),
        }
        for name, array in {**self.known, **self.past}.items():
            part = array[series if len(array) > 1 else slice(None), begin:end]
            columns[name] = np.broadcast_to(np.nan_to_num(part), shape).ravel().astype(np.float32)
        return pl.DataFrame(columns)

    def statics(self) -> pl.DataFrame | None:
        """Return one row a series, if there are static columns."""
        if not self.static:
            return None
        return pl.DataFrame({"unique_id": np.arange(len(self.data.series)), **self.static})

    def fit(self, network: Network, seed: int, steps: int, *, tune: bool) -> NeuralForecast:
        """Train up to validation and watch its error (`tune`), or train `steps` steps on all up to `data.fit_end`."""
        data, origins = self.data, self.data.origins
        check = data.horizon
        if tune and len(data.series) * (origins.valid[-1] - origins.train_end) <= CHECKED_WINDOWS:
            check = origins.valid[-1] + data.horizon - origins.train_end
        channels = 2 + len(self.known) + len(self.past)
        numbers = data.values.shape[1] * (data.context + data.horizon) * channels
        own: dict[str, Any] = {"n_series": len(data.series)} if network.together else {}
        if self.known and network.model.EXOGENOUS_FUTR:
            own |= {"futr_exog_list": list(self.known)}
        if self.past and network.model.EXOGENOUS_HIST:
            own |= {"hist_exog_list": list(self.past)}
        if self.static and network.model.EXOGENOUS_STAT:
            own |= {"stat_exog_list": list(self.static)}
        model = network.model(
            h=data.horizon,
            input_size=data.context,
            loss=MSE() if data.metric == "mse" else MQLoss(quantiles=list(GRID)),
            max_steps=steps,
            val_check_steps=CHECK_EVERY if tune else steps,
            early_stop_patience_steps=PATIENCE if tune else -1,
            # A step cuts every window of its series before it samples some: long series must be few, and far apart.
            batch_size=len(data.series) if network.together else max(1, min(MOST_SERIES, NUMBERS_AT_ONCE // numbers)),
            step_size=1 if numbers <= NUMBERS_AT_ONCE else numbers // NUMBERS_AT_ONCE | 1,  # odd: it meets all hours
            windows_batch_size=network.windows,
            start_padding_enabled=True,
            scaler_type="standard" if self.scaling == "window" else "identity",
            random_seed=seed,
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
            **own,
            **network.options,
        )
        engine = NeuralForecast(models=[model], freq=1)
        end = origins.valid[-1] + data.horizon if tune else data.fit_end
        engine.fit(self.table(0, end + 1), static_df=self.statics(), val_size=check if tune else 0)
        return engine

    def forecast(self, engine: NeuralForecast, origins: tuple[int, ...]) -> Floats:
        """Return (W, N, horizon, outputs) for evenly spaced origins, a bounded number of windows at a time."""
        data = self.data
        apart = origins[1] - origins[0] if len(origins) > 1 else 1
        batch = max(1, CHUNK // (len(data.series) * data.horizon))
        return np.concatenate(
            [self._windows(engine, origins[begin : begin + batch], apart) for begin in range(0, len(origins), batch)]
        )

    def _windows(self, engine: NeuralForecast, origins: Sequence[int], apart: int) -> Floats:
        data = self.data
        table = self.table(max(0, origins[0] + 1 - data.context), origins[-1] + data.horizon + 1)
        length = origins[-1] - origins[0] + data.horizon
        output = engine.cross_validation(
            table, static_df=self.statics(), test_size=length, n_windows=None, step_size=apart, use_fitted=True
        ).sort("cutoff", "unique_id", "ds")
        columns = [name for name in output.columns if name not in {"unique_id", "ds", "cutoff", "y"}]
        shape = (len(origins), len(data.series), data.horizon, len(columns))
        forecasts: Floats = output.select(columns).to_numpy().astype(np.float32).reshape(shape)
        forecasts *= self.size[:, None, None]
        return forecasts

    def single(self, engine: NeuralForecast) -> Any:
        """Return a call of the network alone on one window of one series: no table, no scaling."""
        data, model = self.data, engine.models[0].eval()
        window = slice(data.origins.test[-1] + 1 - data.context, data.origins.test[-1] + 1)
        both = slice(window.start, window.stop + data.horizon)

        def covariates(columns: Mapping[str, Floats], steps: slice) -> torch.Tensor | None:
            return (
                torch.tensor(np.stack([array[0, steps] for array in columns.values()], -1)[None]) if columns else None
            )

        static = [column[0] for column in self.static.values()]
        batch = {
            "insample_y": torch.from_numpy(data.values[0, window].copy())[None, :, None],
            "insample_mask": torch.ones(1, data.context, 1),
            "futr_exog": covariates(self.known, both),
            "hist_exog": covariates(self.past, window),
            "stat_exog": torch.tensor([static]) if static else None,
        }

        def once() -> object:
            with torch.inference_mode():
                return model(batch)

        return once
