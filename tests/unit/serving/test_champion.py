"""The light client: it loads what the ledger vouches for, keeps what it has, and says what is wrong."""

import json
import logging
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.client import Champion, InputError, IntegrityError, NoRelease, SettingError, UnavailableError
from serving.client import cache as caching
from serving.client.release import sha256
from tasks.releases.pins import pin, unpin
from tasks.releases.store import ReleaseStore
from tests.serving_releases import CONTRACT, expected, inputs, model, open_releases, promote
from tests.tamper import flip, remove


def opened(folder: Path, cache: Path, **options: Any) -> Champion:
    return Champion.open(str(folder), "sales", cache=cache, **options)


def gone(folder: Path) -> None:
    """The store does not answer any more."""
    folder.rename(folder.with_name("unmounted"))


def back(folder: Path) -> None:
    folder.with_name("unmounted").rename(folder)


# Following the ledger.


def test_the_champion_predicts(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    promote(releases, 2)
    entry = promote(releases, 3)
    champion = opened(folder, cache)
    assert np.array_equal(champion.predict(inputs()), expected(3))
    release = champion.release
    assert (release.number, release.entry, release.kind) == (2, 2, "promote")
    assert (release.as_of, release.run_id, release.reason) == ("2026-01-01", "run-3", "better")
    assert (release.model_sha256, release.manifest_sha256) == (entry.model_sha256, entry.manifest_sha256)
    assert str(champion.contract.inputs["x"]) == "float32, batch × 2 × 3" and champion.problem == ""


def test_an_output_that_is_not_finite_is_no_answer(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    promote(releases, 2)
    champion = opened(folder, cache)
    given = inputs(3)
    given["x"][1] = 3e38
    with pytest.raises(InputError, match=r"row 1: the output is not finite"):
        champion.predict(given)


def test_it_follows_promotions_and_rollbacks(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    promote(releases, 2)
    champion = opened(folder, cache)
    assert not champion.refresh()
    promote(releases, 3)
    promote(releases, 4)
    assert champion.release.number == 1
    assert champion.refresh() and champion.release.number == 3
    assert np.array_equal(champion.predict(inputs()), expected(4))
    releases.rollback(1, "four is bad")
    assert champion.refresh() and (champion.release.number, champion.release.kind) == (1, "rollback")
    assert np.array_equal(champion.predict(inputs()), expected(2))


def test_entries_that_leave_the_champion_are_followed_and_swap_nothing(
    releases: ReleaseStore, folder: Path, cache: Path
) -> None:
    promote(releases, 2)
    champion = opened(folder, cache)
    pin(releases, "holidays")
    assert not champion.refresh()
    assert (champion.release.number, champion.release.entry, champion.release.kind) == (1, 2, "pin")
    unpin(releases, "over")
    fresh = opened(folder, cache)
    assert (fresh.release.number, fresh.release.entry, fresh.release.kind) == (1, 3, "unpin")
    assert np.array_equal(fresh.predict(inputs()), expected(2))


def test_kinds_and_fields_of_a_later_version_are_no_obstacle(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    promote(releases, 2)
    first = folder / "sales" / "ledger" / "00000001.json"
    later = {
        **json.loads(first.read_bytes()),
        "seq": 2,
        "kind": "audit",
        "by": "Zoë",
        "previous": sha256(first.read_bytes()),
    }
    later.pop("digest")
    text = json.dumps(later, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    later["digest"] = sha256(text.encode())
    first.with_name("00000002.json").write_text(json.dumps(later, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    assert opened(folder, cache).release.kind == "audit"


def test_threads_predict_while_another_swaps(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    promote(releases, 2)
    champion, wrong, stop = opened(folder, cache), [], threading.Event()

    def predict() -> None:
        while not stop.is_set():
            loaded = champion.model
            if not np.array_equal(loaded.predict(inputs()), expected(loaded.release.number + 1)):
                wrong.append(loaded.release.number)

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    for factor in range(3, 8):
        promote(releases, factor)
        assert champion.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong and champion.release.number == 6


# What must be refused.


@pytest.mark.parametrize("name", ["model.onnx", "contract.json", "manifest.json"])
def test_a_changed_file_is_not_loaded(releases: ReleaseStore, folder: Path, cache: Path, name: str) -> None:
    flip(folder / promote(releases, 2).files / name)
    with pytest.raises(IntegrityError, match=rf"sales release 1 \(.*\): {name} is not what was released"):
        opened(folder, cache)


@pytest.mark.parametrize("name", ["model.onnx", "contract.json", "manifest.json"])
def test_a_broken_new_release_leaves_the_old_one_at_work(
    releases: ReleaseStore, folder: Path, cache: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    promote(releases, 2)
    champion = opened(folder, cache)
    another = json.dumps(CONTRACT, indent=1).encode()  # equal bytes would be in the cache
    broken = folder / promote(releases, 3, **{"contract.json": another}).files / name
    whole = broken.read_bytes()
    remove(broken)
    for _ in range(2):
        assert not champion.refresh()
    assert f"{name} is missing" in champion.problem and caplog.text.count("release 1 goes on") == 1
    assert np.array_equal(champion.predict(inputs()), expected(2))
    broken.write_bytes(whole)
    assert champion.refresh() and champion.problem == "" and champion.release.number == 2


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"model.onnx": b"no model"}, "cannot be loaded"),
        ({"contract.json": b"{}"}, "cannot be loaded"),
        ({"contract.json": json.dumps({**CONTRACT, "order": ["x"]}).encode()}, "asks for codes"),
    ],
)
def test_a_release_that_cannot_be_loaded_leaves_the_old_one_at_work(
    releases: ReleaseStore, folder: Path, cache: Path, files: dict[str, bytes], said: str
) -> None:
    promote(releases, 2)
    champion = opened(folder, cache)
    promote(releases, 3, **files)
    assert not champion.refresh()
    assert said in champion.problem and "roll back" in champion.problem
    assert np.array_equal(champion.predict(inputs()), expected(2))
    with pytest.raises(IntegrityError, match=said):
        opened(folder, cache)


def changed(field: str, value: object) -> Any:
    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_bytes()), field: value}, indent=1, sort_keys=True) + "\n")

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed("files", "sales/files/other"),
        changed("release", 1),
        changed("seq", 3),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"[]"),
        lambda path: path.write_bytes(path.read_bytes().replace(b"\n", b"")),
        lambda path: shutil.copy(path.with_name("00000001.json"), path),
    ],
    ids=["files", "release", "seq", "empty", "list", "other-bytes", "of-another"],
)
def test_a_changed_ledger_entry_is_refused(releases: ReleaseStore, folder: Path, cache: Path, change: Any) -> None:
    promote(releases, 2)
    champion = opened(folder, cache)
    promote(releases, 3)
    change(folder / "sales" / "ledger" / "00000002.json")
    assert not champion.refresh()
    assert "00000002.json: not the ledger entry that was written" in champion.problem
    with pytest.raises(IntegrityError, match=r"00000002\.json: not the ledger entry that was written"):
        opened(folder, cache / "fresh")


