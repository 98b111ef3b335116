"""Answers must stay varied: a model that says the same to all may have an error as good as another's."""

import numpy as np
import pytest

from tasks.gates.champion import Champion
from tasks.gates.diversity import diversity
from tasks.gates.options import DiversityGate
from tasks.problems.base import Score

GATE = DiversityGate(share=0.8, least=0.1)


def score(coverage: float) -> Score:
    return Score(np.ones(3), np.ones(3), {"coverage": coverage})


@pytest.mark.parametrize(
    ("mine", "theirs", "passes"),
    [(0.5, None, True), (0.05, None, False), (0.41, 0.5, True), (0.39, 0.5, False), (np.nan, 0.5, False),
     (0.5, np.nan, False)],
)  # fmt: skip
def test_coverage_may_not_fall_far_below_the_champion_s(mine: float, theirs: float | None, passes: bool) -> None:
    champion = Champion(0) if theirs is None else Champion(3, score=score(theirs))
    assert diversity("int8", score(mine), champion, GATE).passed is passes


def test_what_was_not_measured_is_refused() -> None:
    found = diversity("int8", Score(np.ones(3), np.ones(3), {"mrr": 1.0}), Champion(0), GATE)
    assert not found.passed and "coverage was not measured; there are: mrr" in found.note
    absent = Champion(3, note="the champion (ledger entry 3) cannot be compared")
    assert not diversity("int8", score(0.5), absent, GATE).passed
