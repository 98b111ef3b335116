"""The robustness gate applies these declared disturbances of the features."""

import numpy as np
from numpy.typing import NDArray

from tasks.core.errors import ConfigError
from tasks.problems.base import Inputs

KINDS = ("noise", "missing", "unseen", "shift")


def disturb(kind: str, level: float, inputs: Inputs, seed: int, amounts: NDArray[np.int64]) -> Inputs:
    """Return disturbed copies; `amounts`: places of the features that are sums of money or pieces.

    noise: each amount times exp(N(0, level)). missing: each feature reads 0 and each category unknown with probability
    `level`. unseen: each category is one that training did not see with probability `level`. shift: all amounts times
    1 + level, as after a price rise. Raises ConfigError on another kind.
    """
    generator = np.random.default_rng(seed)
    result = {name: values.copy() for name, values in inputs.items()}
    numeric = result["numeric"]
    match kind:
        case "noise":
            numeric[:, amounts] *= np.exp(generator.normal(0, level, (len(numeric), len(amounts)))).astype(np.float32)
        case "missing":
            for values in result.values():
                values[generator.random(values.shape) < level] = 0
        case "unseen":
            if "codes" in result:
                result["codes"][generator.random(result["codes"].shape) < level] = 0
        case "shift":
            numeric[:, amounts] *= 1 + level
        case _:
            raise ConfigError(f"gates.robustness.kind: unknown kind {kind!r}; there are: {', '.join(KINDS)}")
    return result
