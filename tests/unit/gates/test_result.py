"""A rule passes on a finite number within its limit, and on nothing else."""

import math

import pytest

from tasks.gates.result import at_most, refused


@pytest.mark.parametrize(("observed", "passed"), [(0.9, True), (1.0, True), (1.0000001, False), (-5.0, True)])
def test_at_most_compares_with_the_limit(observed: float, passed: bool) -> None:
    assert at_most("size", "fp32", observed, 1.0, "at most 1").passed is passed


@pytest.mark.parametrize("observed", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_a_finite_number_is_refused_with_a_reason(observed: float | None) -> None:
    result = at_most("size", "fp32", observed, 1.0, "at most 1", "context")
    assert not result.passed
    assert result.observed is None
    assert result.note == f"context; the measured value is {'missing' if observed is None else observed}"


def test_a_limit_that_is_not_a_number_refuses() -> None:
    result = at_most("accuracy/naive", "fp32", 0.1, math.nan, "below naive")
    assert not result.passed
    assert result.to_json()["limit"] is None


def test_json_is_rounded_and_complete() -> None:
    assert refused("parity", "fp16", "rule", "why", 0.0123456789).to_json() == {
        "gate": "parity",
        "candidate": "fp16",
        "passed": False,
        "observed": None,
        "limit": 0.0123457,
        "rule": "rule",
        "note": "why",
    }
