"""Trees see a window as one line for each future step, all values in multiples of the window's scale."""

import torch
from torch import Tensor, nn

from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.boosting.alike import Alike
from tasks.problems.forecasting.models.boosting.gaps import Gaps
from tasks.problems.forecasting.models.inputs import ALL_INPUTS, STUDENT_INPUTS
from tasks.problems.forecasting.models.layout import Layout
from tasks.problems.forecasting.models.normalise import WindowNorm
from tasks.problems.forecasting.models.standard import Standard

LAST = 3
SEASONS = 8
STEPS = 4096


class WindowFeatures(nn.Module):
    """WindowFeatures maps the contract's inputs to (n, horizon, width).

    Of the window: its last values, means over one, two, four seasons and all of it, spread, share of zeros, logarithm
    of its scale. Of the step: the values of the same place in up to eight past seasons, their mean, known covariates,
    calendar, distance, place in the season. And the codes of static columns, as numbers. With `past`, which is then the
    last but one of the inputs, also what past steps of alike covariates were (`Alike`). A covariate that is missing is
    NaN, whatever stands in for it.
    All are rounded to multiples of 1/4096: what differs by less, such as the mean of a standardised window from 0, is
    noise that trees would split at, and that ONNX Runtime has otherwise.
    """

    places: Tensor
    distance: Tensor

    def __init__(self, contract: FeatureContract, *, past: bool = False) -> None:
        super().__init__()
        layout = Layout.of(contract)
        self.uses = ALL_INPUTS if past else (*STUDENT_INPUTS, "calendar")
        self.gaps = Gaps(contract)
        self.alike = Alike(layout, self.gaps) if past else None
        self.season, self.context, self.horizon = layout.season, layout.context, layout.horizon
        self.norm = WindowNorm(contract)
        self.standard = Standard(contract, self.uses)
        seasons = max(1, min(SEASONS, layout.context // layout.season))
        step = torch.arange(layout.horizon)[:, None] % layout.season
        back = layout.season * torch.arange(1, seasons + 1)[None, :]
        places = (layout.context + step - back).clamp(min=0)
        self.register_buffer("places", places.flatten(), persistent=False)
        self.register_buffer(
            "distance", torch.arange(layout.horizon, dtype=torch.float32)[None, :, None], persistent=False
        )
        self.seasons = seasons
        self.spans = sorted(
            {min(span * max(layout.season, 7), layout.context) for span in (1, 2, 4)} | {layout.context}
        )
        statics = contract.inputs["static"][1][0]
        of_window = min(LAST, layout.context) + len(self.spans) + 3
        self.width = of_window + seasons + 1 + layout.known + 2 + statics - 1 + (self.alike.width if self.alike else 0)

    def forward(self, *inputs: Tensor) -> Tensor:
        values, observed, future, static, *past, calendar = self.standard(*inputs)
        centre, scale = self.norm(values, observed)
        units = self.norm.apply_to(values, observed, centre, scale)
        means = [units[:, -span:].mean(dim=1, keepdim=True) for span in self.spans]
        spread = ((units - units.mean(dim=1, keepdim=True)) ** 2).mean(dim=1, keepdim=True).sqrt()
        zeros = (values == 0).float().mean(dim=1, keepdim=True)
        codes = static[:, 1:].float()
        window = torch.cat([units[:, -LAST:], *means, spread, zeros, torch.log(scale), codes], dim=1)
        same = units[:, self.places].reshape(-1, self.horizon, self.seasons)
        repeated = window.unsqueeze(1) + torch.zeros_like(same[:, :, :1])
        distance = self.distance + torch.zeros_like(same[:, :, :1])
        phase = torch.remainder(static[:, :1].float().unsqueeze(2) + self.distance, float(self.season))
        known = self.gaps.fill(future, future, torch.nan)
        parts = [repeated, same, same.mean(dim=2, keepdim=True), known, calendar, distance, phase]
        if self.alike is not None:
            parts.append(self.alike(units, observed, past[0], future))
        return torch.round(torch.cat(parts, dim=2) * STEPS) / STEPS
