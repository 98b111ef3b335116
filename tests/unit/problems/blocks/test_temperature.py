"""Chances that are too sure, or not sure enough, are put right by one number."""

import numpy as np
import pytest

from tasks.problems.base import Floats
from tasks.problems.blocks.classes import calibration_error, probabilities
from tasks.problems.blocks.temperature import MOST, fit_temperature


def labelled(count: int, seed: int) -> tuple[Floats, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (count, 4)).astype(np.float32)
    chances = probabilities(logits)
    return logits, (random.random((count, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(0, 3)


@pytest.mark.parametrize("factor", [0.3, 5.0])
def test_the_temperature_undoes_a_factor_of_all_logits(factor: float) -> None:
    logits, number = labelled(4000, 1)
    found = fit_temperature(factor * logits, number)
    assert found is not None and found.temperature == pytest.approx(factor, rel=0.1)
    later, came = labelled(4000, 2)
    right = found.apply(factor * later)
    assert calibration_error(probabilities(right), came, np.ones(len(came))) < 0.03
    assert np.array_equal(right.argmax(axis=1), later.argmax(axis=1)), "the likeliest class stays"


def test_rows_count_by_their_weight() -> None:
    logits, number = labelled(2000, 3)
    doubled = np.concatenate([logits, 4 * logits])
    weight = np.concatenate([np.full(2000, 1e-9), np.ones(2000)])
    found = fit_temperature(doubled, np.concatenate([number, number]), weight)
    assert found is not None and found.temperature == pytest.approx(4, rel=0.1)


def test_what_cannot_be_fitted_is_left_out() -> None:
    logits, number = labelled(50, 4)
    assert fit_temperature(logits[:0], number[:0]) is None
    assert fit_temperature(logits[:1], number[:1]) is None
    assert fit_temperature(np.where(logits > 2, np.nan, logits), number) is None


def test_rows_without_an_error_make_no_chance_surer() -> None:
    logits, _ = labelled(50, 4)
    right = logits.argmax(axis=1)
    assert fit_temperature(logits, right) is None
    right[0] = logits[0].argmin()  # known to one half alone
    assert fit_temperature(logits, right) is None
    strong = fit_temperature(-logits, right)
    assert strong is not None and strong.temperature == pytest.approx(MOST, rel=0.01), "chances that mislead fade"


def test_few_rows_whose_halves_disagree_correct_nothing() -> None:
    logits, number = labelled(4000, 5)
    apart = np.concatenate([logits[:2000] * 4, logits[2000:] / 4])
    order = np.arange(4000).reshape(2, 2000).T.ravel()
    assert fit_temperature(apart[order], number[order]) is None
