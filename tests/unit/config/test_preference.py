"""`prefer` stands for options in other places, and leaves those alone that a section states itself."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tasks.config.run import Run
from tasks.config.workload import Workload, load_workload
from tasks.core.config import explained
from tasks.core.errors import ConfigError
from tasks.gates.gate import Candidate
from tasks.gates.verdict import in_order_of_choice

PROJECT = Path(__file__).parents[3]
AS_OF = {"workload": "sales", "as_of": "2026-03-01", "champion": 0}


def section(**said: Any) -> dict[str, Any]:
    found = load_workload(PROJECT / "params.yaml", "sales").model_dump(mode="json")
    del found["gates"]["selection_tolerance"], found["recipes"]["smallest"]["search"]["minimise"]
    del found["recipes"]["smallest"]["search"]["limits"]["bytes"]
    return found | said


@pytest.mark.parametrize(
    ("prefer", "minimise", "tolerance", "most"),
    [("accuracy", "error", 0.0, 262144), ("bytes", "bytes", 0.005, None), ("latency", "latency", 0.005, None)],
)
def test_a_preference_is_spelled_out(prefer: str, minimise: str, tolerance: float, most: int | None) -> None:
    found = Workload.model_validate(section(prefer=prefer))
    search = found.recipes["smallest"].search
    assert search is not None and search.minimise == minimise and search.limits.bytes == most
    assert found.gates.selection_tolerance == tolerance
    assert "prefer" not in Run.model_validate(found.model_dump() | AS_OF).to_yaml()


def test_without_a_preference_and_with_options_of_its_own_a_section_means_what_it_says() -> None:
    given = section()
    before = deepcopy(given)
    assert Workload.model_validate(given).gates.selection_tolerance == 0.005
    given["gates"]["selection_tolerance"] = 0.02
    given["recipes"]["smallest"]["search"] |= {"minimise": "latency"}
    given["recipes"]["smallest"]["search"]["limits"]["bytes"] = 9000
    found = Workload.model_validate(given | {"prefer": "accuracy"})
    search = found.recipes["smallest"].search
    assert found.gates.selection_tolerance == 0.02
    assert search is not None and (search.minimise, search.limits.bytes) == ("latency", 9000)
    assert before["recipes"]["fp32"] == given["recipes"]["fp32"], "what is given is not changed"


def test_accuracy_tries_the_least_error_first_and_bytes_the_smallest_within_the_tolerance() -> None:
    candidates = [
        Candidate("small", b"1", {"valid_error": 0.502}), Candidate("large", b"123", {"valid_error": 0.5}),
        Candidate("middle", b"12", {"valid_error": 0.501}),
    ]  # fmt: skip
    first = {
        prefer: in_order_of_choice(
            candidates, Workload.model_validate(section(prefer=prefer)).gates.selection_tolerance
        )[0].name
        for prefer in ("accuracy", "bytes")
    }
    assert first == {"accuracy": "large", "bytes": "small"}


def test_a_preference_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"prefer: Input should be 'accuracy', 'bytes' or 'latency'"), explained(""):
        Workload.model_validate(section(prefer="speed"))
    with pytest.raises(ConfigError, match="prefer: "), explained(""):
        Workload.model_validate(section(prefer=["accuracy"]))
    with pytest.raises(ConfigError, match="recipes"), explained(""):
        Workload.model_validate(section(prefer="accuracy", recipes=3))
