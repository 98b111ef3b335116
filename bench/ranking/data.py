"""The films of workload `recommendation`, with their attributes."""

from datetime import date
from pathlib import Path

import polars as pl

from tasks.config.workload import load_workload
from tasks.problems.ranking.events import ITEM, in_order
from tasks.problems.ranking.options import NewItems, parse_options
from tasks.problems.ranking.problem import table_contracts
from tasks.tables.sources import get_source

PROJECT = Path(__file__).parents[2]
AS_OF = date(2026, 10, 7)
ATTRIBUTES = NewItems(words=("genres", "title"), numbers={"year": 10.0})


def films(as_of: date = AS_OF) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the events in order, and ITEM, genres, title and year of the films that have some."""
    section = load_workload(PROJECT / "params.yaml", "recommendation")
    options = parse_options(section.problem.options)
    contracts = table_contracts(options)
    tables = get_source(section.source, contracts, "recommendation", PROJECT).fetch(as_of).tables
    events = in_order(tables["events"].lazy(), options, as_of)
    items = tables["items"].rename({options.item: ITEM})
    return events, items.filter(pl.col(ITEM).is_in(events[ITEM].unique().to_list())).sort(ITEM)
