"""Each window is normalised: a model sees values that no longer tell how large the series is."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.layout import Layout

PRIOR_WEIGHT = 0.1
FLOOR = 0.01
NEXT_TO_NONE = 1e-9
"""It is added to the number of observed steps: any but none stays as it is in float32, none can be divided by."""


class WindowNorm(nn.Module):
    """It maps values and observed flags (n, context) to centre (n, 1), scale (n, 1) > 0, both in units.

    All over observed steps only, and of the window's newest steps where `normalise_steps` says how many:
    `scale`: centre 0; scale the mean of |y|, with one pseudo-step of a tenth of the overall mean.
    `standard`: centre the mean; scale the standard deviation (RevIN without its affine part, Kim et al. 2022).
    `last`: centre the last observed value; scale as `standard` (as in NLinear, Zeng et al. 2023, arXiv:2205.13504).
    `volatility`: centre 0; scale the mean of two means of |y| in which newer steps weigh more (RiskMetrics, J.P. Morgan
    1996), with half-lives of a season and of the context (short and long run, as in Corsi 2009), plus a hundredth of
    the overall mean of |y|. Models see sizes without signs, and beside the scale how much of it is the short run's.
    `none`, of trees alone: centre 0; scale the overall mean of |y|. A level of its own says what comes next.
    A hundredth of the overall mean of |y| is added to the deviation, in squares, so that a constant window has a scale.
    Sums are products with ones: in the graph one Gemm instead of a sum and an addition that is twice as slow.
    """

    prior: Tensor
    one: Tensor
    least: Tensor
    ones: Tensor
    steps: Tensor
    weights: Tensor
    base: Tensor

    def __init__(self, contract: FeatureContract, normalise: str | None = None) -> None:
        """Normalise as the contract says, or as `normalise` does."""
        super().__init__()
        layout = Layout.of(contract)
        layout = replace(layout, normalise=normalise or layout.normalise)
        self.kind, self.centred, self.positive = layout.normalise, layout.centred, layout.positive
        self.magnitude = layout.magnitude
        self.floor = (FLOOR * layout.magnitude) ** 2
        self.register_buffer("prior", torch.tensor([PRIOR_WEIGHT * layout.magnitude]), persistent=False)
        self.register_buffer("one", torch.ones(1), persistent=False)
        self.register_buffer("least", torch.tensor([NEXT_TO_NONE]), persistent=False)
        self.register_buffer("steps", torch.arange(1.0, layout.context + 1), persistent=False)
        ones = (self.steps > layout.context - layout.recent).float().unsqueeze(1)
        self.register_buffer("ones", ones, persistent=False)
        self.told = max(1, len(layout.half_lives))
        if layout.half_lives:
            age = torch.arange(layout.context - 1.0, -1, -1).unsqueeze(1)
            weights = 0.5 ** (age / torch.tensor(layout.half_lives))
            self.register_buffer("weights", weights, persistent=False)
            self.register_buffer("base", torch.tensor([FLOOR * layout.magnitude]), persistent=False)

    def forward(self, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        if self.kind == "volatility":
            scale = self._volatilities(values, observed).mean(dim=1, keepdim=True)
            return torch.zeros_like(scale), scale
        if self.kind == "none":
            scale = torch.full_like(values[:, :1], self.magnitude)
            return torch.zeros_like(scale), scale
        if not self.centred:
            scale = self._mean(values, observed)
            return torch.zeros_like(scale), scale
        seen = values * observed
        count = torch.addmm(self.least, observed, self.ones)
        mean = seen @ self.ones / count
        apart = _around(mean, values, observed)
        scale = torch.sqrt((apart * apart) @ self.ones / count + self.floor)
        if self.kind == "standard":
            return mean, scale
        last = (observed * self.steps).argmax(dim=1, keepdim=True)
        return seen.gather(1, last), scale

    def _mean(self, values: Tensor, observed: Tensor) -> Tensor:
        size = values if self.positive else values.abs()
        total = torch.addmm(self.prior, size, self.ones)
        return total / torch.addmm(self.one, observed, self.ones)

    def _volatilities(self, values: Tensor, observed: Tensor) -> Tensor:
        """Return (n, half-lives) means of |y| of observed steps, each step weighing by its age."""
        return values.abs() @ self.weights / (observed @ self.weights + self.least) + self.base

    def levels(self, values: Tensor, observed: Tensor, scale: Tensor) -> Tensor:
        """Return (n, told) what models are told of a window's size: the logarithm of the scale, and shares of it."""
        if self.kind == "none":
            return torch.log(self._mean(values, observed))
        if self.told == 1:
            return torch.log(scale)
        return torch.cat([torch.log(scale), self._volatilities(values, observed)[:, :-1] / scale], dim=1)

    def apply_to(self, values: Tensor, observed: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
        """Return (n, context) values in multiples of the scale around the centre; unobserved steps are 0.

        Of a volatility these are sizes around the scale.
        """
        if self.kind == "volatility":
            return _around(scale, values.abs(), observed) / scale
        if not self.centred:
            return values / scale  # what was not observed is 0 already
        return _around(centre, values, observed) / scale


def _around(centre: Tensor, values: Tensor, observed: Tensor) -> Tensor:
    """Return observed values around a centre, for deviation and model: ONNX Runtime computes equal ones once."""
    return (values - centre) * observed
