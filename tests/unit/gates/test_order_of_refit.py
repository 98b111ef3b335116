"""A candidate that was made again is judged just before the one that it was made of."""

from tasks.gates.gate import Candidate
from tasks.gates.verdict import in_order_of_choice

SMALL = Candidate("small", b"1", {"valid_error": 0.5})
LARGE = Candidate("large", b"333", {"valid_error": 0.499})
WORSE = Candidate("worse", b"", {"valid_error": 0.6})


def names(*candidates: Candidate) -> list[str]:
    return [candidate.name for candidate in in_order_of_choice(candidates, 0.01)]


def test_it_stands_before_the_one_that_was_chosen_whatever_its_bytes_and_error() -> None:
    again = Candidate("newest", b"55555", {"valid_error": 0.7, "of": "small"})
    assert names(WORSE, LARGE, SMALL, again) == ["newest", "small", "large", "worse"]


def test_its_error_moves_no_bound() -> None:
    again = Candidate("newest", b"22", {"valid_error": 0.1, "of": "small"})
    assert names(LARGE, SMALL, again) == ["newest", "small", "large"]


def test_one_that_was_made_of_nothing_known_comes_last() -> None:
    assert names(Candidate("newest", b"1", {"valid_error": 0.1, "of": "gone"}), SMALL) == ["small", "newest"]
