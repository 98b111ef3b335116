"""Known-bad candidates of the four accuracy rules."""

import numpy as np
import pytest

from tasks.config import AccuracyGate
from tasks.gates.accuracy import absolute, against_champion, against_naive, against_teacher
from tasks.gates.champion import Champion
from tasks.problems.base import Score

RULE = AccuracyGate(limit=0.5, naive_margin=0.1, retention=1.02, champion_margin=0.02, resamples=200)
GROUPS = np.repeat(np.arange(50), 4)


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


@pytest.mark.parametrize(("error", "passed"), [(0.2, True), (0.3, True), (0.303, True), (0.309, False)])
def test_champion_with_error_0_3_and_a_margin_of_two_percent(error: float, passed: bool) -> None:
    result = against_champion("c", score(error), Champion(3, score=score(0.3)), GROUPS, RULE, seed=1)
    assert result.passed is passed
    assert result.observed == pytest.approx(error / 0.3 - 1, abs=1e-9)


def test_an_equal_mean_with_wide_scatter_is_not_good_enough() -> None:
    champion = score(0.3)
    factor = np.repeat(np.where(np.arange(50) % 2, 0.2, 1.8), 4)
    result = against_champion(
        "c", Score(champion.loss * factor, champion.weight, {}), Champion(3, score=champion), GROUPS, RULE, 1
    )
    assert not result.passed
    assert result.observed is not None and result.observed > 0.1


def test_first_night_passes_with_a_note_and_a_broken_champion_refuses() -> None:
    first = against_champion("c", score(0.3), Champion(0), GROUPS, RULE, seed=1)
    assert (first.passed, first.note) == (True, "no champion yet")
    broken = against_champion("c", score(0.3), Champion(2, note="it has no model.onnx"), GROUPS, RULE, seed=1)
    assert (broken.passed, broken.note) == (False, "it has no model.onnx")


def test_a_champion_without_error_or_a_single_group_refuses() -> None:
    perfect = Champion(2, score=score(0.0))
    assert not against_champion("c", score(0.1), perfect, GROUPS, RULE, seed=1).passed
    alone = against_champion("c", score(0.3), Champion(2, score=score(0.3)), np.zeros(200, np.int64), RULE, seed=1)
    assert not alone.passed
    assert "at least 2 groups" in alone.note
