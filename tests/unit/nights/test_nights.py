"""The last nights side by side: from manifests, reports of the watch and the ledger alone."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.storage import FolderStore
from tasks.nights import page
from tasks.nights.collect import Nights, collect, workloads
from tasks.nights.standing import standing
from tasks.releases.ledger import Ledger

FIRST = date(2026, 1, 1)
STAGES = (
    "snapshot",
    "validate",
    "features",
    "teach@a",
    "teach@b",
    "distil@s",
    "compress@fp32",
    "evaluate",
    "promote",
    "report",
)


class Counting(FolderStore):
    """A folder that counts what it is asked."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: Counter[str] = Counter()

    def read(self, key: str) -> bytes:
        self.asked["read"] += 1
        return super().read(key)

    def names(self, folder: str) -> list[str]:
        self.asked["names"] += 1
        return super().names(folder)

    def keys(self, prefix: str) -> Iterator[str]:
        self.asked["keys"] += 1
        return super().keys(prefix)


class Past:
    """Stores in which nights are put as a night leaves them."""

    def __init__(self, root: Path) -> None:
        self.runs, self.releases = Counting(root / "runs"), FolderStore(root / "releases")
        self.root = root / "runs"

    def put(self, key: str, document: dict[str, Any]) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))

    def night(self, number: int, outcome: str = "promoted", stopped_at: str = "", **evaluated: Any) -> None:
        as_of = FIRST + timedelta(days=number)
        folder = f"runs/sales/{as_of}-r{number}"
        created = f"{as_of + timedelta(days=1)}T01:00:00+00:00"
        self.put(f"{folder}/run.json", {"run_id": f"{as_of}-r{number}", "as_of": str(as_of), "created": created})
        for stage in STAGES:
            if stopped_at == stage:
                self.stage(folder, stage, status="failed", error="units: 7 rows below 0", summary={"failed": 3})
                return
            self.stage(folder, stage, summary=self.summary(stage, number, outcome, evaluated))

    def stage(self, folder: str, stage: str, status: str = "done", **more: Any) -> None:
        run_id = folder.rpartition("/")[2]
        pages = f"{folder}/pages/report" if stage == "report" else ""
        base: dict[str, Any] = {"stage": stage, "workload": "sales", "run_id": run_id, "status": status, "reason": ""}
        manifest = {**base, "seconds": 10.0, "started": "2026", "pages_uri": pages, **more}
        ending = ".failed.json" if status == "failed" else ".json"
        self.put(f"{folder}/{stage}{ending}", manifest)

    def summary(self, stage: str, number: int, outcome: str, evaluated: dict[str, Any]) -> dict[str, Any]:
        match stage:
            case "snapshot":
                return {"rows": 1000 + number}
            case "validate":
                return {"expectations": 30, "failed": 0}
            case "evaluate":
                error = 0.3 + 0.01 * (number % 7)
                return {
                    "primary_metric": "wape",
                    "error": error,
                    "champion_error": error * 1.05,
                    "naive_error": 0.5,
                    "against_champion": [-0.08, 0.01],
                    "bytes": 20000 + number,
                    "weights": 5000,
                    "latency_ratio": 2.5,
                    "drift_psi": 0.08,
                    **evaluated,
                }
            case "promote":
                return {"outcome": outcome, "reason": f"night {number} <b>", "release": None}
        return {}

    def entry(self, kind: Any = "promote", as_of: date = FIRST) -> None:
        ledger = Ledger(self.releases, "sales")
        last = ledger.last()
        facts: dict[str, Any] = {"files": "sales/files/abc", "model_sha256": "a" * 64, "manifest_sha256": "b" * 64}
        expected = last.seq if last else 0
        release = None if kind == "promote" else expected
        ledger.append(
            expected=expected, kind=kind, run_id="r", as_of=as_of, reason="a reason", release=release, **facts
        )

    def watched(self, number: int, outcome: str = "fine") -> None:
        as_of = FIRST + timedelta(days=number)
        against = {"difference": -0.3, "low": -0.4, "high": -0.2}
        live = {"release": 1, "part": "all", "value": "", "rows": 99, "error": 0.35, "naive": against, "former": None}
        live |= {"bias": 0.01, "coverage": 0.81}
        told = {"outcome": outcome, "reason": "live error +20 %", "champion": 1, "live": [live]}
        self.put(f"watch/sales/{as_of}.json", told)

    def collected(self, last: int = 30) -> Nights:
        return collect(self.runs, self.releases, "sales", last)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path)


