"""The page as people get it."""

import json
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from typing import Any

import pytest

from tasks.reporting import page
from tasks.reporting.collect import collect
from tasks.reporting.facts import (
    Fold,
    Headline,
    LossCurve,
    ModelFacts,
    ReportFacts,
    Rule,
    Segment,
)
from tasks.reporting.page import render


class Outline(HTMLParser):
    """Visible text in order, and every attribute."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.silent = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.silent = tag in ("style", "title", "script")
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self.silent = False

    def handle_data(self, data: str) -> None:
        if data.strip() and not self.silent:
            self.texts.append(" ".join(data.split()))


def test_a_step_is_shown_with_its_time_and_the_students(night: Any) -> None:
    steps = [{"step": "student", "p50_us": 33.25}, {"step": "fp16", "p50_us": 31.75}]
    times = {("compress@fp16", "compress@fp16.latency.json"): json.dumps({"steps": steps}).encode()}
    texts = Outline(render(collect(night(pages=times)))).texts
    assert texts.index("33.2 µs") == texts.index("31.8 µs") + 1


def test_page_loads_nothing(night: Any) -> None:
    html = render(collect(night()))
    loaded = [(tag, value) for tag, name, value in Outline(html).attributes if name in ("src", "href") and value]
    assert loaded and all(tag == "a" and value.startswith("#") for tag, value in loaded)
    assert "url(" not in html and "@import" not in html and "<script" not in html
    addresses = set(re.findall(r"https?://[^\"' <]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a name, nothing is fetched


def test_verdict_comes_before_anything_else(night: Any) -> None:
    texts = Outline(render(collect(night()))).texts
    assert texts[:3] == ["✔", "Promoted", "fp16 passes all 10 gates and is not worse than ledger entry 3"]
    assert "Retail sales, 28 days ahead" in texts[:6] and "2026-11-20" in texts[:8] and "night-1" in texts[:14]


def test_every_gate_of_every_candidate_appears_winner_first(night: Any) -> None:
    facts = collect(night())
    texts = Outline(render(facts)).texts
    assert facts.gates[0].candidate == "fp16"
    for gate in ("runs", "accuracy/naive", "accuracy/champion", "segments/department", "size", "robustness/noise"):
        assert texts.count(gate) == 7
    assert "✘ fails 4 of 10" in texts and "✔ passes all 10" in texts
    assert texts.index("fp16 (the winner)") < texts.index("int8-static")


def test_key_numbers_give_proportions(night: Any) -> None:
    error, file, parameters, latency = page.key_numbers(collect(night()))
    assert (error.value, file.value, parameters.value, latency.value) == ("0.4213", "41.9 kB", "19,884", "18.4 µs")
    assert error.lines[1] == "0.739× naive (−26.9% to −25.3%)"
    assert file.lines == ("70× smaller than teacher",)
    assert latency.lines == ("201× faster than teacher",)  # members one after the other: 2210 + 1480 µs


def test_student_and_twin_are_told_apart(night: Any) -> None:
    assert page.twin_line(collect(night())) == (
        "student went on: validation WAPE 0.401, alpha 0.5; −2.0% against twin (0.409, alpha 1)"
    )


def test_values_are_escaped(night: Any) -> None:
    html = render(replace(collect(night()), title='<img src=x onerror="1">', notes=("a <b>note</b>",)))
    assert "<script>alert" not in html and "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<img" not in html and "a &lt;b&gt;note&lt;/b&gt;" in html


def test_failed_validation_names_column_rule_count_and_rows(failed_validation: Any) -> None:
    texts = Outline(render(collect(failed_validation))).texts
    assert texts[1] == "Stopped at validate"
    assert texts[2].startswith("1 of 3 expectations failed; units: values at least 0")
    at = texts.index("Failed expectations")
    assert texts[at : at + 5] == [
        "Failed expectations",
        "✘ fail",
        "units",
        ": values at least 0",
        "expected 0 rows, observed 41, 41 failing",
    ]
    assert "367/GROCERY" in texts and "-14.0" in texts and "Gates" not in texts
    assert any(text.startswith("Did not run: features, teach@lstm") for text in texts)


def test_empty_facts_make_a_page() -> None:
    html = render(
        ReportFacts("sales", "Retail sales", date(2026, 11, 20), Headline("stopped", "no stage has left a result"))
    )
    assert Outline(html).texts[1] == "Stopped"


def test_numbers_that_are_none_or_nan_are_dashes(night: Any) -> None:
    nan = float("nan")
    facts = replace(
        collect(night()),
        models=(ModelFacts("fp16", "candidate", nan, None, nan, None, nan, {"pinball": None}),),
        segments=(Segment("store", "1", None, nan, None, nan),),
        losses=(LossCurve("lstm", (Fold((nan, 0.4), (None, 0.5), best=0),)),),
    )
    html = render(facts)
    assert "nan" not in html.lower().split("</style>")[1]
    assert "None" not in html


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("promoted", "Promoted"),
        ("rejected", "Rejected"),
        ("unchanged", "Unchanged"),
        ("superseded", "Superseded"),
        ("held", "Held"),
        ("dry-run", "Dry run"),
    ],
)
def test_every_outcome_has_words(outcome: Any, words: str) -> None:
    html = render(ReportFacts("sales", "Retail sales", date(2026, 11, 20), Headline(outcome, "why")))
    assert Outline(html).texts[1:3] == [words, "why"]


def test_a_run_without_a_winner_says_so(night: Any) -> None:
    facts = collect(night())
    broken = tuple(
        replace(table, winner=False, rules=(Rule("runs", "runs", None, None, False),)) for table in facts.gates
    )
    models = tuple(replace(model, winner=False) for model in facts.models)
    texts = Outline(render(replace(facts, gates=broken, models=models))).texts
    assert "fp16 (first in order of choice)" in texts
    assert any("no candidate passed" in text for text in texts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (page.size(812), "812 B"),
        (page.size(2948211), "2.95 MB"),
        (page.size(None), "–"),
        (page.micros(3690), "3.69 ms"),
        (page.seconds(61.24), "61.2 s"),
        (page.seconds(190), "3 min 10 s"),
        (page.number(0.000312345), "0.0003123"),
        (page.number(float("inf")), "–"),
        (page.percent(-0.0115), "−1.1%"),
        (page.observed(262144, "size"), "262 kB"),
    ],
)
def test_numbers_read_well(text: str, expected: str) -> None:
    assert text == expected


def test_page_stays_small(night: Any) -> None:
    assert len(render(collect(night())).encode()) < 120_000