def test_a_ledger_that_was_rewritten_or_cut_off_is_refused(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    promote(releases, 2)
    promote(releases, 3)
    champion = opened(folder, cache)
    last = folder / "sales" / "ledger" / "00000002.json"
    kept = last.read_bytes()
    last.unlink()
    assert not champion.refresh() and "not the entry that was there before" in champion.problem
    for known in (cache, cache / "fresh"):
        with pytest.raises(IntegrityError, match=r"00000002\.json"):
            opened(folder, known)
    last.with_name("00000001.json").unlink()
    last.write_bytes(kept)
    with pytest.raises(IntegrityError, match=r"00000002\.json: this ledger entry, or the one before it, is missing"):
        opened(folder, cache / "fresh")
    assert np.array_equal(champion.predict(inputs()), expected(3))


def test_an_entry_that_does_not_follow_is_refused(
    releases: ReleaseStore, folder: Path, cache: Path, tmp_path: Path
) -> None:
    promote(releases, 2)
    champion = opened(folder, cache)
    other = open_releases(tmp_path / "other")
    promote(other, 5)
    promote(other, 6)
    shutil.copy(tmp_path / "other" / "sales" / "ledger" / "00000002.json", folder / "sales" / "ledger")
    assert not champion.refresh() and "does not follow from entry 1" in champion.problem


# The store and the settings.


def test_no_release_yet(folder: Path, cache: Path) -> None:
    folder.mkdir()
    with pytest.raises(NoRelease, match="no release of 'sales' yet"):
        opened(folder, cache)


@pytest.mark.parametrize("uri", ["", "https://example.org/releases"])
def test_what_is_no_store(uri: str, cache: Path) -> None:
    with pytest.raises(SettingError, match=r"is a folder or s3://bucket/prefix"):
        Champion.open(uri, "sales", cache=cache)


def test_a_folder_that_is_not_there_is_no_answer(folder: Path, cache: Path) -> None:
    with pytest.raises(UnavailableError, match="is it mounted"):
        opened(folder, cache)


# The cache.


def objects(cache: Path) -> list[Path]:
    return sorted((cache / "objects").iterdir())


def test_without_the_store_it_starts_from_the_cache_and_says_so(
    releases: ReleaseStore, folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    promote(releases, 2)
    opened(folder, cache)
    gone(folder)
    champion = opened(folder, cache)
    assert np.array_equal(champion.predict(inputs()), expected(2))
    assert "release 1 from the cache" in caplog.text and "is it mounted" in champion.problem
    assert not champion.refresh() and champion.problem
    back(folder)
    promote(releases, 3)
    assert champion.refresh() and champion.release.number == 2 and champion.problem == ""


def test_without_store_and_cache_it_does_not_start(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    promote(releases, 2)
    opened(folder, cache)
    gone(folder)
    objects(cache)[0].unlink()
    with pytest.raises(UnavailableError):
        opened(folder, cache)


def test_a_second_process_fetches_no_file_again(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    entry = promote(releases, 2)
    opened(folder, cache)
    assert len(objects(cache)) == 3
    for path in (folder / entry.files).iterdir():
        remove(path)
    assert np.array_equal(opened(folder, cache).predict(inputs()), expected(2))


def test_a_damaged_object_is_fetched_anew(
    releases: ReleaseStore, folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    promote(releases, 2)
    opened(folder, cache)
    for path in objects(cache):
        flip(path)
    assert np.array_equal(opened(folder, cache).predict(inputs()), expected(2))
    assert caplog.text.count("damaged, fetched anew") == 3
    assert all(sha256(path.read_bytes()) == path.name for path in objects(cache))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seq": 1, "entry": "{}", "signature": null}'])
def test_a_damaged_note_of_the_last_champion_is_read_anew(
    releases: ReleaseStore, folder: Path, cache: Path, text: str
) -> None:
    promote(releases, 2)
    opened(folder, cache)
    (note,) = (cache / "champions").iterdir()
    note.write_text(text)
    assert opened(folder, cache).release.number == 1
    gone(folder)
    assert opened(folder, cache).release.number == 1


def test_a_process_that_lags_behind_does_not_put_the_cache_back(
    releases: ReleaseStore, folder: Path, cache: Path
) -> None:
    promote(releases, 2)
    slow = opened(folder, cache)
    promote(releases, 3)
    opened(folder, cache)
    slow._cache.remember(slow.release, None)
    gone(folder)
    assert opened(folder, cache).release.number == 2


def test_one_cache_serves_several_stores(releases: ReleaseStore, folder: Path, cache: Path, tmp_path: Path) -> None:
    promote(releases, 2)
    promote(open_releases(tmp_path / "other"), 3)
    opened(folder, cache)
    assert np.array_equal(opened(tmp_path / "other", cache).predict(inputs()), expected(3))
    gone(folder)
    assert np.array_equal(opened(folder, cache).predict(inputs()), expected(2))


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    releases: ReleaseStore, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    promote(releases, 2)
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    assert opened(folder, in_the_way).release.number == 1
    assert "cannot be kept" in caplog.text


def test_what_a_killed_process_left_is_swept_and_what_is_being_written_is_not(
    releases: ReleaseStore, folder: Path, cache: Path
) -> None:
    promote(releases, 2)
    opened(folder, cache)
    old, new = cache / "partial" / "old", cache / "partial" / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    long_ago = time.time() - caching.LEFTOVER_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    opened(folder, cache)
    assert not old.exists() and new.exists()


def test_a_process_killed_at_each_write_leaves_a_cache_that_works(
    releases: ReleaseStore, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(releases, 2)
    replace = Path.replace
    for kill_at in range(4):
        done: list[Path] = []

        def dying(self: Path, target: Path, at: int = kill_at, done: list[Path] = done) -> Path:
            if len(done) == at:
                raise KeyboardInterrupt
            done.append(target)
            return replace(self, target)

        here = cache / str(kill_at)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", dying)
            with pytest.raises(KeyboardInterrupt):
                opened(folder, here)
        assert np.array_equal(opened(folder, here).predict(inputs()), expected(2))


def test_the_default_cache_is_the_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert caching.default_folder() == tmp_path / "nightstill"


# Inputs.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": None}, r"^x: missing; expected float32, batch × 2 × 3$"),
        ({"y": np.zeros(2)}, r"^y: no such input; the contract has: x, codes, spare$"),
        ({"x": [[1.0]]}, r"^x: a list; expected a NumPy array"),
        ({"x": np.zeros((2, 2, 3))}, r"^x: dtype float64; expected float32"),
        ({"x": np.zeros((2, 3, 2), np.float32)}, r"^x: shape 2 × 3 × 2; expected float32, batch × 2 × 3$"),
        ({"x": np.float32(1) + np.zeros((), np.float32)}, r"^x: a float32; expected a NumPy array"),
        ({"x": np.array(1, np.float32)}, r"^x: shape a single number; expected"),
        ({"x": np.zeros((3, 2, 3), np.float32)}, r"^codes: 2 rows, the inputs before it have 3"),
        (
            {"x": np.array([[[0] * 3] * 2, [[0, 0, 0], [0, np.nan, 0]]], np.float32)},
            r"^x: nan at \[1, 1, 1\]; expected",
        ),
        ({"x": np.full((2, 2, 3), -np.inf, np.float32)}, r"^x: -inf at \[0, 0, 0\]; expected finite numbers"),
        ({"codes": np.array([[0, 0], [3, 0]])}, r"^codes: 3 at \[1, 0\]; codes of store are 0 to 2 in this release$"),
        ({"codes": np.array([[0, -1], [0, 0]])}, r"^codes: -1 at \[0, 1\]; codes of day are 0 to 1 in this release$"),
        ({"spare": np.full((2, 1), np.nan, np.float32)}, r"^spare: nan at \[0, 0\]"),
    ],
)
def test_inputs_that_break_the_contract_are_refused_by_name(
    releases: ReleaseStore, folder: Path, cache: Path, change: dict[str, Any], said: str
) -> None:
    promote(releases, 2)
    given = {name: value for name, value in {**inputs(), **change}.items() if value is not None}
    with pytest.raises(InputError, match=said) as caught:
        opened(folder, cache).predict(given)
    assert caught.value.field == said[1:].split(":", maxsplit=1)[0]


def test_values_that_only_the_model_can_refuse_are_refused_too(
    releases: ReleaseStore, folder: Path, cache: Path
) -> None:
    """Without code books nothing says that a table ends."""
    contract = {**CONTRACT, "categories": {}, "category_order": [], "codes": {}}
    promote(releases, 2, **{"contract.json": json.dumps(contract).encode()})
    with pytest.raises(InputError, match=r"the model refuses these values: .*out of"):
        opened(folder, cache).predict({**inputs(), "codes": np.full((2, 2), 99)})


def test_no_rows_are_no_error_and_what_the_model_does_not_read_may_be_given(
    releases: ReleaseStore, folder: Path, cache: Path
) -> None:
    promote(releases, 2)
    champion = opened(folder, cache)
    assert champion.predict(inputs(0)).shape == (0, 2, 3)
    given = {**inputs(), "spare": np.zeros((2, 1), np.float32)}
    assert np.array_equal(champion.predict(given), expected(2))


def test_a_model_s_log_stays_quiet(
    releases: ReleaseStore,
    folder: Path,
    cache: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    assert model(2) != model(3)
    promote(releases, 2)
    opened(folder, cache).predict(inputs())
    assert capfd.readouterr().err == "" and not caplog.records
