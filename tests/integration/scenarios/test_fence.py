"""The fence on a real S3 whose conditional writes are ignored, refused, or done without an answer."""

import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.cli.main import main
from tasks.core.errors import ConfigError
from tasks.core.settings import Settings
from tasks.core.storage import PROBE, S3Store, require_conditional_writes, require_fence
from tasks.pipeline.handover.run_store import RunStore
from tasks.releases.ledger import Entry, Superseded
from tasks.releases.store import ReleaseStore
from tasks.releases.verification import verify
from tests.conftest import Project
from tests.integration.scenarios.edge import serving
from tests.integration.scenarios.s3_edge import S3Edge

NOT_IMPLEMENTED = b"<Error><Code>NotImplemented</Code><Message>A header is not implemented</Message></Error>"
INVALID = b"<Error><Code>InvalidArgument</Code><Message>If-None-Match</Message></Error>"


@pytest.fixture
def server(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Edge]:
    """The edge, by which every client that is made from now on goes."""
    with serving(S3Edge()) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
        yield found


@pytest.fixture
def store(server: S3Edge, bucket: str) -> S3Store:
    return S3Store(f"s3://{bucket}/{uuid.uuid4().hex}")


@pytest.fixture
def settings(project: Project, store: S3Store, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A project whose releases go to the S3 server and all else into folders."""
    found = Settings(home=project.home, project=project.root, release_store=store.uri)
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    return found


def publish(store: S3Store, name: str, expected: int) -> Entry:
    files = {"model.onnx": name.encode(), "card.md": b"# card"}
    return ReleaseStore(store, "sales").publish(
        files, expected=expected, run_id=name, as_of=date(2026, 1, 1), reason="better"
    )


def plan(run_id: str, *arguments: str) -> int:
    """The exit code of `nightstill plan`."""
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--workload", "sales", "--run-id", run_id, "--as-of", "2026-06-30", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_run_that_could_promote_is_not_opened_where_conditions_are_ignored(
    server: S3Edge, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    server.ignored = True
    assert plan("night") == 78
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert f"{settings.release_store}: the server ignores If-None-Match" in line
    store = RunStore(settings.runs())
    assert not store.is_open("sales", "night")
    # One that stops short of the release needs no fence.
    assert plan("look", "--dry-run") == 0
    assert store.is_open("sales", "look")


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (501, NOT_IMPLEMENTED, "NotImplemented"),
        (501, b"", "501"),
        (400, INVALID, "InvalidArgument"),
        (400, b"", "400"),
    ],
)
def test_a_run_is_not_opened_where_conditions_are_refused(
    server: S3Edge, settings: Settings, status: int, error: bytes, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.refusal = (status, error)
    assert plan("night") == 78
    assert f"the server refuses If-None-Match ({code})" in capsys.readouterr().err
    assert not RunStore(settings.runs()).is_open("sales", "night")


def test_a_run_is_opened_where_conditions_hold(server: S3Edge, settings: Settings) -> None:
    assert plan("night") == 0
    assert RunStore(settings.runs()).run_info("sales", "night")["champion"] == 0


def test_no_entry_is_written_by_a_process_that_was_not_asked_to_plan(server: S3Edge, store: S3Store) -> None:
    server.ignored = True
    with pytest.raises(ConfigError, match="ignores If-None-Match"):
        publish(store, "one", 0)
    assert ReleaseStore(store, "sales").champion() is None


def test_asking_costs_two_requests_at_first_then_one_a_process(server: S3Edge, store: S3Store) -> None:
    require_fence(store)
    assert len(server.seen) == 2
    require_fence(S3Store(store.uri))
    assert len(server.seen) == 2
    require_conditional_writes(store)  # as a new process does
    assert len(server.seen) == 3
    assert list(store.keys("")) == [PROBE]


def test_a_store_that_fenced_once_is_found_out_when_it_does_so_no_more(server: S3Edge, store: S3Store) -> None:
    require_conditional_writes(store)
    server.ignored = True
    with pytest.raises(ConfigError, match="ignores If-None-Match"):
        require_conditional_writes(store)


@pytest.mark.parametrize("lost", [1, 2])
def test_an_entry_whose_answer_was_lost_is_the_promoters_own(server: S3Edge, store: S3Store, lost: int) -> None:
    """The client sends the write again and hears that the entry is there already."""
    require_fence(store)
    server.seen.clear()
    server.to_lose = lost
    first = publish(store, "one", 0)
    assert len(server.seen) == 1 + lost and server.to_lose == 0
    releases = ReleaseStore(store, "sales")
    assert releases.ledger.entries() == [first]
    assert publish(store, "two", 1).seq == 2
    verify(releases)


def test_a_lost_answer_does_not_make_a_loser_a_winner(server: S3Edge, store: S3Store) -> None:
    require_fence(store)
    publish(store, "one", 0)
    server.to_lose = 1
    with pytest.raises(Superseded, match="by one"):
        publish(store, "late", 0)
    assert [entry.run_id for entry in ReleaseStore(store, "sales").ledger.entries()] == ["one"]


def test_a_rollback_whose_answer_was_lost_is_done_once(server: S3Edge, store: S3Store) -> None:
    publish(store, "one", 0)
    publish(store, "two", 1)
    server.to_lose = 1
    back: Any = ReleaseStore(store, "sales").rollback(1, "two is bad")
    assert (back.seq, back.release) == (3, 1)
    assert len(ReleaseStore(store, "sales").ledger.entries()) == 3


def test_a_folder_without_hard_links_is_refused_when_a_run_is_opened(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno
    import os

    def no_links(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    for name, value in Settings(home=project.home, project=project.root).environment().items():
        monkeypatch.setenv(name, value)
    assert plan("night") == 78
    assert "create-only writes need hard links" in capsys.readouterr().err
    assert not (project.home / "store").exists()
