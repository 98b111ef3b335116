"""The facts of raw tables by name, read from a snapshot's `about.json`, whatever version wrote it."""

from collections.abc import Mapping
from typing import Any

FACTS = ("rows", "entities", "first_date", "last_date", "mean_target", "unreadable")


def table_facts_of(about: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The facts of each table by name; those of a release from before tables had names have the name ""."""
    if "tables" in about:
        return dict(about["tables"])
    return {"": {name: about[name] for name in FACTS if name in about}} if "rows" in about else {}


def facts_of(about: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The facts of one table: that which has the name, or the only one of a release from before names."""
    found = table_facts_of(about)
    return found.get(name, found.get(""))
