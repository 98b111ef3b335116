"""The robustness gate applies these declared disturbances of past units."""

import numpy as np

from tasks.core.errors import ConfigError
from tasks.problems.base import Inputs

KINDS = ("noise", "missing", "shift")
SHIFTED_DAYS = 14


def disturb(kind: str, level: float, inputs: Inputs, seed: int) -> Inputs:
    """Return inputs with past units disturbed; the rest is untouched.

    noise: each day times exp(N(0, level)). missing: each day is lost (0 units, marked as not observed) with
    probability `level`. shift: the last 14 days times 1 + level. Raises ConfigError on another kind.
    """
    generator = np.random.default_rng(seed)
    units, observed = inputs["units"].copy(), inputs["observed"]
    match kind:
        case "noise":
            units *= np.exp(generator.normal(0, level, units.shape)).astype(np.float32)
        case "missing":
            lost = generator.random(units.shape) < level
            units, observed = np.where(lost, 0, units), np.where(lost, 0, observed)
        case "shift":
            units[:, -SHIFTED_DAYS:] *= 1 + level
        case _:
            raise ConfigError(f"gates.robustness.kind: unknown kind {kind!r}; there are: {', '.join(KINDS)}")
    return {**inputs, "units": units, "observed": observed}
