"""These strategies make further training windows, with labels that need no further run of the teacher."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.problems.base import Augment, FeatureContract, Floats, Labelled


class Jitter(Augment):
    """Jitter adds N(0, level) to observed past values, in multiples of the window's mean |value|; labels stay.

    The teacher has labelled the clean window: Noisy Student (Xie et al. 2020, arXiv:1911.04252).
    """

    keeps_label: ClassVar[bool] = True

    level: float = Field(default=0.1, gt=0)

    def apply(self, batch: Labelled, contract: FeatureContract, rng: np.random.Generator) -> Labelled:
        values, observed = batch.inputs["units"], batch.inputs["observed"]
        size = np.abs(values).sum(axis=1, keepdims=True) / np.maximum(observed.sum(axis=1, keepdims=True), 1)
        values = values + self.level * size * observed * rng.standard_normal(values.shape, dtype=np.float32)
        if contract.settings["options"].get("positive", True):
            np.maximum(values, 0, out=values)
        return Labelled({**batch.inputs, "units": values}, batch.target, batch.soft)


class Scaling(Augment):
    """Scaling multiplies the window, its target and its soft target by one factor, log-uniform in 1/factor … factor.

    Magnitude scaling (Um et al. 2017, arXiv:1706.00527). The teacher's outputs scale with its window but for the small
    part that its scale feature has, so its label is scaled alike.
    """

    factor: float = Field(default=2.0, gt=1)

    def apply(self, batch: Labelled, contract: FeatureContract, rng: np.random.Generator) -> Labelled:
        values, limit = batch.inputs["units"], np.log(self.factor)
        factor: Floats = np.exp(rng.uniform(-limit, limit, len(values))).astype(np.float32)
        soft = None if batch.soft is None else batch.soft * factor[:, None, None]
        inputs = {**batch.inputs, "units": values * factor[:, None]}
        return Labelled(inputs, batch.target * factor[:, None], soft)


class Mixup(Augment):
    """Mixup returns lambda * window + (1 - lambda) * another one of the batch, targets and soft targets alike.

    lambda is drawn from Beta(concentration, concentration), the larger share first; codes, which cannot be mixed, are
    those of the larger share. Zhang et al. 2018 (arXiv:1710.09412); interpolated soft targets as in MixKD's cheap form
    (Liang et al. 2021, arXiv:2011.00593).
    """

    concentration: float = Field(default=0.2, gt=0)

    def apply(self, batch: Labelled, contract: FeatureContract, rng: np.random.Generator) -> Labelled:
        count = len(batch.target)
        share = rng.beta(self.concentration, self.concentration, count).astype(np.float32)
        share, other = np.maximum(share, 1 - share), rng.permutation(count)

        def mixed(values: NDArray[np.float32]) -> NDArray[np.float32]:
            weight = share.reshape(-1, *[1] * (values.ndim - 1))
            result: NDArray[np.float32] = weight * values + (1 - weight) * values[other]
            return result

        inputs = {
            name: mixed(values) if np.issubdtype(values.dtype, np.floating) else values
            for name, values in batch.inputs.items()
        }
        return Labelled(inputs, mixed(batch.target), None if batch.soft is None else mixed(batch.soft))


AUGMENT: dict[str, type[Augment]] = {"jitter": Jitter, "scaling": Scaling, "mixup": Mixup}
