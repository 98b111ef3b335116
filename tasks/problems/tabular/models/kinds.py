"""A kind of model is built for labelled rows or for events of entities, as the contract says."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from tasks.core.errors import ConfigError
from tasks.problems.base import FeatureContract


def build_mlp(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError on a wrong option."""
    if labelled(contract):
        from tasks.problems.tabular.models.network import build_network

        return build_network(options, contract)
    from tasks.problems.tabular.models.mlp import build_mlp as of_events

    return of_events(options, contract)


def build_linear(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a linear model with fresh weights. Raises ConfigError for events, ValidationError on a wrong option."""
    _require_labelled("linear", contract)
    from tasks.problems.tabular.models.network import build_linear as of_rows

    return of_rows(options, contract)


def build_tabm(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build an ensemble with fresh weights. Raises ConfigError for events, ValidationError on a wrong option."""
    _require_labelled("tabm", contract)
    from tasks.problems.tabular.models.tabm import TabM, TabMOptions

    return TabM(TabMOptions.model_validate(dict(options)), contract)


def build_lightgbm(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build unfitted trees. Raises ConfigError for events, ValidationError on a wrong option."""
    _require_labelled("lightgbm", contract)
    from tasks.problems.tabular.models.boosted import LightGbm, LightGbmOptions

    return LightGbm(LightGbmOptions.model_validate(dict(options)), contract)


def build_catboost(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build unfitted trees. Raises ConfigError for events or without catboost, ValidationError on a wrong option."""
    _require_labelled("catboost", contract)
    from tasks.problems.tabular.models.boosted import CatBoost, CatBoostOptions

    return CatBoost(CatBoostOptions.model_validate(dict(options)), contract)


def labelled(contract: FeatureContract) -> bool:
    """Return whether rows have a label of their own."""
    return "task" in contract.settings.get("options", ())


def _require_labelled(kind: str, contract: FeatureContract) -> None:
    if not labelled(contract):
        raise ConfigError(f"model.kind: {kind} is for rows with a label (problem.task); events of entities have: mlp")
