"""Trees see a window as one line for each future step, all values in multiples of the window's scale."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.boosting.alike import Alike
from tasks.problems.forecasting.models.boosting.gaps import Gaps
from tasks.problems.forecasting.models.inputs import ALL_INPUTS, STUDENT_INPUTS
from tasks.problems.forecasting.models.layout import Layout
from tasks.problems.forecasting.models.normalise import WindowNorm
from tasks.problems.forecasting.models.standard import Standard

SEASONS = 8
STEPS = 4096


class FeatureOptions(Frozen):
    """`lags`: the newest values that are features. `spans`: further numbers of newest steps of which the mean is one.

    `extremes`: the least and the greatest value of the window. `seasons`: further lengths of which the same place is
    looked at, such as the day of hours whose season is a week. `past`: the covariates of past steps are seen too, as
    what steps of alike ones were. `newest`: of covariates that only the past knows, the values of the newest step.
    `normalise`: what windows are measured by, where it is not what the problem says; `none`: by one number for all.
    """

    lags: int = Field(default=3, gt=0)
    spans: tuple[PositiveInt, ...] = ()
    extremes: bool = False
    seasons: tuple[PositiveInt, ...] = ()
    past: bool = False
    newest: bool = False
    normalise: Literal["scale", "standard", "last", "volatility", "none"] | None = None


class WindowFeatures(nn.Module):
    """WindowFeatures maps the contract's inputs to (n, horizon, width).

    Of the window: its last `lags` values, means over one, two, four seasons, `spans` and all of it, spread, share of
    zeros, logarithm of its scale, with `extremes` its least and greatest value, with `newest` the covariates of the
    past at the last step. Of the step: the values of the same place in up to eight past seasons, and in those of each
    further length of `seasons`, their means, known covariates, calendar, distance, place in the season. And the codes
    of static columns, as numbers. With `past` also what past steps of alike covariates were (`Alike`). A step that was
    not observed is NaN and counts in no mean, and a covariate that is missing is NaN, whatever stands in for it.
    All are rounded to multiples of 1/4096: what differs by less, such as the mean of a standardised window from 0, is
    noise that trees would split at, and that ONNX Runtime has otherwise.
    """

    places: Tensor
    distance: Tensor

    def __init__(self, contract: FeatureContract, options: FeatureOptions) -> None:
        super().__init__()
        layout = Layout.of(contract)
        newest = options.newest and layout.behind > 0
        self.uses = ALL_INPUTS if options.past or newest else (*STUDENT_INPUTS, "calendar")
        self.gaps = Gaps(contract)
        self.alike = Alike(layout, self.gaps) if options.past else None
        self.season, self.context, self.horizon = layout.season, layout.context, layout.horizon
        self.norm = WindowNorm(contract, options.normalise)
        self.standard = Standard(contract, self.uses)
        each = [_places(layout, season) for season in (layout.season, *options.seasons)]
        self.counts = [places.shape[1] for places in each]
        self.register_buffer("places", torch.cat(each, dim=1).flatten(), persistent=False)
        self.register_buffer(
            "distance", torch.arange(layout.horizon, dtype=torch.float32)[None, :, None], persistent=False
        )
        self.spans = sorted(
            {min(span * max(layout.season, 7), layout.context) for span in (1, 2, 4)}
            | {min(span, layout.context) for span in options.spans}
            | {layout.context}
        )
        self.extremes = options.extremes
        self.newest = slice(layout.own, layout.own + layout.behind) if newest else None
        statics = contract.inputs["static"][1][0]
        self.lags = min(options.lags, layout.context)
        of_window = self.lags + len(self.spans) + 2 + self.norm.told + 2 * options.extremes + layout.behind * newest
        of_step = sum(self.counts) + len(self.counts) + layout.known + 2
        self.width = of_window + of_step + statics - 1 + (self.alike.width if self.alike else 0)

    def forward(self, *inputs: Tensor) -> Tensor:
        values, observed, future, static, *past, calendar = self.standard(*inputs)
        centre, scale = self.norm(values, observed)
        units = self.norm.apply_to(values, observed, centre, scale)
        told = torch.where(observed > 0, units, torch.tensor(float("nan")))
        means = [_mean(units[:, -span:], observed[:, -span:]) for span in self.spans]
        spread = _mean((units - _mean(units, observed)) ** 2, observed).sqrt()
        zeros = _mean((values == 0).float(), observed)
        codes = static[:, 1:].float()
        levels = [self.norm.levels(values, observed, scale)]
        if self.extremes:
            levels += [
                _extreme(units, observed, torch.amin, torch.inf),
                _extreme(units, observed, torch.amax, -torch.inf),
            ]
        if self.newest is not None:
            levels.append(past[0][:, -1, self.newest])
        window = torch.cat([told[:, -self.lags :], *means, spread, zeros, *levels, codes], dim=1)
        same, placed, seen = (self._same_place(each) for each in (told, units, observed))
        parted = zip(torch.split(placed, self.counts, dim=2), torch.split(seen, self.counts, dim=2), strict=True)
        usual = [_mean(part, flags) for part, flags in parted]
        repeated = window.unsqueeze(1) + torch.zeros_like(same[:, :, :1])
        distance = self.distance + torch.zeros_like(same[:, :, :1])
        phase = torch.remainder(static[:, :1].float().unsqueeze(2) + self.distance, float(self.season))
        known = self.gaps.fill(future, future, torch.nan)
        parts = [repeated, same, *usual, known, calendar, distance, phase]
        if self.alike is not None:
            parts.append(self.alike(units, observed, past[0], future))
        return torch.round(torch.cat(parts, dim=2) * STEPS) / STEPS

    def _same_place(self, window: Tensor) -> Tensor:
        """Return (n, horizon, places) of a window (n, context)."""
        return window[:, self.places].reshape(-1, self.horizon, sum(self.counts))


def _mean(values: Tensor, observed: Tensor) -> Tensor:
    """Return the mean over the last axis of what was observed, kept as an axis; NaN where nothing was."""
    return (values * observed).sum(dim=-1, keepdim=True) / observed.sum(dim=-1, keepdim=True)


def _extreme(values: Tensor, observed: Tensor, which: Callable[..., Tensor], without: float) -> Tensor:
    """Return the least or greatest of what was observed, kept as an axis; NaN where nothing was."""
    found = which(torch.where(observed > 0, values, torch.tensor(without)), dim=-1, keepdim=True)
    return torch.where(found.isfinite(), found, torch.tensor(float("nan")))


def _places(layout: Layout, season: int) -> Tensor:
    """Return (horizon, seasons) where in the window each step's place in up to eight past seasons is."""
    count = max(1, min(SEASONS, layout.context // season))
    step = torch.arange(layout.horizon)[:, None] % season
    places: Tensor = (layout.context + step - season * torch.arange(1, count + 1)[None, :]).clamp(min=0)
    return places
