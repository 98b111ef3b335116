"""A message that no channel took is sent again when its cause comes up again."""

import json
from pathlib import Path

import pytest

from dags import notify
from dags.notify import message, once


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(notify, "HOME", tmp_path / "home")
    return tmp_path / "home"


def tell() -> None:
    once(message("regression", "sales", "r", "worse"), "regression/7", "regression")


def test_what_nobody_took_is_told_again(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").write_text("a file where a folder should be")
    monkeypatch.setenv("NIGHTSTILL_NOTIFY", f"file:{tmp_path}/closed/told.jsonl")
    tell()
    (lost,) = (home / "notifications.jsonl").read_text().splitlines()
    assert "not_sent" in json.loads(lost)
    (tmp_path / "closed").unlink()
    tell()
    tell()
    assert len((tmp_path / "closed" / "told.jsonl").read_text().splitlines()) == 1


def test_what_one_of_two_took_is_not_told_again(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").write_text("a file where a folder should be")
    monkeypatch.setenv("NIGHTSTILL_NOTIFY", f"file:{tmp_path}/closed/told.jsonl file:{tmp_path}/open.jsonl")
    tell()
    tell()
    assert len((tmp_path / "open.jsonl").read_text().splitlines()) == 1


def test_what_is_on_no_route_counts_as_told(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_NOTIFY", f"other/*>file:{tmp_path}/told.jsonl")
    tell()
    monkeypatch.setenv("NIGHTSTILL_NOTIFY", f"file:{tmp_path}/told.jsonl")
    tell()
    assert not (tmp_path / "told.jsonl").exists()
