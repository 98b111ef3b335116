"""Secrets in every setting that holds one, right and malformed, and where they are found afterwards."""

import base64
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

# Stands in each part of a secret, wherever somebody may cut it.
SEED = "pl4nt"
LETTERS = 20


def secret(*signs: str) -> str:
    """A password whose parts are joined by these signs."""
    return "".join(f"{SEED}{secrets.token_hex(4)}{sign}" for sign in (*signs, ""))


def private_key() -> str:
    """A good one, in PEM."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def right() -> dict[str, str]:
    """Settings that work, as far as a night without a server uses them."""
    return {
        "NIGHTSTILL_SIGNING_KEY": private_key(),
        "NIGHTSTILL_NOTIFY": f"webhook:https://127.0.0.1:1/services/{secret()}",
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": secret("/", "+"),
        "AWS_SESSION_TOKEN": secret(),
        "MLFLOW_TRACKING_PASSWORD": secret(),
    }


def unreachable() -> dict[str, str]:
    """Settings of the right form; nothing listens where they lead."""
    return right() | {
        "SALES_DB_URL": f"postgresql://me:{secret()}@127.0.0.1:1/sales",
        "NIGHTSTILL_TRACKING_URI": f"http://me:{secret()}@127.0.0.1:1",
    }


def malformed() -> dict[str, str]:
    """Settings that somebody pasted without escaping, or cut."""
    cut = base64.b64encode(secret().encode() * 3).decode() + SEED
    return right() | {
        "SALES_DB_URL": f"postgresql://me:{secret(':', '@', '/')}@127.0.0.1:1/sales",
        "NIGHTSTILL_TRACKING_URI": f"http://me:{secret(':', '/')}@127.0.0.1:1",
        "NIGHTSTILL_SIGNING_KEY": f'"-----BEGIN PRIVATE KEY-----\\n{cut}\\n{SEED}{cut}',
        "NIGHTSTILL_NOTIFY": f"webhook:127.0.0.1:1/services/{secret()}?token={secret()}",
    }


def leaks(settings: Mapping[str, str], texts: Mapping[str, bytes]) -> list[str]:
    """Where a part of any of these secrets is told, with its surroundings."""
    lines = [line for value in settings.values() for line in re.split(r"\s|\\n", value) if "BEGIN" in value]
    keys = [line[:LETTERS].encode() for line in lines if len(line) > LETTERS and not line.startswith(("-", '"'))]
    parts = [SEED.encode(), *keys]
    return [
        f"{name}: {text[max(at - 60, 0) : at + LETTERS]!r}"
        for name, text in texts.items()
        for part in parts
        if (at := text.find(part)) >= 0
    ]


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by path."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
