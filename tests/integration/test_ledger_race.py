"""Promotions at once, from threads and from processes: one entry per number, no gap, nothing lost."""

import multiprocessing
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.releases.ledger import Superseded
from tasks.releases.store import ReleaseStore
from tasks.storage import FolderStore

RACERS = 32
Racer = Callable[[str, int, Any, Any], None]


def publish(releases: ReleaseStore, number: int, expected: int) -> int:
    files = {"model.onnx": f"model {number}".encode(), "card.md": b"#"}
    entry = releases.publish(files, expected=expected, run_id=f"run-{number}", as_of=date(2026, 1, 1), reason="better")
    return entry.seq


def once(folder: str, number: int, start: Any, results: Any) -> None:
    """All have compared with the same champion; no second try."""
    releases = ReleaseStore(FolderStore(Path(folder)), "sales")
    start.wait()
    try:
        results.put((number, publish(releases, number, 0)))
    except Superseded:
        results.put((number, None))


def until_released(folder: str, number: int, start: Any, results: Any) -> None:
    """Compare anew after each defeat."""
    releases = ReleaseStore(FolderStore(Path(folder)), "sales")
    start.wait()
    while True:
        last = releases.champion()
        try:
            results.put((number, publish(releases, number, last.seq if last else 0)))
            return
        except Superseded:
            continue


def race(kind: str, racer: Racer, folder: Path) -> list[tuple[int, int | None]]:
    """What each racer came to; all start together."""
    results: Any
    if kind == "processes":
        context = multiprocessing.get_context("fork")
        start, results = context.Barrier(RACERS), context.Queue()
        make: Any = context.Process
    else:
        import queue

        start, results, make = threading.Barrier(RACERS), queue.Queue(), threading.Thread  # type: ignore[assignment]
    racers = [make(target=racer, args=(str(folder), number, start, results)) for number in range(RACERS)]
    for one in racers:
        one.start()
    found = [results.get(timeout=60) for _ in racers]
    for one in racers:
        one.join(60)
    return found


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_of_promoters_that_compared_with_the_same_champion_one_wins(kind: str, tmp_path: Path) -> None:
    found = race(kind, once, tmp_path)
    winners = [number for number, seq in found if seq is not None]
    assert len(winners) == 1
    releases = ReleaseStore(FolderStore(tmp_path), "sales")
    assert [(entry.seq, entry.run_id) for entry in releases.ledger.entries()] == [(1, f"run-{winners[0]}")]
    assert releases.champion_file(1, "model.onnx") == f"model {winners[0]}".encode()
    releases.verify_all()


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_promoters_that_compare_anew_all_get_a_number_of_their_own(kind: str, tmp_path: Path) -> None:
    found = race(kind, until_released, tmp_path)
    assert sorted(seq for _, seq in found if seq) == list(range(1, RACERS + 1))
    releases = ReleaseStore(FolderStore(tmp_path), "sales")
    entries = releases.ledger.entries()
    assert [entry.seq for entry in entries] == list(range(1, RACERS + 1))
    assert {(int(entry.run_id.removeprefix("run-")), entry.seq) for entry in entries} == set(found)
    assert not list(tmp_path.rglob("*.tmp"))
    releases.verify_all()
