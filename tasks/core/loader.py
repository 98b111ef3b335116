"""Finds a component by its name in a table, and imports its module only when a workload uses it."""

from importlib import import_module
from typing import Any


def load(reference: str) -> Any:
    """What `module:name` refers to."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
