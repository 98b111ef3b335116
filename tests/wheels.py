"""A wheel made on the spot, and pip told to look for packages in its folder alone."""

import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest


def make_wheel(folder: Path, members: Mapping[str, str | bytes], name: str = "shopdata", version: str = "1.0") -> str:
    """Write a wheel of these files, and return its SHA-256."""
    info = f"{name}-{version}.dist-info"
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, content in {**members, **about}.items():
            wheel.writestr(member, content)
    return sha256(path.read_bytes()).hexdigest()


def keep_wheel(folder: Path, monkeypatch: pytest.MonkeyPatch, members: Mapping[str, str | bytes]) -> str:
    """Keep a wheel as if pip had fetched it, whose process costs a test a second; return its SHA-256."""
    serve_wheels(folder, monkeypatch)
    digest, kept = make_wheel(folder, members), folder / "home" / "packages"
    kept.mkdir(parents=True, exist_ok=True)
    next(folder.glob("*.whl")).replace(kept / f"{digest}.whl")
    return digest


def serve_wheels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is the only place that pip knows, and what it fetched is kept beside it."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("NIGHTSTILL_HOME", str(folder / "home"))
