"""The watch looks for the rows that count once a release, however long the history is and however many forecasts."""

from datetime import timedelta
from pathlib import Path

import polars as pl

from tasks.core.storage import open_store
from tasks.watching.join import Watched
from tests.unit.watching.shop import START, Shop, by_weekday


def test_only_rows_that_kept_forecasts_depend_on_are_looked_at_and_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    for offset in (0, 1):
        shop.release(by_weekday(), START + timedelta(days=offset))
    for offset in (2, 3, 4):
        shop.forecast(START + timedelta(days=offset))
    raw = shop.raw(START + timedelta(days=6))
    watched = Watched(shop.settings, open_store(shop.settings.forecasts), shop.releases, "sales", raw)
    joined = watched.joined(14)
    assert joined and joined.rows.drop_nulls(["naive", "former"]).height == joined.rows.height > 0
    assert watched.recent.keys() == {1, 2}, "the champion and the one before it"
    firsts = [tables["series"].select(pl.col("date").min()).item() for tables in watched.recent.values()]
    assert firsts == [START + timedelta(days=2 - 28 + 1)] * 2, "a context before the first forecast that counts"
