"""How cost grows, on numbers whose slopes are known."""

import pytest

from bench.curve import exponents


def test_slopes_over_all_sizes_and_between_the_two_largest() -> None:
    flat_then_steep = [{"rows": rows, "seconds": seconds} for rows, seconds in ((1, 1), (1000, 100), (10, 1), (100, 1))]
    found = exponents(flat_then_steep, "seconds")
    assert found["two largest"] == pytest.approx(2)
    # Least squares on x = 0, 1, 2, 3 and y = 0, 0, 0, 2: sum (x - 1.5) y / sum (x - 1.5)^2 = 3 / 5.
    assert found["all sizes"] == pytest.approx(0.6)
