"""TSMixer (Chen et al. 2023, arXiv:2303.06053) by neuralforecast; it mixes a set's series, so they must be few."""

from neuralforecast.models import TSMixer

from bench.peers import neural
from bench.peers.base import Result, Unsuitable
from bench.sets import BenchSet

MOST_SERIES = 50
NETWORK = neural.Network(
    TSMixer,
    {"n_block": 2, "ff_dim": 64, "dropout": 0.5, "learning_rate": 1e-3, "batch_size": 32},
    max_steps=800,
    multivariate=True,
)


def fit_predict(data: BenchSet, seed: int) -> Result:
    """See `neural.fit_predict`. Raises Unsuitable on a set of many series, or with covariates."""
    if len(data.series) > MOST_SERIES or data.metric != "mse":
        raise Unsuitable(
            f"{data.name}: tsmixer takes sets of at most {MOST_SERIES} series without covariates; try tide"
        )
    return neural.fit_predict(data, seed, NETWORK)
