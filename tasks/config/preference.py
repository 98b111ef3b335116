"""What a workload prefers among candidates within its limits: a short form of options that stand in other places."""

from collections.abc import Mapping
from typing import Any, Literal

Preference = Literal["accuracy", "bytes", "latency"]
MINIMISED = {"accuracy": "error", "bytes": "bytes", "latency": "latency"}


def spelled_out(section: Any) -> Any:
    """Return a section with what `prefer` means in place of it; what the section says itself stands.

    Searches minimise what is preferred. With `accuracy` the candidate of the least validation error is tried first,
    and a search keeps within the bytes of the size gate.
    """
    prefer = section.get("prefer") if isinstance(section, Mapping) else None
    if not isinstance(prefer, str) or prefer not in MINIMISED:
        return section
    gates, recipes = section.get("gates"), section.get("recipes")
    found = {name: value for name, value in section.items() if name != "prefer"}
    most = None
    if prefer == "accuracy" and isinstance(gates, Mapping):
        found["gates"] = {"selection_tolerance": 0.0, **gates}
        size = gates.get("size")
        most = size.get("max_bytes") if isinstance(size, Mapping) else None
    if isinstance(recipes, Mapping):
        found["recipes"] = {name: _searching(recipe, MINIMISED[prefer], most) for name, recipe in recipes.items()}
    return found


def _searching(recipe: Any, minimise: str, most: int | None) -> Any:
    search = recipe.get("search") if isinstance(recipe, Mapping) else None
    if not isinstance(search, Mapping):
        return recipe
    limits = search.get("limits")
    if most is not None and isinstance(limits, Mapping):
        search = {**search, "limits": {"bytes": most, **limits}}
    return {**recipe, "search": {"minimise": minimise, **search}}
