"""The sets that recommendations are measured on: each is the workload `recommendation` with another table or split.

A set with `without_last: n` is its `base` as it was n events a user earlier: a rolling origin of leave-one-out.
"""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from bench.rows.nights import PROJECT, Night, night_of_section
from tasks.config.workload import Workload, load_workload
from tasks.problems.ranking.events import EVENTS, ITEM, USER, in_order
from tasks.problems.ranking.options import parse_options
from tasks.problems.ranking.problem import table_contracts
from tasks.tables.sources import get_source

SETTINGS = Path(__file__).with_name("settings.yaml")
SETS: dict[str, dict[str, Any]] = yaml.safe_load(SETTINGS.read_text())["sets"]


OF_THE_BENCH = ("base", "without_last")


def base_of(name: str) -> str:
    """Return the set of which this one is an earlier origin; others are their own."""
    return str(SETS[name].get("base", name))


def section_of(name: str) -> tuple[dict[str, Any], date]:
    """Return a set's section, as of a workload in params.yaml, and the last day of its events."""
    section = load_workload(PROJECT / "params.yaml", "recommendation").model_dump(mode="json")
    differs = {key: value for key, value in SETS[name].items() if key not in OF_THE_BENCH}
    as_of: date = differs.pop("as_of")
    problem = section["problem"] | differs.pop("problem", {})
    return section | differs | {"problem": problem}, as_of


def night_of_set(name: str, seed: int, folder: Path) -> Night:
    """Return a set's night in a folder, begun or not."""
    section, as_of = section_of(name)
    earlier = SETS[name].get("without_last")
    if earlier:
        section["source"] = shortened(Workload.model_validate(section), as_of, earlier, folder)
    return night_of_section("recommendation", section | {"seed": seed}, folder, as_of)


def shortened(section: Workload, as_of: date, count: int, folder: Path) -> dict[str, Any]:
    """Write a section's tables into `folder`, without each user's last `count` events, and return their source."""
    options = parse_options(section.problem.options)
    tables = get_source(section.source, table_contracts(options), "recommendation", PROJECT).fetch(as_of).tables
    left = pl.len().over(USER) - 1 - pl.int_range(pl.len()).over(USER)
    kept = in_order(tables[EVENTS].lazy(), options, as_of).filter(left >= count).select(USER, ITEM)
    tables = dict(tables)
    tables[EVENTS] = tables[EVENTS].join(kept, left_on=[options.user, options.item], right_on=[USER, ITEM], how="semi")
    folder.mkdir(parents=True, exist_ok=True)
    for table, rows in tables.items():
        rows.write_parquet(folder / f"{table}.parquet")
    paths = {table: {"kind": "table", "path": str((folder / f"{table}.parquet").resolve())} for table in tables}
    return {"kind": "tables", "tables": paths}
