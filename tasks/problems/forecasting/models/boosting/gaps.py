"""Trees are told where a covariate has no value: networks take a stand-in and a flag beside it, trees take NaN."""

import torch
from torch import Tensor, nn

from tasks.problems.base import FeatureContract


class Gaps(nn.Module):
    """It knows which of a step's K covariates known ahead may be missing, and which flag says that one is.

    The flag follows its covariate, see `Options.covariate_features`.
    """

    flags: Tensor

    def __init__(self, contract: FeatureContract) -> None:
        super().__init__()
        features = list(contract.settings.get("future_features", ()))
        covariates = contract.settings["options"].get("covariates") or {}
        flags = torch.zeros(len(features), len(features))
        for column, covariate in covariates.items():
            if covariate.get("missing") and (flag := f"{column}_missing") in features:
                flags[features.index(flag), features.index(flag) - 1] = 1
        self.some = bool(flags.any())
        self.register_buffer("flags", flags, persistent=False)

    def fill(self, values: Tensor, covariates: Tensor, number: float) -> Tensor:
        """Return (n, steps, K): `values` (n, steps, K or 1), and `number` where the covariate (n, steps, K) is missing.

        Without covariates that may be missing the values are returned as they are.
        """
        if not self.some:
            return values
        return torch.where(covariates @ self.flags > 0, torch.tensor(float(number)), values)
