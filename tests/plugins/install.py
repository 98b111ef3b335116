"""Installs a package for a test as an installer does: its files beside a dist-info folder, without a network."""

import base64
import hashlib
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ACME = Path(__file__).parent / "acme"
Entries = Mapping[str, Mapping[str, str]]


def install(site: Path, name: str, version: str, entries: Entries, files: Mapping[str, str]) -> None:
    """`entries`: group -> kind -> `module:name`; `files`: path -> text."""
    listed = {path: text.encode() for path, text in files.items()}
    info = f"{name}-{version}.dist-info"
    for stale in site.glob(f"{name}-*.dist-info"):
        stale.rename(stale.with_suffix(".gone"))
    listed[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    text = "".join(
        f"[{group}]\n" + "".join(f"{kind} = {value}\n" for kind, value in kinds.items())
        for group, kinds in entries.items()
    )
    listed[f"{info}/entry_points.txt"] = text.encode()
    for path, content in listed.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
    digests = {path: base64.urlsafe_b64encode(hashlib.sha256(content).digest()) for path, content in listed.items()}
    record = [f"{path},sha256={digests[path].decode().rstrip('=')},{len(content)}" for path, content in listed.items()]
    (site / info / "RECORD").write_text("\n".join([*record, f"{info}/RECORD,,"]) + "\n")


def install_acme(site: Path, version: str = "1.2", **changed: str) -> None:
    """The example package; `changed`: text that is added to one of its modules, by name."""
    entries = tomllib.loads((ACME / "pyproject.toml").read_text())["project"]["entry-points"]
    files = {
        f"acme/{file.name}": file.read_text() + changed.get(file.stem, "") for file in (ACME / "acme").glob("*.py")
    }
    install(site, "acme", version, entries, files)


@contextmanager
def visible(site: Path) -> Iterator[None]:
    """What is installed in a folder can be found and imported; afterwards nothing of it is left."""
    before = set(sys.modules)
    sys.path.insert(0, str(site))
    try:
        yield
    finally:
        sys.path.remove(str(site))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(site)):
                del sys.modules[name]