def test_a_year_is_one_listing_and_one_read_for_each_run_and_manifest_and_no_walk(past: Past) -> None:
    for number in range(365):
        past.night(number)
        past.watched(number)
    (past.root / "runs" / "sales" / "stray.txt").write_text("not a run")
    found = past.collected(365)
    assert len(found.nights) == 365
    assert past.runs.asked == {"names": 3 + 366, "read": 1 + 365 * (1 + len(STAGES) + 1)}
    past.runs.asked.clear()
    assert len(past.collected(30).nights) == 30
    assert past.runs.asked == {"names": 3 + 366, "read": 1 + 365 + 30 * (len(STAGES) + 1)}


def test_a_night_is_told_as_far_as_it_came(past: Past) -> None:
    past.night(0)
    past.night(1, stopped_at="validate")
    past.watched(0)
    done, stopped = past.collected().nights
    assert (done.outcome, done.as_of, done.error, done.naive, done.size) == ("promoted", FIRST, 0.3, 0.5, 20000)
    assert done.interval == pytest.approx((0.3 * 1.05 * 0.92, 0.3 * 1.05 * 1.01))
    assert (done.rows, done.failed_rules, done.weights, done.latency_ratio, done.drift) == (1000, 0, 5000, 2.5, 0.08)
    assert done.seconds["teach"] == 20 and sum(done.seconds.values()) == 10 * len(STAGES)
    assert done.live and (done.live.error, done.live.rows) == (0.35, 99)
    assert (stopped.outcome, stopped.reason) == ("stopped", "validate: units: 7 rows below 0")
    assert (stopped.error, stopped.failed_rules, stopped.page) == (None, 3, "")


def test_a_page_holds_all_of_itself_and_each_night_leads_to_its_report(past: Past) -> None:
    for number in range(12):
        past.night(number, "rejected" if number == 3 else "promoted")
        past.watched(number, "regression" if number == 11 else "fine")
    past.night(12, stopped_at="validate")
    past.entry()
    found = past.collected()
    html = page.render(found, standing(found, FIRST + timedelta(days=13)))
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//|url\(|<script|@import""", html)
    assert html.count('href="../runs/sales/2026-01-01-r0/pages/report/report.html"') >= 5
    assert (past.root / "nights" / "../runs/sales/2026-01-01-r0").resolve().is_dir()
    assert "−30.0% (−40.0% to −20.0%)" in html and "81.0 %" in html
    assert "night 3 &lt;b&gt;" in html and "<b>regression</b>" in html
    assert 'class="bad"' in html and 'class="warn"' in html and 'class="live"' in html
    address = page.write(past.runs, "sales", html)
    assert Path(address).read_text() == html
    overview = page.render_overview([(found, standing(found, FIRST))])
    assert 'href="sales.html"' in overview


