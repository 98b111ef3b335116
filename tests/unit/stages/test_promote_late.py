"""A promoter that was asleep, for an hour or for a day: it never takes the place of a champion that it did not meet."""

from pathlib import Path
from typing import Any

import pytest

from tasks.core.storage import FolderStore
from tasks.releases.pins import pin
from tasks.releases.verification import verify
from tasks.stages import promote
from tests.unit.stages.test_promote import Night


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path)


def test_it_wakes_before_its_first_look_at_the_ledger(night: Night) -> None:
    context = night.prepare("late", champion=0, run_id="late")
    night.promote("one", run_id="r1")
    night.promote("two", champion=1, run_id="r2")
    night.releases.rollback(1, "two is bad")
    pin(night.releases, "the fair")
    before = night.releases.ledger.entries()
    promote.run(context)
    assert night.promote("late", run_id="late")["outcome"] == "superseded"
    assert night.releases.ledger.entries() == before
    verify(night.releases)


@pytest.mark.parametrize("moment", [0, 3, 7, "entry"])
def test_it_falls_asleep_between_its_writes(night: Night, monkeypatch: pytest.MonkeyPatch, moment: Any) -> None:
    """Another run promotes when the late one has written so many files, or is about to write its entry."""
    write, create = FolderStore.write, FolderStore.create
    written: list[str] = []

    def overtaken() -> None:
        monkeypatch.undo()
        assert night.promote("one", run_id="r1")["outcome"] == "promoted"

    def sleepy_write(store: FolderStore, key: str, data: bytes) -> None:
        if len(written) == moment:
            overtaken()
        written.append(key)
        write(store, key, data)

    def sleepy_create(store: FolderStore, key: str, data: bytes) -> None:
        if moment == "entry":
            overtaken()
        create(store, key, data)

    context = night.prepare("late", champion=0, run_id="late")
    monkeypatch.setattr(FolderStore, "write", sleepy_write)
    monkeypatch.setattr(FolderStore, "create", sleepy_create)
    promote.run(context)
    assert [entry.run_id for entry in night.releases.ledger.entries()] == ["r1"]
    assert night.releases.champion_file(1, "model.onnx") == b"one"
    # Tried again, it says the same; the next night begins with the champion that there is.
    assert night.promote("late", run_id="late")["outcome"] == "superseded"
    assert night.promote("late", champion=1, run_id="next")["entry"] == 2
    verify(night.releases)
