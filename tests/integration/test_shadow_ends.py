"""A candidate in shadow always comes to an end, and whoever missed it hears of it again."""

from pathlib import Path

import dvc  # noqa: F401 it keeps the streams that it finds when it is loaded: not those of one test
import yaml

from tasks.core.storage import open_store
from tasks.planning.shadowing import day_key
from tasks.releases.pins import pin
from tasks.scoring.shadow import in_shadow
from tasks.watching.options import Watch
from tests.conftest import Project
from tests.integration.test_shadow import OTHER, Place, day, environment  # noqa: F401 a fixture
from tests.unit.watching.shadowing import NIGHTS
from tests.unit.watching.shop import by_weekday


def test_one_that_forecasts_no_more_is_refused_at_last(environment: Project) -> None:  # noqa: F811
    place = Place(environment, watch=Watch(days=5))
    place.nights(OTHER, 2)
    for path in Path(place.settings.dvc_remote).rglob("*"):
        if path.is_file() and path.read_bytes() == OTHER:
            kept = path, path.read_bytes()
    kept[0].unlink()
    for offset in range(2, 2 * NIGHTS):
        assert "made none" in place.night(day(offset)).shadow
    kept[0].write_bytes(kept[1])
    last = 2 * NIGHTS - 1 + 7 + 5
    assert place.settled(last - 1).outcome == "in-shadow"
    found = place.settled(last)
    assert found.outcome == "rejected" and "no more nights are waited for" in found.reason
    place.runs.store.delete(day_key("sales", day(last - 1)))
    assert place.settled(last) == found, "its message was lost"


def test_an_old_one_that_cannot_be_ended_does_not_keep_the_next_from_its_end(environment: Project) -> None:  # noqa: F811
    place = Place(environment)
    place.opened("r0", by_weekday(1.2))
    place.night(day(0), "r0")
    pin(place.releases, "the sale lasts")
    place.runs.store.write(place.runs.key("sales", "r0", "run.yaml"), b"a: run\n")
    found = place.settled(1)
    assert (found.run_id, found.outcome) == ("r0", "superseded")
    assert yaml.safe_load(place.runs.run_yaml("sales", "r0")) == {"a": "run"}
    forecasts = open_store(place.settings.forecasts)
    assert in_shadow(place.runs.store, forecasts, "sales", place.releases.ledger.entries()) is None
