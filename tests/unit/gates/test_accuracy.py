"""Known-bad candidates of the four accuracy rules."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.gates.accuracy import absolute, against_champion, against_naive, against_teacher, not_too_good
from tasks.gates.champion import Champion
from tasks.gates.options import AccuracyGate
from tasks.problems.base import Clusters, Score

RULE = AccuracyGate(limit=0.5, naive_margin=0.1, retention=1.02, champion_margin=0.02, resamples=200)
CLUSTERS = Clusters(np.repeat(np.arange(50), 4), np.zeros((200, 1), np.int64))


def score(error: float) -> Score:
    weight = np.linspace(1, 3, 200)
    return Score(error * weight, weight, {})


@pytest.mark.parametrize(("error", "passed"), [(0.499, True), (0.501, False), (float("nan"), False)])
def test_absolute(error: float, passed: bool) -> None:
    assert absolute("c", score(error), RULE).passed is passed


@pytest.mark.parametrize(("error", "passed"), [(0.359, True), (0.361, False)])
def test_naive_margin_of_ten_percent_below_an_error_of_0_4(error: float, passed: bool) -> None:
    result = against_naive("c", score(error), score(0.4), RULE)
    assert result.passed is passed
    assert result.limit == pytest.approx(0.36)


@pytest.mark.parametrize(("error", "passed"), [(0.305, True), (0.307, False)])
def test_retention_of_a_teacher_with_error_0_3(error: float, passed: bool) -> None:
    assert against_teacher("c", score(error), score(0.3), RULE).passed is passed


def test_unmeasurable_opponents_refuse() -> None:
    assert not against_naive("c", score(0.1), None, RULE).passed
    assert not against_teacher("c", score(0.1), None, RULE).passed
    assert not against_teacher("c", score(0.1), score(float("nan")), RULE).passed


@pytest.mark.parametrize("error", [0.1, 0.0])
def test_a_naive_error_of_zero_leaves_nothing_to_win(error: float) -> None:
    """A constant series: the gates refuse, with numbers that can be told, even a candidate that is as exact."""
    rule = RULE.model_copy(update={"naive_margin": 0.0, "max_gain": 1.0})
    gain = not_too_good("c", score(error), score(0.0), Champion(0), rule)
    assert (gain.passed, gain.observed) == (False, None) and "naive 0" in gain.note
    assert against_naive("c", score(error), score(0.0), rule).passed is (error == 0)


@pytest.mark.parametrize(("error", "passed"), [(0.2, True), (0.3, True), (0.303, True), (0.309, False)])
def test_champion_with_error_0_3_and_a_margin_of_two_percent(error: float, passed: bool) -> None:
    result = against_champion("c", score(error), Champion(3, score=score(0.3)), CLUSTERS, RULE, seed=1)
    assert result.passed is passed
    assert result.observed == pytest.approx(error / 0.3 - 1, abs=1e-9)


def test_an_equal_mean_with_wide_scatter_is_not_good_enough() -> None:
    champion = score(0.3)
    factor = np.repeat(np.where(np.arange(50) % 2, 0.2, 1.8), 4)
    result = against_champion(
        "c", Score(champion.loss * factor, champion.weight, {}), Champion(3, score=champion), CLUSTERS, RULE, 1
    )
    assert not result.passed
    assert result.observed is not None and result.observed > 0.1


def test_first_night_passes_with_a_note_and_a_broken_champion_refuses() -> None:
    first = against_champion("c", score(0.3), Champion(0), CLUSTERS, RULE, seed=1)
    assert (first.passed, first.note) == (True, "no champion yet")
    broken = against_champion("c", score(0.3), Champion(2, note="it has no model.onnx"), CLUSTERS, RULE, seed=1)
    assert (broken.passed, broken.note) == (False, "it has no model.onnx")


def test_a_champion_without_error_or_a_single_group_refuses() -> None:
    perfect = Champion(2, score=score(0.0))
    assert not against_champion("c", score(0.1), perfect, CLUSTERS, RULE, seed=1).passed
    one = Clusters(np.zeros(200, np.int64), CLUSTERS.times)
    alone = against_champion("c", score(0.3), Champion(2, score=score(0.3)), one, RULE, seed=1)
    assert not alone.passed
    assert "at least 2 groups or blocks of time" in alone.note


def test_a_candidate_with_a_leak_is_too_good_and_an_honest_one_is_not() -> None:
    """The target is noise around what can be known; the leak is the target itself, a day early."""
    random = np.random.default_rng(2)
    known = random.uniform(50, 150, 200)
    target = known + random.normal(0, 10, 200)

    def of(forecast: NDArray[np.float64]) -> Score:
        return Score(np.abs(target - forecast), target, {})

    naive, honest, leaking = of(np.full(200, 100.0)), of(known), of(0.95 * target + 0.05 * known)
    rule = RULE.model_copy(update={"max_gain": 0.8})
    first = Champion(0)
    assert not_too_good("c", honest, naive, first, rule).passed
    result = not_too_good("c", leaking, naive, first, rule)
    assert not result.passed
    assert result.observed is not None and result.observed > 0.9
    assert "too good to be true" in result.note and "raise gates.accuracy.max_gain" in result.note
    # Beside a champion a leak shows that the naive baseline would have let through.
    half = of(0.5 * target + 0.5 * known)
    loose = RULE.model_copy(update={"max_gain": 0.9})
    tight = RULE.model_copy(update={"max_gain": 0.45})
    assert not_too_good("c", half, naive, first, loose).passed
    assert not not_too_good("c", half, naive, Champion(3, score=honest), tight).passed
    assert not_too_good("c", honest, naive, Champion(3, score=honest), tight).passed


@pytest.mark.parametrize(("error", "passed"), [(0.201, True), (0.199, False), (0.0, False), (float("nan"), False)])
def test_half_of_a_naive_error_of_0_4_may_be_saved(error: float, passed: bool) -> None:
    rule = RULE.model_copy(update={"max_gain": 0.5})
    assert not_too_good("c", score(error), score(0.4), Champion(0), rule).passed is passed
    assert not not_too_good("c", score(error), None, Champion(0), rule).passed
