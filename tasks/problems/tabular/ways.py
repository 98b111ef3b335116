"""A tabular workload comes to its rows in one of two ways: by a label in the table, or from events of an entity."""

from collections.abc import Mapping
from typing import Any

from tasks.core.loader import load
from tasks.problems.base import Problem

EVENTS = "tasks.problems.tabular.problem:Tabular"
LABELLED = "tasks.problems.tabular.labelled.problem:LabelledTabular"


def make_tabular(options: Mapping[str, Any]) -> Problem:
    """Return the problem of labelled rows if the options name a `task`, else that of events of an entity."""
    problem: Problem = load(LABELLED if "task" in options else EVENTS)(options)
    return problem
