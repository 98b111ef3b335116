"""A network takes covariates of any range: the file gets raw numbers, and normalises them itself."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tasks.problems.base import FeatureContract

NAMES = {"future": ("future_features",), "past": ("future_features", "past_features", "calendar_features")}
"""These settings of the contract name the features of an input, side by side."""


class Standard(nn.Module):
    """It maps inputs in the order of `uses` to the same: features with a deviation become (x - mean) / deviation.

    Mean and deviation are those of the training rows, constants of the graph. Without deviations nothing is added.
    """

    def __init__(self, contract: FeatureContract, uses: Sequence[str]) -> None:
        super().__init__()
        self.uses = tuple(uses)
        means, deviations = contract.statistics.get("means", {}), contract.statistics.get("deviations", {})
        self.changed = []
        for name in (name for name in NAMES if name in uses):
            features = [feature for part in NAMES[name] for feature in contract.settings.get(part, ())]
            if deviations.keys() & set(features):
                self.changed.append(name)
                factor = torch.tensor([1 / deviations.get(feature, 1.0) for feature in features])
                shift = torch.tensor([means[feature] if feature in deviations else 0.0 for feature in features])
                self.register_buffer(f"{name}_factor", factor, persistent=False)
                self.register_buffer(f"{name}_mean", shift, persistent=False)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            (values - self.get_buffer(f"{name}_mean")) * self.get_buffer(f"{name}_factor")
            if name in self.changed
            else values
            for name, values in zip(self.uses, inputs, strict=True)
        )
