"""Signed releases: with trusted keys nothing is read that one of them did not sign; without, nothing changes."""

import json
import shutil
import stat
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.cli.main import main
from tasks.core.errors import ConfigError, IntegrityError, UsageError
from tasks.core.storage import FolderStore
from tasks.releases import signing
from tasks.releases.ledger import Entry
from tasks.releases.signing import generate, load_keys
from tasks.releases.store import ReleaseStore
from tasks.releases.verification import verify
from tasks.scoring.scorer import Scorer
from tests.tamper import flip, put, remove


@pytest.fixture
def keys(tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    """Paths of a pair of keys by name, private and public; made when they are first asked for."""

    def pair(name: str) -> tuple[str, str]:
        private, public = tmp_path / name / signing.PRIVATE, tmp_path / name / signing.PUBLIC
        if not private.exists():
            generate(tmp_path / name)
        return str(private), str(public)

    return pair


def store(folder: Path, *, private: str = "", trusted: str = "", workload: str = "sales") -> ReleaseStore:
    return ReleaseStore(FolderStore(folder), workload, load_keys(private, trusted))


def promote(releases: ReleaseStore, text: str, expected: int) -> Entry:
    files = {"model.onnx": text.encode(), "contract.json": b"{}"}
    return releases.publish(files, expected=expected, run_id=text, as_of=date(2026, 1, 1), reason="better")


@pytest.fixture
def signed(folder: Path, keys: Any) -> ReleaseStore:
    """Two releases by one key, which is trusted."""
    private, public = keys("a")
    releases = store(folder, private=private, trusted=public)
    promote(releases, "one", 0)
    promote(releases, "two", 1)
    return releases


def test_a_signed_release_is_read_verified_and_rolled_back_to(signed: ReleaseStore, folder: Path, keys: Any) -> None:
    consumer = store(folder, trusted=keys("a")[1])
    verify(consumer)
    assert consumer.read(consumer.release(), "model.onnx") == b"two"
    assert consumer.rollback(1, "two is bad").release == 1
    assert consumer.read(consumer.release(), "model.onnx") == b"one"


def test_without_trusted_keys_signed_and_unsigned_releases_are_as_good(signed: ReleaseStore, folder: Path) -> None:
    anybody = store(folder)
    promote(anybody, "three", 2)
    assert not (folder / anybody.release().files / signing.NAME).exists()
    verify(anybody)
    assert anybody.champion_file(1, "model.onnx") == b"one"


def test_a_retry_writes_the_same_signature(signed: ReleaseStore, folder: Path, tmp_path: Path, keys: Any) -> None:
    before = (folder / signed.release(1).files / signing.NAME).read_bytes()
    again = promote(store(tmp_path / "elsewhere", private=keys("a")[0]), "one", 0)
    assert (tmp_path / "elsewhere" / again.files / signing.NAME).read_bytes() == before


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", signing.NAME])
def test_one_flipped_bit_is_refused(signed: ReleaseStore, folder: Path, name: str) -> None:
    path = folder / signed.release().files / name
    flip(path, path.read_bytes().index(b'"signature": "') + 20 if name == signing.NAME else 1)
    with pytest.raises(IntegrityError, match=name):
        verify(signed)
    with pytest.raises(IntegrityError, match=name):
        signed.read(signed.release(), "model.onnx")


def swap_case(name: str) -> Callable[[Path, Path], None]:
    def change(one: Path, two: Path) -> None:
        data = json.loads((two / signing.NAME).read_bytes())
        data[name] = data[name].swapcase()
        put(two / signing.NAME, json.dumps(data))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda one, two: remove(two / signing.NAME),
            r"sales release 2: not signed .*`nightstill release sign sales 2`",
        ),
        (lambda one, two: put(two / signing.NAME, b""), "is not a signature"),
        (lambda one, two: put(two / signing.NAME, b"[]"), "is not a signature"),
        (lambda one, two: put(two / signing.NAME, b'{"key": "a", "signature": "?"}'), "is not a signature"),
        (swap_case("signature"), "is no signature of these files by a trusted key"),
        (
            lambda one, two: put(two / signing.NAME, (one / signing.NAME).read_bytes()),
            "sales release 2: .* is no signature of these files by a trusted key .*roll back",
        ),
    ],
    ids=["missing", "empty", "no-object", "no-base64", "changed", "of-another-release"],
)
def test_a_wrong_signature_is_refused(signed: ReleaseStore, folder: Path, change: Any, said: str) -> None:
    one, two = (folder / signed.release(number).files for number in (1, 2))
    change(one, two)
    for use in (
        lambda: verify(signed),
        lambda: signed.files(signed.release()),
        lambda: signed.champion_file(2, "model.onnx"),
    ):
        with pytest.raises(IntegrityError, match=said):
            use()
    assert signed.read(signed.release(1), "model.onnx") == b"one"


def test_nothing_is_scored_with_a_release_that_is_not_signed(folder: Path, keys: Any) -> None:
    promote(store(folder), "one", 0)
    with pytest.raises(IntegrityError, match="sales release 1: not signed"):
        Scorer(store(folder, trusted=keys("a")[1]), "sales")


