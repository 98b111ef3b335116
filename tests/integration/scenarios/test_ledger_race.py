"""Promotions at once, from threads and processes, in a folder and in S3: one entry a number, no gap, nothing lost."""

import multiprocessing
import os
import queue
import random
import signal
import threading
from collections.abc import Callable, Iterable
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import UsageError
from tasks.core.storage import ObjectStore, open_store
from tasks.releases.ledger import Entry, Superseded
from tasks.releases.pins import pin, unpin
from tasks.releases.store import ReleaseStore
from tasks.releases.verification import verify

RACERS = 64
# Racers that never give up take as many turns as there are pairs of them, each a dozen requests to S3.
STUBBORN = {"folder": 64, "s3": 12}
# A promotion writes three files, then its entry, before and after which it can be killed, then the ledger's head.
MOMENTS = 6
Racer = Callable[[ReleaseStore, int], int | None]


@pytest.fixture(params=["folder", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of each kind, both real."""
    if request.param == "folder":
        return str(tmp_path / "releases")
    return f"s3://{request.getfixturevalue('bucket')}/releases"


def releases_in(uri: str) -> ReleaseStore:
    return ReleaseStore(open_store(uri), "sales")


def publish(releases: ReleaseStore, number: int, expected: int) -> Entry:
    files = {"model.onnx": f"model {number}".encode(), "card.md": b"#"}
    return releases.publish(files, expected=expected, run_id=f"run-{number}", as_of=date(2026, 1, 1), reason="better")


def once(releases: ReleaseStore, number: int) -> int | None:
    """All have compared with the same champion; no second try."""
    try:
        return publish(releases, number, 0).seq
    except Superseded:
        return None


def again(releases: ReleaseStore, number: int) -> int:
    """Compare anew after each defeat."""
    while True:
        last = releases.champion()
        try:
            return publish(releases, number, last.seq if last else 0).seq
        except Superseded:
            continue


def all_sorts(releases: ReleaseStore, number: int) -> int | None:
    """Most promote; some go back to the first release, pin or unpin. Each tries four times."""
    for _ in range(4):
        try:
            match number % 8:
                case 0:
                    return releases.rollback(1, "bad", run_id=f"run-{number}").seq
                case 1:
                    return pin(releases, f"run-{number}").seq
                case 2:
                    return unpin(releases, f"run-{number}").seq
                case _:
                    last = releases.champion()
                    return publish(releases, number, last.seq if last else 0).seq
        except (Superseded, UsageError):  # such as: the first release is champion, the champion is pinned, or is not
            continue
    return None


def race(kind: str, racer: Racer, uri: str, count: int = RACERS) -> dict[int, int | None]:
    """The ledger entry that each racer came to, None for none; all start together."""
    start: Any
    results: Any
    make: Any
    if kind == "processes":
        context = multiprocessing.get_context("fork")
        start, results, make = context.Barrier(count), context.Queue(), context.Process
    else:
        start, results, make = threading.Barrier(count), queue.Queue(), threading.Thread
    # Made once, as making a client takes longer than a race; nobody uses its connections before the processes part.
    releases = releases_in(uri)

    def run(number: int) -> None:
        start.wait()
        results.put((number, racer(releases, number)))

    racers = [make(target=run, args=(number,)) for number in range(count)]
    for one in racers:
        one.start()
    found = dict(results.get(timeout=240) for _ in racers)
    for one in racers:
        one.join(60)
    return found


def sound(uri: str, told: Iterable[tuple[int, int | None]]) -> list[Entry]:
    """The ledger, without a gap, with an entry for each racer that was told so and for no other."""
    releases = releases_in(uri)
    verify(releases)
    entries = releases.ledger.entries()
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    written = {(entry.run_id or entry.reason, entry.seq) for entry in entries}
    assert {(f"run-{number}", seq) for number, seq in told if seq} == written
    for entry in entries:
        if entry.kind == "promote":
            assert releases.read(entry, "model.onnx") == f"model {entry.run_id.removeprefix('run-')}".encode()
    return entries


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_of_promoters_that_compared_with_the_same_champion_one_wins(kind: str, uri: str) -> None:
    found = race(kind, once, uri)
    assert len(found) == RACERS
    assert len(sound(uri, found.items())) == 1


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_promoters_that_compare_anew_all_get_a_number_of_their_own(kind: str, uri: str) -> None:
    count = STUBBORN["s3" if uri.startswith("s3:") else "folder"]
    found = race(kind, again, uri, count)
    assert len(sound(uri, found.items())) == count
    assert not list(Path(uri).rglob("*.tmp"))


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_promotions_rollbacks_and_pins_at_once(kind: str, uri: str) -> None:
    publish(releases_in(uri), -1, 0)
    found = race(kind, all_sorts, uri)
    entries = sound(uri, [(-1, 1), *found.items()])
    assert all(entry.release == 1 for entry in entries if entry.kind == "rollback")
    pinned = False
    for before, entry in pairwise(entries):
        if entry.kind in ("pin", "unpin"):
            assert (entry.release, pinned) == (before.release, entry.kind == "unpin")
            pinned = entry.kind == "pin"
        else:
            assert not pinned  # nobody takes the place of a pinned champion
    # Whoever came to nothing left nothing.
    assert len(entries) == 1 + sum(1 for seq in found.values() if seq)


class Mortal:
    """A store whose process is killed before its write number `last` (from 0), or after it if it is the entry."""

    def __init__(self, store: ObjectStore, last: int) -> None:
        self.store, self.last, self.done = store, last, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def write(self, key: str, data: bytes) -> None:
        self._count()
        self.store.write(key, data)

    def create(self, key: str, data: bytes) -> None:
        if "/ledger/" not in key:
            self.store.create(key, data)
            return
        self._count()
        try:
            self.store.create(key, data)
        finally:
            self._count()

    def _count(self) -> None:
        if self.done == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.done += 1


def test_killed_promoters_leave_a_sound_ledger_and_can_be_run_again(uri: str) -> None:
    """Rounds of promoters that compared with the same champion; most are killed at one of its writes."""
    chance = random.Random(20261121)
    here = releases_in(uri)
    context = multiprocessing.get_context("fork")
    store = open_store(uri)
    mine: dict[int, int | None] = {}
    killed = 0
    turns = 3 if uri.startswith("s3:") else 6
    for turn in range(turns):
        expected = len(mine)

        def run(number: int, last: int, start: Any, expected: int = expected) -> None:
            releases = ReleaseStore(Mortal(store, last), "sales")
            start.wait()
            try:
                publish(releases, number, expected)
            except Superseded:
                os._exit(75)

        numbers = range(10 * turn, 10 * turn + 10)
        start = context.Barrier(len(numbers))
        racers = [
            context.Process(target=run, args=(number, chance.randrange(MOMENTS + 2), start)) for number in numbers
        ]
        for one in racers:
            one.start()
        for one in racers:
            one.join(60)
        killed += sum(one.exitcode == -signal.SIGKILL for one in racers)
        assert {one.exitcode for one in racers} <= {0, 75, -signal.SIGKILL}
        written = here.ledger.entries()
        assert len(written) in (expected, expected + 1)
        # Every one of them is tried again by its orchestrator, in any order.
        after = {number: once_more(here, number, expected) for number in chance.sample(numbers, len(numbers))}
        (winner,) = [number for number, seq in after.items() if seq]
        if len(written) > expected:
            assert written[-1].run_id == f"run-{winner}"
        mine[winner] = after[winner]
        sound(uri, mine.items())
    assert killed >= 3 * turns


def once_more(releases: ReleaseStore, number: int, expected: int) -> int | None:
    try:
        return publish(releases, number, expected).seq
    except Superseded:
        return None
