"""Nights whose stores are in S3: listings tell which documents are another than before."""

from pathlib import Path

import pytest

from tasks.core.storage import S3Store, open_store
from tasks.nights.collect import collect
from tests.unit.nights.test_nights import Past


class Reading(S3Store):
    """An S3 store that tells what was read of it."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.read_keys: list[str] = []

    def read(self, key: str) -> bytes:
        self.read_keys.append(key)
        return super().read(key)


@pytest.fixture
def runs(tmp_path: Path, bucket: str) -> Reading:
    past = Past(tmp_path)
    past.night(0)
    past.night(1)
    store = Reading(f"s3://{bucket}/runs")
    for key in past.runs.keys(""):
        store.write(key, past.runs.read(key))
    return store


def test_only_what_changed_is_read_again(runs: Reading, tmp_path: Path) -> None:
    releases = open_store(str(tmp_path / "releases"))
    first = collect(runs, releases, "sales", 30, pack=True)
    assert [night.outcome for night in first.nights] == ["promoted"] * 2
    (promotion,) = [key for key in runs.keys("runs/") if key.endswith("r1/promote.json")]
    runs.write(promotion, runs.read(promotion).replace(b"promoted", b"rejected"))
    runs.read_keys.clear()
    again = collect(runs, releases, "sales", 30)
    assert [night.outcome for night in again.nights] == ["promoted", "rejected"]
    assert runs.read_keys == ["nights/sales.pack", promotion]
