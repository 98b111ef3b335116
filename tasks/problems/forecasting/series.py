"""These soft losses see a forecast as one path, not separate days (TimeDistill, Ni et al. 2025, arXiv:2502.15016)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from tasks.core.errors import ConfigError
from tasks.problems.base import FeatureContract, SoftLoss, SoftRows
from tasks.problems.forecasting.losses import PRIOR_LEVEL, Channels


class MultiScale(SoftLoss):
    """The loss is the mean over `scales` of |pool(f) - pool(t)| / scale; pool averages runs of so many steps.

    Days that are left over at the end are not pooled. The paper pools by strides of two and squares; absolute errors
    stand in the unit of the hard loss. Raises ConfigError from `bind` on a scale above the horizon.
    """

    scales: tuple[int, ...] = Field(default=(1, 2, 4), min_length=1)

    def bind(self, contract: FeatureContract) -> SoftRows:
        unit, horizon = Channels.of(contract).scale, contract.output_shape[0]
        if not all(1 <= scale <= horizon for scale in self.scales):
            raise ConfigError(f"terms of kind multi-scale: scales: expected 1 to the horizon, {horizon}")

        def rows(output: Tensor, teacher: Tensor, _target: Tensor) -> Tensor:
            gap = output - teacher
            parts = [_pool(gap, scale).abs().mean(dim=(1, 2)) for scale in self.scales]
            return torch.stack(parts).mean(dim=0) / unit

        return rows


class Frequency(SoftLoss):
    """The loss is KL(teacher || student) of softmax(A / temperature), A: |rFFT| amplitudes of the path less its mean.

    Amplitudes are in multiples of the teacher's mean amplitude of that row, because rows differ in volume, plus a tenth
    of the mean value, so that the ripples of a row that is as good as flat count for nothing. A small temperature looks
    at the strongest periods. Raises ConfigError from `bind` for a horizon below 4 steps.
    """

    temperature: float = Field(default=0.5, gt=0)

    def bind(self, contract: FeatureContract) -> SoftRows:
        unit, horizon = Channels.of(contract).scale, contract.output_shape[0]
        if horizon < 4:
            raise ConfigError(f"terms of kind frequency: a horizon of {horizon} has no two periods; leave it out")

        def rows(output: Tensor, teacher: Tensor, _target: Tensor) -> Tensor:
            ours, theirs = (torch.fft.rfft(values, dim=1)[:, 1:].abs() for values in (output, teacher))
            strength = self.temperature * (theirs.mean(dim=(1, 2), keepdim=True) + PRIOR_LEVEL * unit)
            student, reference = (functional.log_softmax(values / strength, dim=1) for values in (ours, theirs))
            return (reference.exp() * (reference - student)).sum(dim=1).mean(dim=1)

        return rows


def _pool(path: Tensor, scale: int) -> Tensor:
    """Return (n, horizon // scale, C) means of runs of `scale` steps."""
    runs = path.shape[1] // scale
    pooled: Tensor = path[:, : runs * scale].reshape(len(path), runs, scale, -1).mean(dim=2)
    return pooled


TERMS: dict[str, type[SoftLoss]] = {"multi-scale": MultiScale, "frequency": Frequency}
