"""A look back takes coarser steps the older they are: the distant past matters as an average of some steps."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tasks.core.errors import ConfigError

Steps = Annotated[int, Field(gt=0)]
Resolutions = tuple[tuple[Steps, Steps], ...]
"""Each part of the window has (steps, steps per average), the newest part first; empty: every step by itself."""


class LookBack(nn.Module):
    """It maps (n, context) to (n, width): averages over each part's steps, oldest first as before.

    It has no weights. Input averaged at several scales: Challu et al., N-HiTS (2023, arXiv:2201.12886).

    Raises ConfigError on parts that do not make up the context.
    """

    def __init__(self, context: int, resolutions: Resolutions) -> None:
        super().__init__()
        parts = tuple(reversed(resolutions)) or ((context, 1),)
        total = sum(steps for steps, _ in parts)
        if total != context:
            raise ConfigError(
                f"model.resolutions: the parts have {total} steps, the context has {context}; make them the same"
            )
        if uneven := [part for part in parts if part[0] % part[1]]:
            steps, each = uneven[0]
            raise ConfigError(f"model.resolutions: {steps} steps cannot be averaged {each} by {each}; take a divisor")
        self.parts = parts
        self.width = sum(steps // each for steps, each in parts)

    def forward(self, units: Tensor) -> Tensor:
        if len(self.parts) == 1 and self.parts[0][1] == 1:
            return units
        found = torch.split(units, [steps for steps, _ in self.parts], dim=1)
        averages = [
            part.reshape(-1, steps // each, each).mean(2) if each > 1 else part
            for part, (steps, each) in zip(found, self.parts, strict=True)
        ]
        return torch.cat(averages, dim=1) if len(averages) > 1 else averages[0]

    def gathered(self, weight: Tensor) -> Tensor:
        """Return (outputs, context) weights of single steps as (outputs, width) weights of the averages: their sums."""
        found = torch.split(weight, [steps for steps, _ in self.parts], dim=1)
        sums = [
            part.reshape(-1, steps // each, each).sum(2) for part, (steps, each) in zip(found, self.parts, strict=True)
        ]
        return torch.cat(sums, dim=1)
