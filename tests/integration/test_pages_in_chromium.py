"""What a person sees of the nights' pages, in a real Chromium: nothing cut off, no complaint, all marks, a picture."""

import json
import os
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.nights import page
from tasks.nights.standing import standing
from tests.unit.nights.test_nights import FIRST, Past

WIDTH, HEIGHT, NIGHTS = 1200, 900, 30
LOOK = """
<script>
addEventListener("load", () => {
  const cut = [...document.querySelectorAll("body *")].filter(one =>
    !one.closest("svg") && !one.closest(".scroll") && one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0);
  const texts = [...document.querySelectorAll("svg text")].filter(one => {
    const mine = one.getBoundingClientRect(), all = one.ownerSVGElement.getBoundingClientRect();
    return mine.left < all.left - 1 || mine.right > all.right + 1
      || mine.top < all.top - 1 || mine.bottom > all.bottom + 1;
  });
  const said = {
    wide: document.documentElement.scrollWidth, window: innerWidth,
    cut: cut.map(one => one.outerHTML.slice(0, 80)), texts: texts.map(one => one.textContent),
    shown: [...document.querySelectorAll("svg")].filter(one => one.getBoundingClientRect().width > 0).length,
  };
  const place = document.createElement("pre");
  place.id = "said"; place.textContent = JSON.stringify(said);
  document.body.append(place);
});
</script>
"""


@pytest.fixture(scope="module")
def chromium() -> str:
    """Skip without it; fail where NIGHTSTILL_REQUIRE_CHROMIUM says that it must be there."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        if os.environ.get("NIGHTSTILL_REQUIRE_CHROMIUM"):
            pytest.fail("NIGHTSTILL_REQUIRE_CHROMIUM is set, but there is no chromium")
        pytest.skip("no chromium: install Debian's package")
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both pages, of a month with every sort of night."""
    past = Past(tmp_path_factory.mktemp("past"))
    past.entry()
    for number in range(NIGHTS):
        outcome = ("promoted", "rejected", "unchanged", "held")[number % 4]
        past.night(number, outcome, stopped_at="validate" if number % 11 == 10 else "")
        past.watched(number, "regression" if number == NIGHTS - 1 else "fine")
    found = past.collected(NIGHTS)
    how = standing(found, FIRST + timedelta(days=NIGHTS))
    page.write(past.runs, "sales", page.render(found, how))
    page.write(past.runs, "", page.render_overview([(found, how)]))
    return past.root / "nights"


def opened(chromium: str, file: Path, width: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--v=0"]
    profile = f"--user-data-dir={file.parent / 'profile'}"
    window = f"--window-size={width},{HEIGHT}"
    return subprocess.run(
        [chromium, *flags, profile, window, *arguments, file.as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )


def seen(chromium: str, file: Path, width: int) -> tuple[str, dict[str, Any]]:
    """The page's document once it is loaded, and what was measured of it."""
    looked = file.with_name(f"{file.stem}-looked.html")
    looked.write_text(file.read_text().replace("</body>", f"{LOOK}</body>"))
    done = opened(chromium, looked, width, "--dump-dom")
    assert "CONSOLE" not in done.stderr, done.stderr
    found = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, "the page was not loaded"
    return done.stdout, json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "width"), [("sales.html", WIDTH), ("sales.html", 500), ("index.html", 500)])
def test_nothing_is_cut_off_and_nothing_complains(chromium: str, pages: Path, name: str, width: int) -> None:
    document, said = seen(chromium, pages / name, width)
    assert said["wide"] <= said["window"] and said["cut"] == [] and said["texts"] == [], said
    if name == "sales.html":
        strip = document.partition("<h2>Outcomes</h2>")[2].partition("</svg>")[0]
        assert strip.count("<rect") == NIGHTS, "a mark for each night"
        assert said["shown"] >= 4
    else:
        assert "sales" in document and "red" in document


@pytest.mark.timeout(600)
def test_what_is_cut_off_is_noticed(chromium: str, pages: Path) -> None:
    bad = pages / "bad.html"
    bad.write_text((pages / "sales.html").read_text().replace("<main>", '<main><p style="width:3000px">wide</p>'))
    _, said = seen(chromium, bad, WIDTH)
    assert said["wide"] > said["window"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["sales.html", "index.html"])
def test_the_picture_of_a_page_is_not_blank(chromium: str, pages: Path, name: str) -> None:
    picture = pages / f"{name}.png"
    opened(chromium, pages / name, WIDTH, f"--screenshot={picture}")
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    others = (pixels != pixels[-1, 0]).any(axis=2)  # than the ground of the page
    assert others.mean() > 0.05 and others[:, WIDTH // 2].any()
    assert len(Image.fromarray(pixels).quantize(64).getcolors() or ()) > 20
