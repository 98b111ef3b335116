"""Problems are kinds of learning: each is a folder, or another package's, loaded when a workload uses its name."""

from tasks.core.config import Spec
from tasks.core.loader import Kinds
from tasks.problems.base import Problem

PROBLEMS = {
    "forecasting": "tasks.problems.forecasting.problem:Forecasting",
    "tabular": "tasks.problems.tabular.ways:make_tabular",
    "ranking": "tasks.problems.ranking.problem:Ranking",
    "text": "tasks.problems.text.problem:Text",
    "vision": "tasks.problems.vision.problem:Vision",
}


def get_problem(spec: Spec) -> Problem:
    """Return the problem that a workload's `problem` section names. Raises ConfigError on an unknown kind or option."""
    problem: Problem = Kinds("problems", PROBLEMS, Problem).find(spec.kind, "problem.kind")(spec.options)
    return problem
