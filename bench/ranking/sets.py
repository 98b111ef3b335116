"""The sets that recommendations are measured on: each is the workload `recommendation` with another table or split."""

from datetime import date
from pathlib import Path
from typing import Any

import yaml

from bench.rows.nights import PROJECT, Night, night_of_section
from tasks.config.workload import load_workload

SETTINGS = Path(__file__).with_name("settings.yaml")
SETS: dict[str, dict[str, Any]] = yaml.safe_load(SETTINGS.read_text())["sets"]


def section_of(name: str) -> tuple[dict[str, Any], date]:
    """Return a set's section, as of a workload in params.yaml, and the last day of its events."""
    section = load_workload(PROJECT / "params.yaml", "recommendation").model_dump(mode="json")
    differs = dict(SETS[name])
    as_of: date = differs.pop("as_of")
    problem = section["problem"] | differs.pop("problem", {})
    return section | differs | {"problem": problem}, as_of


def night_of_set(name: str, seed: int, folder: Path) -> Night:
    """Return a set's night in a folder, begun or not."""
    section, as_of = section_of(name)
    return night_of_section("recommendation", section | {"seed": seed}, folder, as_of)
