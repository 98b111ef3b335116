"""Charts are valid XML and survive odd numbers."""

import xml.etree.ElementTree as ET

import pytest

from tasks.reporting import charts
from tasks.reporting.facts import Fold, LossCurve, ModelFacts, Picture
from tasks.reporting.page import size

NAN = float("nan")
SVG = "{http://www.w3.org/2000/svg}"


def paths(svg: str, style: str) -> list[str]:
    found = ET.fromstring(svg).iter(f"{SVG}path")
    return [path.attrib["d"] for path in found if path.attrib["class"] == style]


def picture(**parts: object) -> Picture:
    defaults: dict[str, object] = {
        "title": '<script>"&',
        "labels": ("2026-11-20", "2026-11-21", "2026-11-22"),
        "past": (1.0, 2.0, None),
        "actual": (2.0, 3.0, 1.0),
        "curves": {"candidate": (2.0, NAN, 2.0), "teacher": (1.0, 1.0, 1.0)},
        "low": (1.0, None, 1.0),
        "high": (3.0, 3.0, 3.0),
    }
    return Picture(**{**defaults, **parts})  # type: ignore[arg-type]


def test_forecast_breaks_where_numbers_are_missing() -> None:
    chart = charts.forecast(picture())
    assert chart is not None
    (candidate,) = paths(chart, "candidate")
    assert candidate.count("M") == 2 and "nan" not in chart
    assert len(paths(chart, "band")) == 1 and len(paths(chart, "past")) == 1
    assert ET.fromstring(chart).attrib["aria-label"].startswith('<script>"&:')


def test_nothing_to_draw_gives_no_chart() -> None:
    assert charts.forecast(picture(past=(), actual=(), curves={}, low=(), high=(), labels=())) is None
    assert charts.bars(picture(past=(), actual=(NAN,), curves={})) is None
    assert charts.losses(LossCurve("lstm", ())) is None
    assert charts.pareto([ModelFacts("fp32", "candidate", 0.4, 100)], "WAPE", size) is None


def test_bars_draw_every_known_value() -> None:
    chart = charts.bars(picture(past=(), labels=("none", "low", "high")))
    assert chart is not None
    bars = list(ET.fromstring(chart).iter(f"{SVG}rect"))
    assert [bar.attrib["class"] for bar in bars].count("actual") == 3
    assert [bar.attrib["class"] for bar in bars].count("candidate") == 2  # one is NaN


def test_losses_draw_each_fold_and_mark_the_best_epoch() -> None:
    folds = (Fold((1.0, 0.5), (0.6, 0.4), best=1), Fold((1.1, NAN), (0.7, 0.5), best=7))
    chart = charts.losses(LossCurve("lstm", folds))
    assert chart is not None
    assert len(paths(chart, "train")) == len(paths(chart, "valid")) == 2
    assert len(list(ET.fromstring(chart).iter(f"{SVG}circle"))) == 1


def test_pareto_front_and_outlier() -> None:
    models = [
        ModelFacts("small", "candidate", 0.45, 30_000, winner=True),
        ModelFacts("large", "candidate", 0.40, 90_000),
        ModelFacts("worse", "candidate", 0.46, 95_000),
        ModelFacts("broken", "candidate", 3.21, 20_000),
        ModelFacts("unmeasured", "candidate", NAN, 10_000),
        ModelFacts("ensemble", "teacher", 0.41, 3_000_000),
    ]
    chart = charts.pareto(models, "WAPE", size)
    assert chart is not None
    root = ET.fromstring(chart)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "↑ broken 3.21" in texts and "unmeasured" not in texts and "3 MB" in texts
    (front,) = paths(chart, "front")
    assert front.count("L") == 4  # broken, small, large: a step between each two
    dots = [dot for dot in root.iter(f"{SVG}circle") if dot.attrib["class"].startswith("dot")]
    assert len(dots) == 5 and all(0 <= float(dot.attrib["cy"]) <= charts.HEIGHT for dot in dots)


def test_labels_of_close_points_do_not_overlap() -> None:
    models = [
        ModelFacts(f"recipe-{index}", "candidate", 0.42 + index / 1e4, 40_000 + index * 900) for index in range(5)
    ]
    chart = charts.pareto(models, "WAPE", size)
    assert chart is not None
    texts = ET.fromstring(chart).iter(f"{SVG}text")
    spots = [(float(t.attrib["x"]), float(t.attrib["y"])) for t in texts if (t.text or "").startswith("recipe")]
    assert len({y for _, y in spots}) + len({x for x, _ in spots}) > 5 and len(set(spots)) == 5


@pytest.mark.parametrize(
    ("low", "high", "log", "expected"),
    [
        (0, 100, False, [0, 25, 50, 75, 100]),
        (0.411, 0.436, False, [0.42, 0.43]),
        (20_000, 3_500_000, True, [30_000, 100_000, 300_000, 1_000_000, 3_000_000]),
        (5, 5, False, [5]),
    ],
)
def test_ticks_are_round(low: float, high: float, log: bool, expected: list[float]) -> None:
    assert charts.Scale(low, high, 0, 100, log).ticks() == pytest.approx(expected)


def test_standalone_chart_brings_its_colours() -> None:
    chart = charts.forecast(picture())
    assert chart is not None
    root = ET.fromstring(charts.standalone(chart))
    style = root.find(f"{SVG}style")
    assert style is not None and "--candidate" in (style.text or "")
