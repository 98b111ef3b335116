"""The robustness gate applies these declared disturbances of labelled rows."""

import numpy as np

from tasks.core.errors import ConfigError
from tasks.problems.base import Inputs

KINDS = ("noise", "missing", "unseen", "shift")


def disturb(kind: str, level: float, inputs: Inputs, seed: int, numbers: int) -> Inputs:
    """Return disturbed copies; the first `numbers` features are those that are no flags and no dates.

    noise: each known number plus N(0, level) times its deviation among these rows. missing: each number is not known
    and each category null with probability `level`. unseen: each category is one that training did not see with
    probability `level`. shift: all numbers plus `level` deviations. Raises ConfigError on another kind.
    """
    generator = np.random.default_rng(seed)
    result = {name: values.copy() for name, values in inputs.items()}
    if kind not in KINDS:
        raise ConfigError(f"gates.robustness.kind: unknown kind {kind!r}; there are: {', '.join(KINDS)}")
    if kind in ("missing", "unseen") and "codes" in result:
        codes = result["codes"]
        codes[generator.random(codes.shape) < level] = 0
    if kind == "unseen" or "numeric" not in result:
        return result
    numeric, observed = result["numeric"], result["observed"]
    if kind == "missing":
        gone = generator.random(numeric.shape) < level
        numeric[gone] = observed[gone] = 0
        return result
    known = observed[:, :numbers]
    count = np.maximum(known.sum(axis=0), 1)
    centre = (numeric[:, :numbers] * known).sum(axis=0, dtype=np.float64) / count
    deviation = np.sqrt((((numeric[:, :numbers] - centre) ** 2) * known).sum(axis=0) / count)
    move = generator.normal(0, level, known.shape) if kind == "noise" else np.full(known.shape, level)
    numeric[:, :numbers] += (move * deviation * known).astype(np.float32)
    return result
