"""This peer is PatchTST (Nie et al. 2023, arXiv:2211.14730) by neuralforecast; it takes no covariates."""

from collections.abc import Mapping
from typing import Any

from neuralforecast.models import PatchTST

from bench.peers import neural
from bench.peers.base import Result
from bench.sets import BenchSet

NETWORK = neural.Network(
    PatchTST,
    {"hidden_size": 64, "n_heads": 8, "linear_hidden_size": 128, "learning_rate": 1e-3},
    max_steps=800,
)


def fit_predict(data: BenchSet, seed: int, chosen: Mapping[str, Any] | None = None) -> Result:
    """See `neural.fit_predict`."""
    return neural.fit_predict(data, seed, NETWORK, chosen)
