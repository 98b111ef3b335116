"""What pydantic says, in one line that a person can act upon."""

import pytest
from pydantic import Field

from tasks.core.config import Frozen, Spec, explained, pick
from tasks.core.errors import ConfigError


class Options(Frozen):
    """Something with a number."""

    trees: int = Field(gt=0)
    leaves: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"trees": 0}, "problem.trees: Input should be greater than 0, got 0"),
        ({}, "problem.trees: Field required"),
        ({"trees": 1, "leaves": [2, "x"]}, r"problem.leaves.1: Input should be a valid integer.*, got 'x'"),
        ({"trees": 0, "bark": 1}, r"problem.trees: .*, got 0 \(and 1 more\)"),
        ({"trees": "a" * 500}, r"problem.trees: .*, got 'a{79}$"),
    ],
)
def test_the_line_names_the_field_the_fault_and_what_was_given(given: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{line}") as caught, explained("problem"):
        Options.model_validate(given)
    assert "\n" not in str(caught.value)


def test_files_kinds_notes_and_other_errors() -> None:
    with (
        pytest.raises(ConfigError, match=r"^run\.yaml: trees: Field required; there are: a$"),
        explained("run.yaml: ", note="; there are: a"),
    ):
        Options.model_validate({})
    with (
        pytest.raises(KeyError, match=r"x\.trees of kind forest: Field required"),
        explained("x", kind="forest", raises=KeyError),
    ):
        Options.model_validate({})
    with pytest.raises(ConfigError, match=r"^teachers\.kind: unknown kind 'bush'; there are: forest"):
        pick(Spec(kind="bush"), {"forest": Options}, "teachers")
