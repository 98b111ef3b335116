"""A search on the page: its trials, its limits, what it chose, and why it found nothing."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest

from tasks.reporting import charts
from tasks.reporting.collect import collect, search_page
from tasks.reporting.facts import Search, Trial
from tasks.reporting.page import render, size

SVG = "{http://www.w3.org/2000/svg}"
TRIALS = (
    Trial(0, "as it is", "none", 0.40, 80_000, 0, feasible=False, pruned=False),
    Trial(1, "fp16", "fp16", 0.40, 41_000, 0, feasible=False, pruned=False),
    Trial(2, "neurons keep 0.5 + fp16", "fp16", 0.42, 30_000, 3, feasible=True, pruned=False),
    Trial(3, "neurons keep 0.3", "none", 3.1, 29_000, 0, feasible=False, pruned=True),
    Trial(4, "neurons keep 0.2", "none", None, 20_000, 0, feasible=False, pruned=True),
)
FOUND = Search("smallest", "bytes", {"error": 0.43, "bytes": 40_000}, TRIALS, chosen=2)


def test_every_trial_is_a_dot_and_the_limits_are_lines() -> None:
    chart = charts.search(FOUND, "WAPE", size)
    assert chart is not None
    root = ET.fromstring(chart)
    dots = [dot for dot in root.iter(f"{SVG}circle") if dot.attrib["class"].startswith("trial")]
    styles = [dot.attrib["class"] for dot in dots]
    assert sorted(styles) == ["trial format-0", "trial format-0 pruned", "trial format-1", "trial format-1"]
    assert all(charts.TOP <= float(dot.attrib["cy"]) <= charts.HEIGHT - charts.BOTTOM for dot in dots)
    (halo,) = [dot for dot in root.iter(f"{SVG}circle") if dot.attrib["class"] == "halo"]
    (chosen,) = [dot for dot in dots if "trial 3:" in (dot.findtext(f"{SVG}title") or "")]
    assert (halo.attrib["cx"], halo.attrib["cy"]) == (chosen.attrib["cx"], chosen.attrib["cy"])
    lines = [line for line in root.iter(f"{SVG}line") if line.attrib["class"] == "limit"]
    upright, level = sorted(lines, key=lambda line: line.attrib["x1"] != line.attrib["x2"])
    assert float(chosen.attrib["cx"]) < float(upright.attrib["x1"]) and float(chosen.attrib["cy"]) > float(
        level.attrib["y1"]
    ), "the chosen one lies within both limits"


def test_a_far_limit_is_not_drawn_and_nothing_measured_gives_no_chart() -> None:
    for limit in (9.0, 1e-9):
        chart = charts.search(replace(FOUND, limits={"error": limit}), "WAPE", size)
        assert chart is not None and 'class="limit"' not in chart
    assert charts.search(replace(FOUND, trials=TRIALS[4:]), "WAPE", size) is None


@pytest.fixture
def searched(night: Any) -> Any:
    """A night whose recipe `chain` was a search: trials.json, and the times on the page."""
    material = night()
    told = {
        "minimise": "bytes",
        "limits": [
            {"name": "error", "quantity": "error", "most": 0.5},
            {"name": "retention", "quantity": "error", "most": 0.43},
            {"name": "bytes", "quantity": "bytes", "most": 40_000},
        ],
        "chosen": 1,
        "trials": [
            _row(0, [], "none", 0.40, 80_000, feasible=False),
            _row(1, [{"kind": "neurons", "keep": 0.5}, {"kind": "fp16"}], "fp16", 0.42, 30_000, feasible=True),
        ],
    }
    (material.artifacts / "candidates" / "chain" / "trials.json").write_text(json.dumps(told))
    times = {"trials": [{"number": 1, "ratio_p50": 1.25}]}
    return replace(material, pages={**material.pages, search_page("chain"): json.dumps(times).encode()})


def _row(
    number: int, steps: list[dict[str, Any]], numbers: str, error: float, size: int, *, feasible: bool
) -> dict[str, Any]:
    told = {"number": number, "steps": steps, "numbers": numbers, "error": error, "bytes": size, "feasible": feasible}
    return {**told, "state": "complete", "epochs": 3}


def test_trials_are_read_with_their_times(searched: Any) -> None:
    (found,) = collect(searched).searches
    assert (found.recipe, found.chosen, found.formats) == ("chain", 1, ("none", "fp16"))
    assert found.limits == {"error": 0.43, "bytes": 40_000}, "of two limits on the error the tighter one"
    assert [trial.steps for trial in found.trials] == ["as it is", "neurons keep 0.5 + fp16"]
    assert [trial.latency for trial in found.trials] == [None, 1.25]


def test_the_page_shows_the_search(searched: Any) -> None:
    html = render(collect(searched))
    assert 'id="search"' in html and "chain: least bytes with error at most 0.43, bytes at most 40 kB" in html
    assert html.count('<circle class="trial format-') == 2 + 2, "two trials, two formats in the legend"


def test_a_search_that_found_nothing_says_why_and_takes_nothing_else_down(searched: Any) -> None:
    folder = searched.artifacts / "candidates" / "chain"
    told = json.loads((folder / "trials.json").read_text())
    (folder / "trials.json").write_text(json.dumps({**told, "chosen": None}))
    about = {"recipe": "chain", "student": "student", "feasible": False, "steps": [], "reason": "all are over bytes"}
    (folder / "about.json").write_text(json.dumps(about))
    facts = collect(searched)
    assert "chain" not in [item.recipe for item in facts.compression]
    assert "✘ nothing found</span> all are over bytes." in render(facts)


def test_without_a_search_there_is_no_section(night: Any) -> None:
    assert 'id="search"' not in render(collect(night()))
