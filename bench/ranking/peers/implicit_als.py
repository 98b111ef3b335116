"""Implicit's alternating least squares (Hu, Koren & Volinsky 2008): users are told from what they had before a row."""

from itertools import product
from time import process_time

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from bench.ranking.exchange import Codes, Rows
from bench.ranking.peers import Result, ndcg

FACTORS, REGULARISATION, WEIGHT, ITERATIONS = (32, 64, 128), (0.01, 1.0, 10.0), (1.0, 5.0), 15


def fit_predict(rows: Rows, seed: int) -> Result:
    """Choose factors, regularisation and the weight of an event on validation; then fit the best to the newest rows."""
    learned = _matrix(rows.learned, rows.starts, rows.size)
    valid = _matrix(rows.valid_had, rows.valid_bounds, rows.size)
    tried: dict[tuple[int, float, float], float] = {}
    for options in product(FACTORS, REGULARISATION, WEIGHT):
        tried[options] = ndcg(rows, _scores(_fitted(learned, options, seed), valid))
    best = max(tried, key=lambda options: tried[options])
    begun = process_time()
    model = _fitted(_matrix(rows.newest, rows.newest_starts, rows.size) if len(rows.newest) else learned, best, seed)
    seconds = process_time() - begun
    return Result(
        scores=_scores(model, _matrix(rows.test_had, rows.test_bounds, rows.size)),
        size=model.item_factors.nbytes,
        settings=dict(zip(("factors", "regularization", "alpha"), best, strict=True)) | {"iterations": ITERATIONS},
        tried={", ".join(f"{value:g}" for value in options): found for options, found in tried.items()},
        fit_seconds=seconds,
    )


def _matrix(had: Codes, bounds: Codes, size: int) -> csr_matrix:
    return csr_matrix((np.ones(len(had), np.float32), had - 1, bounds), shape=(len(bounds) - 1, size))


def _fitted(learned: csr_matrix, options: tuple[int, float, float], seed: int) -> AlternatingLeastSquares:
    factors, regularisation, alpha = options
    model = AlternatingLeastSquares(
        factors, regularisation, alpha, iterations=ITERATIONS, num_threads=1, random_state=seed
    )
    model.fit(learned, show_progress=False)
    return model


def _scores(model: AlternatingLeastSquares, had: csr_matrix) -> NDArray[np.float32]:
    users = model.recalculate_user(np.arange(had.shape[0]), had)
    scores: NDArray[np.float32] = (users @ model.item_factors.T).astype(np.float32)
    return scores
