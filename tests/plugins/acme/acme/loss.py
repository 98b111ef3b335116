"""A loss: how far a student's outputs are from its teacher's, less a gap that does not count."""

from pydantic import Field
from torch import Tensor

from tasks.problems.base import FeatureContract, SoftLoss, SoftRows


class Gap(SoftLoss):
    """Mean over outputs of max(|output - teacher| - `free`, 0)."""

    free: float = Field(default=0.0, ge=0)

    def bind(self, contract: FeatureContract) -> SoftRows:
        def rows(output: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
            return ((output - teacher).abs() - self.free).clamp(min=0).flatten(1).mean(dim=1)

        return rows
