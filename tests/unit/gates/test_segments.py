"""A candidate that is better overall may still ruin one department."""

import numpy as np
import pytest

from tasks.core.errors import ConfigError
from tasks.gates.champion import Champion
from tasks.gates.options import SegmentGate
from tasks.gates.segments import by_segment, segment_gates
from tasks.problems.base import Score

DEPARTMENT = np.repeat(np.array(["dairy", "meat", "rare"]), [60, 30, 10])
RULE = SegmentGate(by=("department",), limit=0.1, min_rows=20)
ONES = np.ones(100)


def score(dairy: float, meat: float, rare: float) -> Score:
    return Score(np.repeat([dairy, meat, rare], [60, 30, 10]), ONES, {})


CHAMPION = Champion(1, score=score(0.3, 0.2, 0.5))


def test_one_department_20_percent_worse_is_refused_although_the_total_is_better() -> None:
    candidate = score(0.2, 0.24, 0.5)
    assert CHAMPION.score is not None and candidate.error < CHAMPION.score.error
    (result,) = segment_gates("c", candidate, CHAMPION, {"department": DEPARTMENT}, RULE)
    assert not result.passed
    assert result.observed == pytest.approx(0.2)
    assert result.note == "worst of 2: meat (0.24 against 0.2)"


def test_within_the_limit_passes_and_few_rows_do_not_count() -> None:
    (result,) = segment_gates("c", score(0.3, 0.21, 99.0), CHAMPION, {"department": DEPARTMENT}, RULE)
    assert result.passed
    assert result.observed == pytest.approx(0.05)


def test_a_nan_in_one_department_is_refused() -> None:
    (result,) = segment_gates("c", score(0.3, float("nan"), 0.5), CHAMPION, {"department": DEPARTMENT}, RULE)
    assert not result.passed


def test_a_champion_without_error_in_a_segment_is_only_matched_by_none() -> None:
    champion = Champion(1, score=score(0.0, 0.2, 0.5))
    assert segment_gates("c", score(0.0, 0.2, 0.5), champion, {"department": DEPARTMENT}, RULE)[0].passed
    assert not segment_gates("c", score(0.1, 0.2, 0.5), champion, {"department": DEPARTMENT}, RULE)[0].passed


def test_first_night_passes_and_an_unmeasured_champion_refuses() -> None:
    segments = {"department": DEPARTMENT}
    assert segment_gates("c", score(9, 9, 9), Champion(0), segments, RULE)[0].passed
    assert not segment_gates("c", score(0.1, 0.1, 0.1), Champion(4, note="gone"), segments, RULE)[0].passed


def test_no_segment_large_enough_refuses_even_on_the_first_night() -> None:
    rule = RULE.model_copy(update={"min_rows": 61})
    (result,) = segment_gates("c", score(0.1, 0.1, 0.1), Champion(0), {"department": DEPARTMENT}, rule)
    assert not result.passed
    assert result.note == "no department has 61 rows on the evaluation set; lower gates.segments.min_rows"


def test_segments_without_weight_have_no_error() -> None:
    empty = Score(ONES, np.repeat([1.0, 0.0, 1.0], [60, 30, 10]), {})
    assert [item.value for item in by_segment(empty, None, {"department": DEPARTMENT}, RULE)] == ["dairy"]


def test_unknown_column_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"gates.segments.by: no segment column 'department'; there are: store"):
        segment_gates("c", score(1, 1, 1), CHAMPION, {"store": DEPARTMENT}, RULE)
