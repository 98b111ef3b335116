"""Models are listed by problem and kind. Each kind of learning names its own in `tasks/problems/<kind>/models`.

Other packages add a function `build(options, contract)` by an entry point of `nightstill.models`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from tasks.core.config import Spec, explained
from tasks.core.loader import Kinds, load
from tasks.problems import PROBLEMS
from tasks.problems.base import FeatureContract

Build = Callable[[dict[str, Any], FeatureContract], nn.Module]


def networks(problem: str) -> Mapping[str, str]:
    """Return kind -> `module:function` of the networks that fit a problem."""
    return _named("NETWORKS", problem)


def trees(problem: str) -> Mapping[str, str]:
    """Return kind -> `module:function` of the models that fit themselves: teachers only."""
    return _named("TREES", problem)


def _named(table: str, problem: str) -> Mapping[str, str]:
    """Return a table of the kind's own `models`; an unknown kind of learning has no models."""
    found: Mapping[str, str] = load(f"tasks.problems.{problem}.models:{table}") if problem in PROBLEMS else {}
    return found


def models(problem: str) -> Kinds:
    """Return all models that fit a problem, other packages' included."""
    return Kinds("models", {**networks(problem), **trees(problem)}, learning=problem)


def build_model(spec: Spec, contract: FeatureContract) -> nn.Module:
    """Build a model with fresh weights from torch's global generator; its forward takes the contract's inputs in order.

    Of the inputs it takes all, or those that its attribute `uses` names.

    Raises ConfigError on an unknown kind or option.
    """
    build: Build = models(contract.problem).find(spec.kind, "model.kind")
    with explained("model", kind=spec.kind):
        return build(spec.options, contract)