def test_no_rollback_to_a_release_that_is_not_signed(folder: Path, keys: Any) -> None:
    private, public = keys("a")
    promote(store(folder), "one", 0)
    releases = store(folder, private=private, trusted=public)
    promote(releases, "two", 1)
    with pytest.raises(IntegrityError, match="sales release 1: not signed"):
        releases.rollback(1, "two is bad")
    assert releases.release().release == 2


def test_a_release_signed_for_another_workload_is_refused(signed: ReleaseStore, folder: Path, keys: Any) -> None:
    shutil.copytree(folder / "sales", folder / "returns")
    for path in (folder / "returns" / "ledger").iterdir():  # whoever can write there can make a ledger that holds
        path.unlink()
    entry = signed.release()
    other = ReleaseStore(FolderStore(folder), "returns")
    other.ledger.append(
        expected=0,
        kind="promote",
        files=entry.files.replace("sales", "returns"),
        model_sha256=entry.model_sha256,
        manifest_sha256=entry.manifest_sha256,
        run_id="",
        as_of=entry.as_of,
        reason="",
    )
    with pytest.raises(IntegrityError, match=r"returns release 1: .* is no signature of these files"):
        store(folder, trusted=keys("a")[1], workload="returns").files(other.ledger.entries()[0])


def test_a_key_that_is_not_trusted_signs_in_vain(signed: ReleaseStore, folder: Path, keys: Any) -> None:
    promote(store(folder, private=keys("b")[0]), "three", 2)
    with pytest.raises(IntegrityError, match=r"sales release 3: .* is no signature of these files by a trusted key"):
        signed.read(signed.release(), "model.onnx")


def test_while_keys_change_both_are_trusted(signed: ReleaseStore, folder: Path, tmp_path: Path, keys: Any) -> None:
    old, new = keys("a")[1], keys("b")[1]
    promote(store(folder, private=keys("b")[0]), "three", 2)
    both = tmp_path / "both.pem"
    both.write_text(Path(old).read_text() + Path(new).read_text())
    verify(store(folder, trusted=str(both)))
    verify(store(folder, trusted=both.read_text()))
    with pytest.raises(IntegrityError, match="sales release 1"):
        verify(store(folder, trusted=new))


def test_a_promotion_that_nobody_would_accept_writes_nothing(folder: Path, keys: Any) -> None:
    with pytest.raises(ConfigError, match="NIGHTSTILL_TRUSTED_KEYS is set and NIGHTSTILL_SIGNING_KEY is not"):
        promote(store(folder, trusted=keys("a")[1]), "one", 0)
    with pytest.raises(ConfigError, match="is none of NIGHTSTILL_TRUSTED_KEYS"):
        promote(store(folder, private=keys("b")[0], trusted=keys("a")[1]), "one", 0)
    assert not (folder / "sales" / "files").exists() and not (folder / "sales" / "ledger").exists()


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("", "signing_key"),
        ("", "trusted_keys"),
        ("nonsense", "signing_key"),
        ("nonsense", "trusted_keys"),
        ("other kind", "signing_key"),
        ("other kind", "trusted_keys"),
        ("the other half", "signing_key"),
        ("the other half", "trusted_keys"),
    ],
)
def test_what_is_no_key_is_refused_by_the_name_of_its_setting(
    text: str, setting: str, tmp_path: Path, keys: Any
) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    other = X25519PrivateKey.generate()
    if text == "other kind" and setting == "signing_key":
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        text = other.private_bytes(pem, form, serialization.NoEncryption()).decode()
    elif text == "other kind":
        pem, shape = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        text = other.public_key().public_bytes(pem, shape).decode()
    elif text == "the other half":
        text = Path(keys("a")[setting == "signing_key"]).read_text()
    path = tmp_path / "key.pem"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"NIGHTSTILL_{setting.upper()}=.*key.pem: not "):
        load_keys(**{setting: str(path)})
    with pytest.raises(ConfigError, match=rf"NIGHTSTILL_{setting.upper()}=.*gone.pem: cannot be read"):
        load_keys(**{setting: str(tmp_path / "gone.pem")})


def test_the_private_key_is_its_owner_s_alone_and_never_replaced(tmp_path: Path) -> None:
    private, public, identity = generate(tmp_path / "keys")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    (trusted,) = load_keys(trusted_keys=str(public)).trusted
    assert signing.identity(trusted) == identity
    before = private.read_bytes()
    with pytest.raises(UsageError, match=r"signing-key\.pem: is there already"):
        generate(tmp_path / "keys")
    assert private.read_bytes() == before


def test_the_program_makes_keys_and_signs_what_was_released_before_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as caught:
            main(["release", *arguments])
        return int(caught.value.code or 0)

    monkeypatch.setenv("NIGHTSTILL_RELEASE_STORE", str(folder))
    promote(store(folder), "one", 0)
    assert run("keygen", "--out", str(tmp_path / "keys")) == 0
    monkeypatch.setenv("NIGHTSTILL_TRUSTED_KEYS", str(tmp_path / "keys" / signing.PUBLIC))
    assert run("verify", "sales") == 76
    assert "error: sales release 1: not signed" in capsys.readouterr().err
    assert run("sign", "sales", "1") == 78
    monkeypatch.setenv("NIGHTSTILL_SIGNING_KEY", str(tmp_path / "keys" / signing.PRIVATE))
    assert run("sign", "sales", "1") == 0
    assert run("verify", "sales") == 0
    assert run("keygen", "--out", str(tmp_path / "keys")) == 64
