"""Trees see a window as one line for each future step, all values in multiples of the window's scale."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.boosting.alike import Alike
from tasks.problems.forecasting.models.boosting.gaps import Gaps
from tasks.problems.forecasting.models.inputs import ALL_INPUTS, STUDENT_INPUTS
from tasks.problems.forecasting.models.layout import Layout
from tasks.problems.forecasting.models.normalise import WindowNorm
from tasks.problems.forecasting.models.standard import Standard

SEASONS = 8
STEPS = 4096


class WindowFeatures(nn.Module):
    """WindowFeatures maps the contract's inputs to (n, horizon, width).

    Of the window: its last `lags` values, means over one, two, four seasons and all of it, spread, share of zeros,
    logarithm of its scale. Of the step: the values of the same place in up to eight past seasons, and in those of each
    further length of `seasons`, their means, known covariates, calendar, distance, place in the season. And the codes
    of static columns, as numbers. With `past`, which is then the last but one of the inputs, also what past steps of
    alike covariates were (`Alike`). A step that was not observed is NaN and counts in no mean, and a covariate that is
    missing is NaN, whatever stands in for it.
    All are rounded to multiples of 1/4096: what differs by less, such as the mean of a standardised window from 0, is
    noise that trees would split at, and that ONNX Runtime has otherwise.
    """

    places: Tensor
    distance: Tensor

    def __init__(
        self,
        contract: FeatureContract,
        *,
        past: bool = False,
        seasons: Sequence[int] = (),
        lags: int = 3,
        normalise: str | None = None,
    ) -> None:
        super().__init__()
        layout = Layout.of(contract)
        self.uses = ALL_INPUTS if past else (*STUDENT_INPUTS, "calendar")
        self.gaps = Gaps(contract)
        self.alike = Alike(layout, self.gaps) if past else None
        self.season, self.context, self.horizon = layout.season, layout.context, layout.horizon
        self.norm = WindowNorm(contract, normalise)
        self.standard = Standard(contract, self.uses)
        each = [_places(layout, season) for season in (layout.season, *seasons)]
        self.counts = [places.shape[1] for places in each]
        self.register_buffer("places", torch.cat(each, dim=1).flatten(), persistent=False)
        self.register_buffer(
            "distance", torch.arange(layout.horizon, dtype=torch.float32)[None, :, None], persistent=False
        )
        self.spans = sorted(
            {min(span * max(layout.season, 7), layout.context) for span in (1, 2, 4)} | {layout.context}
        )
        statics = contract.inputs["static"][1][0]
        self.lags = min(lags, layout.context)
        of_window = self.lags + len(self.spans) + 2 + self.norm.told
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
        window = torch.cat(
            [told[:, -self.lags :], *means, spread, zeros, self.norm.levels(values, observed, scale), codes], dim=1
        )
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


def _places(layout: Layout, season: int) -> Tensor:
    """Return (horizon, seasons) where in the window each step's place in up to eight past seasons is."""
    count = max(1, min(SEASONS, layout.context // season))
    step = torch.arange(layout.horizon)[:, None] % season
    places: Tensor = (layout.context + step - season * torch.arange(1, count + 1)[None, :]).clamp(min=0)
    return places
