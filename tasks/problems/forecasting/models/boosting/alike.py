"""Trees see past steps that were like a step ahead: means of their values, by the covariates of both."""

import torch
from torch import Tensor, nn

from tasks.problems.forecasting.models.boosting.gaps import Gaps
from tasks.problems.forecasting.models.layout import Layout
from tasks.problems.forecasting.models.normalise import NEXT_TO_NONE

FARTHEST = 5.0
"""A covariate counts as at most so many deviations from its mean in the window."""
SAME_PLACE = 8.0
"""Steps of the same place in the season weigh so much more where the season counts, as a logarithm."""
LEAST_VARIANCE = 1e-6


class Alike(nn.Module):
    """It maps units, observed (n, context), past (n, context, …), future (n, horizon, K) to (n, horizon, width).

    For each covariate known ahead, what its line through the window says at the step's own value: of a flag that is the
    mean of the past steps with the same flag. It is NaN at a step without a value, and the line is through the others.
    And, over steps weighed by how near all of their covariates are (a kernel regression, Nadaraya 1964), mean and
    deviation; and the mean where the same place in the season counts as well, such as that of open days of this
    weekday. All of observed steps alone.
    """

    season: Tensor

    def __init__(self, layout: Layout, gaps: Gaps) -> None:
        super().__init__()
        self.known, self.gaps = layout.own, gaps
        self.width = layout.own + 3
        ahead, past = torch.arange(layout.horizon)[:, None], torch.arange(-layout.context, 0)[None, :]
        self.register_buffer("season", SAME_PLACE * ((ahead - past) % layout.season == 0).float(), persistent=False)

    def forward(self, units: Tensor, observed: Tensor, past: Tensor, future: Tensor) -> Tensor:
        before = past[:, :, : self.known]
        seen = self.gaps.fill(observed.unsqueeze(2), before, 0)
        count = seen.sum(dim=1, keepdim=True) + NEXT_TO_NONE
        usual = (before * seen).sum(dim=1, keepdim=True) / count
        apart = (before - usual) * seen
        variance = (apart * apart).sum(dim=1, keepdim=True) / count + LEAST_VARIANCE
        sold = units.unsqueeze(2)
        mean = (sold * seen).sum(dim=1, keepdim=True) / count
        slope = (apart * (sold - mean)).sum(dim=1, keepdim=True) / count / variance
        on_lines = mean + slope * (self.gaps.fill(future, future, torch.nan) - usual)
        deviation = variance.sqrt()
        here, there = (((given - usual) / deviation).clamp(-FARTHEST, FARTHEST) for given in (future, before))
        near = here @ there.transpose(1, 2) - 0.5 * (there * there).sum(dim=2).unsqueeze(1)
        values = torch.stack([units, units * units, observed], dim=2)
        first, second, weight = torch.split(torch.softmax(near, dim=2) @ values, 1, dim=2)
        alike = first / (weight + NEXT_TO_NONE)
        spread = (second / (weight + NEXT_TO_NONE) - alike * alike).clamp(min=0).sqrt()
        in_season, _, weight = torch.split(torch.softmax(near + self.season, dim=2) @ values, 1, dim=2)
        return torch.cat([on_lines, alike, spread, in_season / (weight + NEXT_TO_NONE)], dim=2)
