"""The labels of a time axis are readable however few steps lie ahead."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from tasks.reporting import charts
from tasks.reporting.facts import Picture

SVG = "{http://www.w3.org/2000/svg}"
WIDE = 6.2


@pytest.mark.parametrize("ahead", [1, 2, 5, 28])
@pytest.mark.parametrize("label", ["2026-11-{:02}", "2026-11-{:02}T04:00:00+01:00"])
def test_no_label_lies_on_another_or_beyond_the_chart(ahead: int, label: str) -> None:
    labels = tuple(label.format(day + 1) for day in range(ahead))
    drawn = (0.01,) * ahead
    chart = charts.forecast(Picture("dax", labels, (0.02,) * 42, drawn, {"candidate": drawn}, drawn, drawn))
    assert chart is not None
    spans, told = [], ""
    for text in ET.fromstring(chart).iter(f"{SVG}text"):
        if float(text.attrib["y"]) > charts.HEIGHT - charts.BOTTOM + 10:
            at, wide = float(text.attrib["x"]), WIDE * len(text.text or "")
            told += text.text or ""
            spans.append((at - wide, at) if text.attrib["text-anchor"] == "end" else (at, at + wide))
    spans.sort()
    assert "42 steps before" in told and all(name[:16].replace("T", " ") in told for name in (labels[0], labels[-1]))
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert spans[0][0] >= 0 and spans[-1][1] <= charts.WIDTH
