"""Bands that hold too little or too much of the truth are refused, and chances that are not kept."""

import numpy as np
import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.gates.calibration import calibration, check_calibration
from tasks.gates.options import CalibrationGate
from tasks.problems import get_problem
from tasks.problems.base import Score
from tests.unit.problems.text import letters

BAND = CalibrationGate(coverage=(0.75, 0.85), pinball=0.25)
QUANTILES = get_problem(Spec(kind="forecasting", horizon=4, context=14))
LABELS = get_problem(Spec(**letters.OPTIONS))


def bands(width: float) -> Score:
    """Bands of normal values; of width 1 they hold four fifths."""
    truth = np.random.default_rng(1).normal(50, 10, (2000, 4))
    middle = np.full((2000, 4, 1), 50.0)
    half = width * np.full((2000, 4, 1), 12.8155)
    return QUANTILES.score(np.concatenate([middle - half, middle, middle + half], axis=2), truth)


def chances(sureness: float) -> Score:
    """Logits of rows whose chances are right at sureness 1."""
    random, count = np.random.default_rng(2), len(LABELS.output_names)
    logits = random.normal(0, 1, (3000, count))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    number = (random.random((3000, 1)) > shares.cumsum(axis=1)).sum(axis=1).clip(0, count - 1)
    return LABELS.score((sureness * logits).astype(np.float32), number)


@pytest.mark.parametrize(("width", "passes"), [(1.0, True), (0.5, False), (2.0, False)])
def test_a_band_of_half_or_double_the_width_is_refused(width: float, passes: bool) -> None:
    results = calibration("int8", bands(width), BAND)
    assert [result.gate for result in results] == ["calibration/coverage", "calibration/pinball"]
    assert results[0].passed is passes
    assert results[0].limit == (0.75 if width < 1 else 0.85)


@pytest.mark.parametrize(("sureness", "passes"), [(1.0, True), (4.0, False), (0.2, False)])
def test_overconfident_and_timid_chances_are_refused(sureness: float, passes: bool) -> None:
    (result,) = calibration("int8", chances(sureness), CalibrationGate(calibration_error=0.05))
    assert result.passed is passes and result.gate == "calibration/calibration_error"


@pytest.mark.parametrize("value", [np.nan, np.inf, None])
def test_what_was_not_measured_is_refused(value: float | None) -> None:
    metrics = {} if value is None else {"coverage": value, "pinball": value}
    assert not any(result.passed for result in calibration("int8", Score(np.ones(3), np.ones(3), metrics), BAND))


def test_a_limit_on_what_the_outputs_do_not_have_is_refused_before_anything_is_trained() -> None:
    check_calibration(None, LABELS.calibrated_by)
    check_calibration(BAND, QUANTILES.calibrated_by)
    with pytest.raises(
        ConfigError, match=r"gates\.calibration\.coverage: outputs of this problem have calibration_error"
    ):
        check_calibration(BAND, LABELS.calibrated_by)


@pytest.mark.parametrize("limits", [{}, {"coverage": (0.9, 0.8)}, {"coverage": (0.5, 1.2)}, {"pinball": 0}])
def test_limits_that_cannot_be_meant_are_refused(limits: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"coverage|pinball|name a limit"):
        CalibrationGate.model_validate(limits)
