"""A release store in a folder, and small releases for it."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.releases.ledger import Entry
from tasks.releases.store import ReleaseStore
from tasks.storage import FolderStore


class Releases(ReleaseStore):
    """With a promotion in one short call."""

    def promote(self, text: str, *, expected: int | None = None, run_id: str = "", **files: bytes) -> Entry:
        last = self.champion()
        return self.publish(
            {"model.onnx": text.encode(), "contract.json": b"{}", **files},
            expected=expected if expected is not None else last.seq if last else 0,
            run_id=run_id or f"run-{text}",
            as_of=date(2026, 1, 1),
            reason=f"{text} is better",
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "releases"


@pytest.fixture
def releases(folder: Path) -> Any:
    return Releases(FolderStore(folder), "sales")
