"""Models by problem and kind."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from torch import nn

from tasks.config import Spec
from tasks.errors import ConfigError
from tasks.models.attention import build_attention
from tasks.models.boosting.boosted import build_boosted
from tasks.models.cnn import build_cnn
from tasks.models.linear import build_linear
from tasks.models.linear_mlp import build_linear_mlp
from tasks.models.mlp import build_mlp
from tasks.models.patch import build_patch
from tasks.models.recurrent import build_bilstm, build_gru, build_lstm
from tasks.models.rnn import build_multi_rnn, build_rnn
from tasks.models.tcn import build_tcn
from tasks.models.transformer import build_transformer
from tasks.problems.base import FeatureContract

Build = Callable[[dict[str, Any], FeatureContract], nn.Module]


def _tabular_mlp(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    from tasks.models.tabular import build_tabular

    return build_tabular("mlp", options, contract)


KINDS: dict[str, dict[str, Build]] = {
    "forecasting": {
        "lstm": build_lstm,
        "gru": build_gru,
        "bilstm": build_bilstm,
        "tcn": build_tcn,
        "cnn": build_cnn,
        "transformer": build_transformer,
        "mlp": build_mlp,
        "linear-mlp": build_linear_mlp,
        "linear": build_linear,
        "patch": build_patch,
        "rnn": build_rnn,
        "multi-rnn": build_multi_rnn,
        "attention": build_attention,
    },
    "tabular": {"mlp": _tabular_mlp},
}
"""Networks, trained by gradient descent."""

TREES: dict[str, dict[str, Build]] = {"forecasting": {"lightgbm": build_boosted}}
"""Models that fit themselves: teachers only."""


def build_model(spec: Spec, contract: FeatureContract) -> nn.Module:
    """A model with fresh weights from torch's global generator; its forward takes the contract's inputs in order.

    Of the inputs it takes all, or those that its attribute `uses` names.

    Raises ConfigError on an unknown kind or option.
    """
    kinds = {**KINDS.get(contract.problem, {}), **TREES.get(contract.problem, {})}
    if spec.kind not in kinds:
        known = ", ".join(kinds)
        raise ConfigError(f"model.kind: unknown kind {spec.kind!r} for {contract.problem}; there are: {known}")
    try:
        return kinds[spec.kind](spec.options, contract)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["model", *map(str, first["loc"])])
        raise ConfigError(f"{where} of kind {spec.kind}: {first['msg']}, got {first['input']!r:.80}") from error
