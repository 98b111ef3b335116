"""This module checks Ed25519 signatures (RFC 8032) of manifests, made when a release is published."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from serving.client.errors import IntegrityError, SettingError
from serving.client.origin import SMALL, regular
from serving.client.release import sha256

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

END = "-----END PUBLIC KEY-----"


class TrustedKeys:
    """These are the public keys, of which one must have signed."""

    def __init__(self, keys: "Sequence[Ed25519PublicKey]") -> None:
        self._keys = keys

    @classmethod
    def load(cls, keys: str | Path) -> "TrustedKeys":
        """Load keys from a PEM file with one or more keys, or from PEM text. Raises SettingError."""
        try:
            from cryptography.exceptions import UnsupportedAlgorithm
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
            from cryptography.hazmat.primitives.serialization import load_pem_public_key
        except ImportError:
            raise SettingError("trusted keys need the library `cryptography`; install it") from None
        text, origin = str(keys), "trusted keys"
        if not text.lstrip().startswith("-----BEGIN"):
            origin = text
            try:
                text = regular(Path(keys), SMALL).decode()
            except (OSError, ValueError, IntegrityError) as error:
                raise SettingError(f"{origin}: trusted keys cannot be read: {error}") from None
        blocks = [f"{block.strip()}\n{END}\n" for block in text.split(END)[:-1]]
        try:
            found = [load_pem_public_key(block.encode()) for block in blocks]
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SettingError(f"{origin}: not a PEM file of public keys: {error}") from None
        keys_ = [key for key in found if isinstance(key, Ed25519PublicKey)]
        if not found or len(keys_) < len(found):
            raise SettingError(f"{origin}: expected one or more Ed25519 public keys in PEM, and nothing else")
        return cls(keys_)

    def check(self, workload: str, manifest: bytes, signature: bytes | None, what: str) -> None:
        """Check a manifest's signature by any of the keys. Raises IntegrityError, naming the release by `what`."""
        from cryptography.exceptions import InvalidSignature

        if signature is None:
            raise IntegrityError(f"{what}: not signed, but trusted keys are set; have it signed, or roll back")
        try:
            made = base64.b64decode(json.loads(signature)["signature"], validate=True)
        except (ValueError, KeyError, TypeError, RecursionError):
            made = b""
        message = f"nightstill release 1\n{workload}\n{sha256(manifest)}\n".encode()
        for key in self._keys:
            try:
                key.verify(made, message)
            except InvalidSignature:
                continue
            return
        raise IntegrityError(
            f"{what}: its signature is by none of the trusted keys, or not of these files; "
            "restore it from a copy, trust the key that signed it, or roll back"
        )
