"""This module compares the other packages of a run.yaml: distribution -> version and SHA-256 of its files."""

from collections.abc import Mapping
from typing import Any

PREFIX = "run.yaml:plugins."


def named(value: Any) -> dict[str, tuple[str, str]]:
    """Return distribution -> (version, sha256) of all packages below a part of run.yaml's `plugins`."""
    found: dict[str, tuple[str, str]] = {}
    for name, inner in value.items() if isinstance(value, Mapping) else ():
        if isinstance(inner, Mapping) and set(inner) == {"version", "sha256"}:
            found[name] = (str(inner["version"]), str(inner["sha256"]))
        else:
            found |= named(inner)
    return found


def changes(before: Any, now: Any) -> list[str]:
    """Return in words which packages differ between two parts of `plugins`."""
    old, new = named(before), named(now)
    return [
        _change(name, old.get(name), new.get(name)) for name in sorted({*old, *new}) if old.get(name) != new.get(name)
    ]


def _change(name: str, old: tuple[str, str] | None, new: tuple[str, str] | None) -> str:
    if old is None or new is None:
        version, what = (new, "was added") if new else (old, "is no longer used")
        return f"plugin {name} {version[0] if version else ''} {what}"
    if old[0] == new[0]:
        return f"plugin {name} {old[0]} changed: sha256 {old[1][:12]} → {new[1][:12]}"
    return f"plugin {name} {old[0]} → {new[0]}"
