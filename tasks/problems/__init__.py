"""Kinds of learning, by name."""

from tasks.config import Spec
from tasks.errors import ConfigError
from tasks.problems.base import Problem


def get_problem(spec: Spec) -> Problem:
    """The problem that a workload's `problem` section asks for. Raises ConfigError on an unknown kind or option."""
    match spec.kind:
        case "forecasting":
            from tasks.problems.forecasting.problem import Forecasting

            return Forecasting(spec.options)
        case "tabular":
            from tasks.problems.tabular.problem import Tabular

            return Tabular(spec.options)
    raise ConfigError(f"problem.kind: unknown kind {spec.kind!r}; there are: forecasting, tabular")
