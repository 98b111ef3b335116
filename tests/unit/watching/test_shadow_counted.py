"""Which nights of a candidate in shadow count, and how long they are waited for."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.config import Spec
from tasks.core.storage import open_store
from tasks.problems import get_problem
from tasks.releases.manifest import MODEL, sha256
from tasks.scoring import kept
from tasks.scoring.scorer import FilesScorer
from tasks.scoring.shadow import candidate_files
from tasks.watching.options import Watch
from tasks.watching.shadow import Beside, is_late
from tests.unit.watching.shadowing import Waiting
from tests.unit.watching.shop import HORIZON, PROBLEM, START, by_weekday


def day(offset: int) -> date:
    return START + timedelta(days=offset)


@pytest.fixture
def waiting(tmp_path: Path) -> Waiting:
    made = Waiting(tmp_path)
    made.shop.release(by_weekday(1.0), START)
    made.opened("r1", by_weekday(1.1))
    for offset in range(2):
        made.night(day(offset), "r1")
    return made


def beside(waiting: Waiting) -> Beside:
    files = candidate_files(waiting.settings, "sales", "r1")
    store = open_store(waiting.settings.forecasts)
    scorer = FilesScorer(files, "the candidate")
    return Beside(waiting.settings, store, "sales", 1, scorer, waiting.shop.raw(day(4)), sha256(files[MODEL]))


def nights(waiting: Waiting) -> dict[date, str]:
    return kept.found_in_shadow(open_store(waiting.settings.forecasts), "sales")["r1"]


def test_nights_of_the_winner_before_the_run_was_repeated_do_not_count_for_the_new_one(waiting: Waiting) -> None:
    waiting.opened("r1", by_weekday(1.3))
    found = beside(waiting)
    assert found.joined(nights(waiting)) is None
    assert len(found.notes) == 2 and all("another model than the run's winner" in note for note in found.notes)
    waiting.night(day(2), "r1")
    both = beside(waiting).joined(nights(waiting))
    assert both is not None and both.rows["as_of"].unique().to_list() == [day(2)]


def test_the_champions_forecasts_of_the_same_tables_are_compared_though_later_ones_are_there(waiting: Waiting) -> None:
    folder = Path(waiting.settings.forecasts) / "sales" / str(day(0))
    manifest = (folder / "1.json").read_text()
    (folder / "1-2.json").write_text(manifest.replace('"series": "', '"series": "0'))
    (folder / "1-2.parquet").write_bytes((folder / "1.parquet").read_bytes())
    both = beside(waiting).joined(nights(waiting))
    assert both is not None and both.nights == 2


TABULAR = {"kind": "tabular", "entity": "customer", "target": "spent", "horizon_days": 42}
MONTHLY = {**PROBLEM, "frequency": "1mo", "horizon": 3, "context": 24, "season": 12, "stride": 1}


@pytest.mark.parametrize(
    ("options", "due"),
    [
        (PROBLEM, day(13 + HORIZON)),
        (TABULAR, day(13 + 42 + 5)),
        (MONTHLY, date(2026, 10, 31)),  # five months after May, the last one known on the 14th evening
    ],
)
def test_a_candidate_is_late_a_while_after_five_days_of_truth_were_due(options: dict[str, Any], due: date) -> None:
    problem, watch = get_problem(Spec.model_validate(options)), Watch(days=28)
    evenings, last = [day(offset) for offset in range(300)], due + timedelta(days=28)
    assert not is_late(evenings, last - timedelta(days=1), 7, watch, problem)
    assert is_late(evenings, last, 7, watch, problem)
    assert not is_late(evenings[:13], last, 7, watch, problem), "no more evenings than these were there"
    assert not is_late([evening + timedelta(days=400) for evening in evenings], last, 7, watch, problem)
