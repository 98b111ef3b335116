"""Latency as a ratio: a slow model is refused whatever the machine is doing."""

import pytest

from tasks.compression.timing import Latency
from tasks.gates.latency import latency_gates
from tasks.gates.options import LatencyGate

RULE = LatencyGate(batch=1, threads=1, rounds=10, max_p50_ratio=2.0, max_p95_ratio=3.0)


def measured(p50: float, p95: float, width: float = 0.0) -> Latency:
    return Latency(1, 50.0, 80.0, p50, p95, 25.0, (p50 - width, p50 + width), (p95 - width, p95 + width), 30)


@pytest.mark.parametrize(
    ("p50", "p95", "passed"), [(1.9, 2.9, [True, True]), (2.1, 2.9, [False, True]), (1.0, 3.1, [True, False])]
)
def test_both_percentiles_are_gated_and_no_clock_number_is_shown(p50: float, p95: float, passed: list[bool]) -> None:
    results = latency_gates("c", measured(p50, p95), RULE)
    assert [result.passed for result in results] == passed
    assert [result.observed for result in results] == [None, None]
    assert [result.limit for result in results] == [2.0, 3.0]


def test_what_could_not_be_measured_is_refused() -> None:
    results = latency_gates("c", None, RULE, "InvalidGraph: no")
    assert not any(result.passed for result in results)
    assert results[0].note == "InvalidGraph: no; the measured value is missing"


def test_nan_is_refused() -> None:
    assert not latency_gates("c", measured(float("nan"), 1.0), RULE)[0].passed


def test_a_ratio_below_the_limit_whose_interval_holds_the_limit_is_refused() -> None:
    results = latency_gates("c", measured(1.9, 1.9, width=0.2), RULE)
    assert [result.passed for result in results] == [False, True]
    assert "the ratio's interval still holds the limit" in results[0].note
    assert not any(digit in results[0].note for digit in "0123456789"), "a clock's numbers enter no verdict"


def test_a_latency_without_an_interval_is_refused() -> None:
    assert not any(result.passed for result in latency_gates("c", Latency(1, 1.0, 1.0, 0.1, 0.1, 1.0), RULE))
