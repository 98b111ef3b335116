"""This module reads the facts of raw tables by name from a snapshot's `about.json`, whatever version wrote it."""

from collections.abc import Mapping
from typing import Any

FACTS = ("rows", "entities", "first_date", "last_date", "mean_target", "unreadable")


def table_facts_of(about: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the facts of each table by name; a release from before tables had names has one, named ""."""
    if "tables" in about:
        return dict(about["tables"])
    return {"": {name: about[name] for name in FACTS if name in about}} if "rows" in about else {}


def facts_of(about: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Return the facts of one table: the one with this name, or the only one of a release from before names."""
    found = table_facts_of(about)
    return found.get(name, found.get(""))