@pytest.mark.parametrize(
    ("outcomes", "live", "entries", "days", "expected"),
    [
        (["promoted"], "fine", ["promote"], 1, ("green", "promoted, as of 2026-01-01")),
        (["rejected"], "fine", ["promote"], 1, ("green", "rejected, as of")),
        (["stopped"], "fine", ["promote"], 1, ("red", "the last night stopped at validate: units")),
        (["promoted"], "regression", ["promote"], 1, ("red", "regression: live error")),
        (["promoted"], "rolled-back", ["promote"], 1, ("amber", "rolled-back: live error")),
        (["promoted"], "fine", ["promote"], 4, ("red", "the last night is as of 2026-01-01, 4 days ago")),
        (["rejected"] * 3, "fine", ["promote"], 1, ("amber", "rejected 3 times in a row: night 2")),
        (["rejected"] * 2, "fine", ["promote"], 1, ("green", "rejected")),
        (["held"], "fine", ["promote", "pin"], 1, ("amber", "release 1 is pinned: a reason")),
        (["rejected"], "fine", [], 1, ("amber", "there is no release yet")),
    ],
)
def test_a_colour_has_a_reason(
    outcomes: list[str], live: str, entries: list[str], days: int, expected: tuple[str, str], past: Past
) -> None:
    for number, outcome in enumerate(outcomes):
        past.night(number, outcome, stopped_at="validate" if outcome == "stopped" else "")
    past.watched(len(outcomes) - 1, live)
    for kind in entries:
        past.entry(kind)
    found = standing(past.collected(), FIRST + timedelta(days=len(outcomes) - 1 + days))
    assert found.colour == expected[0]
    assert found.reason.startswith(expected[1])


def test_a_night_is_late_by_the_rhythm_of_the_last_ones_and_the_newest_data_count(past: Past) -> None:
    for number in (0, 7, 14):
        past.night(number)
    past.entry()
    # A backfill of an old day is made last.
    base = past.root / "runs" / "sales" / f"{FIRST}-r0" / "run.json"
    base.write_text(json.dumps(json.loads(base.read_text()) | {"created": "2026-02-01T01:00:00+00:00"}))
    said = [standing(past.collected(), FIRST + timedelta(days=14 + days)) for days in (8, 9)]
    assert [one.colour for one in said] == ["green", "red"]
    assert said[1].reason == "the last night is as of 2026-01-15, 9 days ago"


def test_an_old_champion_is_amber(past: Past) -> None:
    past.night(0)
    past.entry()
    later = datetime.now(UTC).date() + timedelta(days=31)
    found = standing(past.collected(), later, scheduled=False)
    assert (found.colour, found.reason) == ("amber", "release 1 has been champion for 31 days")


def test_before_the_first_night_there_is_a_page_that_says_so(past: Past) -> None:
    found = past.collected()
    how = standing(found, FIRST)
    assert (how.colour, how.reason) == ("amber", "there was no night yet")
    assert "there was no night yet" in page.render(found, how) and "sales" in page.render_overview([(found, how)])


def test_late_data_are_red_until_they_are_over(past: Past) -> None:
    how = standing(past.collected(), FIRST)
    assert (how.colour, how.reason) == ("amber", "there was no night yet")
    past.put("notify/sales/open/a.json", {"event": "late data", "text": "nightstill sales: late data at fresh: why"})
    past.put("notify/sales/open/b.json", {"event": "failed", "text": "else"})
    past.put("notify/sales/open/c.json", {"text": "told by an earlier version"})
    how = standing(past.collected(), FIRST)
    assert (how.colour, how.reason) == ("red", "nightstill sales: late data at fresh: why")
    assert workloads(past.runs) == ["sales"], "though it had no run yet"
    past.night(0)
    past.entry()
    assert standing(past.collected(), FIRST).colour == "red", "an earlier night has nothing to do with it"
    (past.root / "notify/sales/open/a.json").unlink()
    assert standing(past.collected(), FIRST).colour == "green"


def test_late_data_are_over_once_a_later_night_found_its_data_valid(past: Past) -> None:
    told = {"event": "late data", "text": "why", "time": "2026-01-02T03:00:00+00:00"}
    past.put("notify/sales/open/a.json", told)
    past.night(0)
    folder = f"runs/sales/{FIRST}-r0"
    for started, said in (("2026-01-02T02:00:00+00:00", "why"), ("2026-01-02T04:00:00+00:00", "")):
        past.stage(folder, "validate", started=started)
        assert past.collected().late_data == said
    past.put("notify/sales/open/a.json", {"event": "late data", "text": "told by an earlier version"})
    assert past.collected().late_data == "told by an earlier version"
