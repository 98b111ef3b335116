"""Kinds of learning, by name: each is a folder, loaded when a workload uses it."""

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.core.loader import load
from tasks.problems.base import Problem

PROBLEMS = {
    "forecasting": "tasks.problems.forecasting.problem:Forecasting",
    "tabular": "tasks.problems.tabular.problem:Tabular",
}


def get_problem(spec: Spec) -> Problem:
    """The problem that a workload's `problem` section asks for. Raises ConfigError on an unknown kind or option."""
    if spec.kind not in PROBLEMS:
        raise ConfigError(f"problem.kind: unknown kind {spec.kind!r}; there are: {', '.join(PROBLEMS)}")
    problem: Problem = load(PROBLEMS[spec.kind])(spec.options)
    return problem
