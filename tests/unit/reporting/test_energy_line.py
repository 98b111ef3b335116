"""The report's line of energy."""

from datetime import date

import pytest

from tasks.reporting.facts import Headline, ReportFacts, StageRecord
from tasks.reporting.page import energy_line


@pytest.mark.parametrize(
    ("hows", "line"),
    [
        (("measured", "measured"), "Energy: 2 Wh, by the processor's own count."),
        (("measured", "estimated"), "Energy: 2 Wh, estimated from CPU time."),
    ],
)
def test_it_says_how_it_is_known(hows: tuple[str, str], line: str) -> None:
    stages = tuple(StageRecord(f"teach@{how}", "done", joules=3600.0, energy=how) for how in hows)
    assert energy_line(facts(stages)) == line


def test_a_run_of_before_it_was_counted_has_none() -> None:
    assert energy_line(facts((StageRecord("teach", "done", seconds=3.0),))) == ""


def facts(stages: tuple[StageRecord, ...]) -> ReportFacts:
    return ReportFacts("sales", "Sales", date(2026, 1, 1), Headline("promoted"), stages=stages)
