"""Drift on the page: what evaluation wrote, as a table with words, or why there is none."""

import json
from typing import Any

from tasks.reporting.collect import collect
from tasks.reporting.drift import drift_table
from tasks.reporting.page import render

LINES = [
    {"name": "price", "kind": "input", "psi": 0.31, "ks": 0.2, "level": "large"},
    {"name": "<store>", "kind": "input", "psi": 0.12, "ks": None, "level": "moderate"},
    {"name": "p50", "kind": "prediction", "psi": 0.004, "ks": 0.01, "level": "none"},
]


def page_of(night: Any, found: dict[str, Any]) -> str:
    material = night()
    path = material.artifacts / "evaluation" / "drift.json"
    path.write_text(json.dumps(found))
    return render(collect(material))


def test_every_line_is_shown_with_its_word_and_bar(night: Any) -> None:
    html = page_of(night, {"note": "", "lines": LINES})
    section = html[html.index('<section id="drift">') :].split("</section>")[0]
    assert section.index("price") < section.index("&lt;store&gt;") < section.index("p50")
    assert '<span class="chip bad">large</span>' in section
    assert '<span class="chip warn">moderate</span>' in section
    assert '<span class="chip good">none</span>' in section
    assert "width:62.0%" in section, "0.31 of a full bar at 0.5"
    assert "0.31" in section and "–" in section
    assert '<a href="#drift">' in html


def test_a_reason_stands_in_for_the_table(night: Any) -> None:
    html = page_of(night, {"note": "entry 3 has no profile", "lines": []})
    assert "entry 3 has no profile" in html and "Kolmogorov" not in html


def test_a_first_night_has_no_such_section(night: Any) -> None:
    assert 'id="drift"' not in page_of(night, {"note": "", "lines": []})
    assert 'id="drift"' not in render(collect(night()))
    assert drift_table(None) is None


def test_a_bar_is_never_longer_than_its_place() -> None:
    table = drift_table({"note": "", "lines": [{**LINES[0], "psi": 7.0}]})
    assert table is not None and table.rows[0].width == 100
