"""What the pipeline signs, consumers believe; nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.client import Champion, IntegrityError, SettingError, UnavailableError
from tasks.releases import signing
from tests.serving_releases import expected, inputs, open_releases, promote
from tests.tamper import flip, put, remove


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, tuple[str, str]]:
    """Two pairs, private and public."""
    made = {name: signing.generate(tmp_path / name)[:2] for name in ("a", "b")}
    return {name: (str(private), str(public)) for name, (private, public) in made.items()}


def opened(folder: Path, cache: Path, trusted: str) -> Champion:
    return Champion.open(str(folder), "sales", cache=cache, trusted_keys=trusted)


def test_a_signed_release_is_loaded_with_and_without_the_store(folder: Path, cache: Path, keys: Any) -> None:
    private, public = keys["a"]
    promote(open_releases(folder, private), 2)
    for trusted in (public, Path(public).read_text()):
        assert np.array_equal(opened(folder, cache, trusted).predict(inputs()), expected(2))
    folder.rename(folder.with_name("unmounted"))
    assert np.array_equal(opened(folder, cache, public).predict(inputs()), expected(2))
    with pytest.raises(IntegrityError, match="by none of the trusted keys"):
        opened(folder, cache, keys["b"][1])


def test_while_keys_change_both_are_trusted(folder: Path, cache: Path, tmp_path: Path, keys: Any) -> None:
    both = tmp_path / "both.pem"
    both.write_text("".join(Path(keys[name][1]).read_text() for name in "ab"))
    for factor, name in ((2, "a"), (3, "b")):
        promote(open_releases(folder, keys[name][0]), factor)
        assert np.array_equal(opened(folder, cache, str(both)).predict(inputs()), expected(factor))


def spoil(change: Any) -> Any:
    return lambda one, two: change(two / signing.NAME, one / signing.NAME)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spoil(lambda path, other: remove(path)), "not signed"),
        (spoil(lambda path, other: put(path, b"{}")), "none of the trusted keys"),
        (spoil(lambda path, other: put(path, b"\xff")), "none of the trusted keys"),
        (spoil(lambda path, other: flip(path, path.read_bytes().index(b'"signature": "') + 20)), "none of the trusted"),
        (spoil(lambda path, other: put(path, other.read_bytes())), "none of the trusted keys"),
        (lambda one, two: flip(two / "model.onnx"), "model.onnx is not what was released"),
        (lambda one, two: flip(two / "manifest.json"), "manifest.json is not what was released"),
    ],
    ids=["missing", "empty", "no-text", "changed", "of-another-release", "model", "manifest"],
)
def test_a_release_that_does_not_hold_leaves_the_old_one_at_work(
    folder: Path, cache: Path, keys: Any, change: Any, said: str
) -> None:
    private, public = keys["a"]
    releases = open_releases(folder, private)
    one = promote(releases, 2)
    champion = opened(folder, cache, public)
    two = promote(releases, 3)
    change(folder / one.files, folder / two.files)
    assert not champion.refresh()
    assert said in champion.problem and "sales release 2" in champion.problem
    assert np.array_equal(champion.predict(inputs()), expected(2))
    with pytest.raises(IntegrityError, match="sales release 2"):
        opened(folder, cache, public)


def test_a_cache_filled_without_trusted_keys_is_not_believed_offline(folder: Path, cache: Path, keys: Any) -> None:
    promote(open_releases(folder), 2)
    Champion.open(str(folder), "sales", cache=cache)
    with pytest.raises(IntegrityError, match="not signed"):
        opened(folder, cache, keys["a"][1])
    folder.rename(folder.with_name("unmounted"))
    with pytest.raises((IntegrityError, UnavailableError)):
        opened(folder, cache, keys["a"][1])


@pytest.mark.parametrize("text", ["", "nonsense", "private"])
def test_what_are_no_trusted_keys(folder: Path, cache: Path, tmp_path: Path, keys: Any, text: str) -> None:
    path = tmp_path / "keys.pem"
    path.write_text(Path(keys["a"][0]).read_text() if text == "private" else text)
    with pytest.raises(SettingError, match=r"keys\.pem: "):
        opened(folder, cache, str(path))
    with pytest.raises(SettingError, match=r"gone\.pem: trusted keys cannot be read"):
        opened(folder, cache, str(tmp_path / "gone.pem"))
