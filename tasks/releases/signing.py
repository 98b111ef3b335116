"""This module signs releases: Ed25519 (RFC 8032) over a release's manifest, which lists the digest of every file.

A signature vouches for a release's files and its workload. Which release is champion is for the ledger alone.
"""

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.errors import ConfigError, IntegrityError, UsageError
from tasks.core.redaction import is_path
from tasks.releases.manifest import sha256

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

NAME = "manifest.sig"
PRIVATE, PUBLIC = "signing-key.pem", "trusted-keys.pem"
END = "-----END PUBLIC KEY-----"


@dataclass(frozen=True)
class Keys:
    """Keys sign and check. `private`: signs releases; None: unsigned. `trusted`: with any, one must have signed."""

    private: "Ed25519PrivateKey | None" = None
    trusted: "tuple[Ed25519PublicKey, ...]" = ()

    def sign(self, workload: str, listing: bytes) -> dict[str, bytes]:
        """Return the signature's file by name, for a release with this manifest; empty without a private key.

        Equal manifests give equal bytes. Raises ConfigError when the trusted keys would refuse the release.
        """
        if self.private is None:
            if self.trusted:
                raise ConfigError(
                    "NIGHTSTILL_TRUSTED_KEYS is set and NIGHTSTILL_SIGNING_KEY is not: nobody would accept an unsigned "
                    "release; set the key that signs"
                )
            return {}
        public = self.private.public_key()
        if self.trusted and public not in self.trusted:
            raise ConfigError(
                f"NIGHTSTILL_SIGNING_KEY: its public key {identity(public)} is none of NIGHTSTILL_TRUSTED_KEYS; "
                "add it there first"
            )
        made = self.private.sign(_message(workload, listing))
        content = {
            "algorithm": "Ed25519",
            "key": identity(public),
            "signature": base64.b64encode(made).decode(),
        }
        return {NAME: (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()}

    def check(self, workload: str, release: int, listing: bytes, signature: bytes | None, url: str) -> None:
        """Check a release's manifest against its signature file at `url`, None if there is none.

        Raises IntegrityError naming the release unless a trusted key made it; does nothing without trusted keys.
        """
        from cryptography.exceptions import InvalidSignature

        if not self.trusted:
            return
        again = f"`nightstill release sign {workload} {release}` signs it once its origin is known"
        if signature is None:
            raise IntegrityError(
                f"{workload} release {release}: not signed ({url} is missing), but NIGHTSTILL_TRUSTED_KEYS is set; "
                f"{again}, or roll back to a signed release"
            )
        try:
            found = json.loads(signature)
            made, name = base64.b64decode(found["signature"], validate=True), str(found["key"])
        except (ValueError, KeyError, TypeError):
            raise IntegrityError(
                f"{workload} release {release}: {url} is not a signature; restore it from a copy, or {again}"
            ) from None
        for key in self.trusted:
            try:
                key.verify(made, _message(workload, listing))
            except InvalidSignature:
                continue
            return
        known = ", ".join(map(identity, self.trusted))
        raise IntegrityError(
            f"{workload} release {release}: {url} (by key {name}) is no signature of these files by a trusted key "
            f"({known}); restore it from a copy, trust that key, or roll back to another release"
        )


UNSIGNED = Keys()


def identity(key: "Ed25519PublicKey") -> str:
    """Return a key's name for people: the first 16 digits of the SHA-256 of its raw 32 bytes."""
    return sha256(key.public_bytes_raw())[:16]


def load_keys(signing_key: str = "", trusted_keys: str = "") -> Keys:
    """Load keys by their settings: paths of PEM files, or PEM text; empty for none. Raises ConfigError."""
    return Keys(
        private=_private(_pem(signing_key, "NIGHTSTILL_SIGNING_KEY")) if signing_key else None,
        trusted=_public(_pem(trusted_keys, "NIGHTSTILL_TRUSTED_KEYS")) if trusted_keys else (),
    )


def generate(folder: Path) -> tuple[Path, Path, str]:
    """Make a pair of keys as files below `folder`: the private one for its owner alone, the public one for everybody.

    Returns both paths and the key's identity. Raises UsageError when there are such files already.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private, public = folder / PRIVATE, folder / PUBLIC
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, mode, content in (
            (
                private,
                0o600,
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ),
            ),
            (
                public,
                0o644,
                key.public_key().public_bytes(
                    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
                ),
            ),
        ):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
    except FileExistsError as error:
        raise UsageError(f"{error.filename}: is there already; name another folder, keys are never replaced") from None
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be written ({error.strerror})") from None
    return private, public, identity(key.public_key())


def _message(workload: str, listing: bytes) -> bytes:
    """Return the bytes to sign: a release's digest together with its workload, so that it stands for no other."""
    return f"nightstill release 1\n{workload}\n{sha256(listing)}\n".encode()


def _pem(value: str, setting: str) -> tuple[str, str]:
    """Return the PEM text, and its name for a message."""
    if "-----BEGIN" in value:
        return value, setting
    named = f"{setting}={value}" if is_path(value) else setting  # it may be a key after all, which nobody must read
    try:
        return Path(value).read_text(), named
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise ConfigError(f"{named}: cannot be read: {reason}; name a PEM file, or give its whole text") from None


def _private(pem: tuple[str, str]) -> "Ed25519PrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    text, origin = pem
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{origin}: not an Ed25519 private key in PEM without a password; see `release keygen`")
    return key


def _public(pem: tuple[str, str]) -> "tuple[Ed25519PublicKey, ...]":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    text, origin = pem
    *blocks, rest = text.split(END)
    found: Sequence[object]
    try:
        found = [load_pem_public_key(f"{block.strip()}\n{END}\n".encode()) for block in blocks]
    except (ValueError, UnsupportedAlgorithm):
        found = []
    keys = tuple(key for key in found if isinstance(key, Ed25519PublicKey))
    if not found or len(keys) < len(found) or rest.strip():
        raise ConfigError(
            f"{origin}: not one or more Ed25519 public keys in PEM, one after the other, and nothing else"
        )
    return keys
