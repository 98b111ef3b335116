"""A year of nights in S3: what has not changed comes from one object."""

import gzip
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tasks.nights.collect import Nights, collect
from tests.unit.nights.test_nights import STAGES, Counting, Past

PACK = "nights/sales.pack"
NIGHTS = 4
FLIPPED = gzip.compress(b"{}", mtime=0)[:10] + b"\xff" * 12
"""The head of a packed file, and a stream that zlib cannot read."""


class Stamping(Counting):
    """A folder whose listings tell digests, as those of S3 do."""

    def stamps(self, folder: str) -> dict[str, str]:
        self.asked["stamps"] += 1
        return {name: self._stamp(f"{folder}/{name}") for name in super().names(folder)}

    def _stamp(self, key: str) -> str:
        path = self.root / key
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() if path.is_file() else ""


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """Nights that were watched, and packed."""
    found = Past(tmp_path)
    found.runs = Stamping(tmp_path / "runs")
    found.entry()
    for number in range(NIGHTS):
        found.night(number)
        found.watched(number)
    packed(found)
    found.runs.asked.clear()
    return found


def packed(past: Past) -> Nights:
    return collect(past.runs, past.releases, "sales", 30, pack=True)


def test_what_has_not_changed_is_not_read_again(past: Past) -> None:
    again = past.collected()
    assert past.runs.asked["read"] == 1, "the pack"
    assert past.runs.asked["stamps"] == 1 + NIGHTS
    (past.root / PACK).unlink()
    past.runs.asked.clear()
    assert past.collected() == again
    assert past.runs.asked["read"] == 1 + NIGHTS * (1 + len(STAGES) + 1), "run.json, manifests and the watch's report"
    assert not (past.root / PACK).exists(), "who only looks writes nothing"


def test_what_changed_is_read_again(past: Past) -> None:
    past.night(1, "rejected")
    past.watched(2, "regression")
    nights = packed(past).nights
    assert [night.outcome for night in nights] == ["promoted", "rejected", "promoted", "promoted"]
    assert nights[2].live and nights[2].live.outcome == "regression"
    past.runs.asked.clear()
    assert packed(past).nights == nights and past.runs.asked["read"] == 1


def test_nights_that_were_tidied_up_leave_it(past: Past) -> None:
    shutil.rmtree(past.root / "runs" / "sales" / "2026-01-01-r0")
    (past.root / "watch" / "sales" / "2026-01-01.json").unlink()
    past.night(NIGHTS)
    packed(past)
    kept = json.loads(gzip.decompress((past.root / PACK).read_bytes()))
    assert len(kept) == (NIGHTS - 1) * (1 + len(STAGES) + 1) + 1 + len(STAGES)
    assert not [key for key in kept if "2026-01-01" in key]


@pytest.mark.parametrize("damaged", [b"", b"no gzip", gzip.compress(b"[1]"), gzip.compress(b'{"a": 1}'), FLIPPED])
def test_a_damaged_one_costs_time_alone(past: Past, damaged: bytes) -> None:
    before = past.collected()
    (past.root / PACK).write_bytes(damaged)
    assert past.collected() == before
    packed(past)
    past.runs.asked.clear()
    assert past.collected() == before and past.runs.asked["read"] == 1
