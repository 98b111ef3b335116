"""Limits, and which of them stand in the way, on numbers that a person can check."""

import math

import pytest

from tasks.compression.options import Limits
from tasks.compression.search.limits import Bound, Measured, binding, bounds, violation

STUDENT = Measured(error=0.5, bytes=80_000, parameters=20_000, parity=0.0, latency_ratio=2.0)
ERROR, BYTES, LATENCY = (
    Bound("error", "error", 0.6),
    Bound("bytes", "bytes", 40_000),
    Bound("latency_ratio", "latency_ratio", 4.0),
)


def measured(error: float, size: int, latency_ratio: float = 1.0) -> Measured:
    return Measured(error, size, 20_000, 0.0, latency_ratio)


def test_retention_is_relative_to_the_student_and_what_is_left_out_does_not_bind() -> None:
    found = bounds(Limits(retention=1.1, bytes=40_000), STUDENT)
    assert [(bound.name, bound.quantity) for bound in found] == [("retention", "error"), ("bytes", "bytes")]
    assert [bound.most for bound in found] == pytest.approx([0.55, 40_000])


def test_violations_are_relative_and_add_up() -> None:
    limits = (ERROR, BYTES)
    assert violation(limits, measured(0.6, 40_000)) == 0
    assert violation(limits, measured(0.9, 50_000)) == pytest.approx(0.5 + 0.25)
    assert violation(limits, measured(0.1, 50_000)) == pytest.approx(0.25), "room on one side buys nothing on another"
    assert violation(limits, measured(math.nan, 10)) == math.inf


def test_the_limit_that_alone_would_have_to_give_way() -> None:
    (found,) = binding((ERROR, BYTES), [measured(0.5, 47_000), measured(0.55, 45_000), measured(0.7, 42_000)])
    assert (found.bound, found.nearest, found.alone) == (BYTES, 45_000, True)
    assert str(found) == "bytes (limit 40,000, nearest 45,000)"


def test_either_of_two_limits_can_give_way() -> None:
    found = binding((ERROR, BYTES, LATENCY), [measured(0.5, 50_000), measured(0.66, 30_000)])
    assert [(item.bound.name, item.nearest, item.alone) for item in found] == [
        ("error", 0.66, True),
        ("bytes", 50_000, True),
    ]


def test_limits_that_every_trial_breaks_are_named_together() -> None:
    trials = [measured(0.8, 50_000, 9.0), measured(0.7, 60_000)]
    found = binding((ERROR, BYTES, LATENCY), trials)
    assert [(item.bound.name, item.nearest, item.alone) for item in found] == [
        ("error", 0.7, False),
        ("bytes", 50_000, False),
    ]


def test_without_a_common_limit_those_of_the_nearest_trial_are_named() -> None:
    trials = [measured(0.8, 50_000), measured(0.5, 50_000, 9.0), measured(0.8, 30_000, 9.0)]
    assert [item.bound.name for item in binding((ERROR, BYTES, LATENCY), trials)] == ["error", "bytes"]


def test_a_clocks_number_stays_out_of_the_words() -> None:
    (found,) = binding((ERROR, LATENCY), [measured(0.5, 1, 7.25)])
    assert found.nearest == 7.25 and str(found) == "latency_ratio (limit 4)"
