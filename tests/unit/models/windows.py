"""Small contracts, windows and options, from which the tests here build every forecasting model."""

from typing import Any

import torch
from torch import Tensor, nn

from tasks.config import Spec
from tasks.models import build_model
from tasks.problems.base import FeatureContract

QUANTILES = (0.1, 0.5, 0.9)
SMALL: dict[str, dict[str, Any]] = {
    "lstm": {"hidden": 16, "layers": 1, "embedding": 2},
    "gru": {"hidden": 16, "layers": 1, "embedding": 2},
    "bilstm": {"hidden": 8, "layers": 1, "embedding": 2},
    "tcn": {"channels": 6, "layers": 3, "hidden": 16, "embedding": 2},
    "cnn": {"channels": 4, "kernels": (2, 7), "hidden": 16, "embedding": 2},
    "transformer": {"width": 8, "heads": 2, "layers": 1, "hidden": 16, "embedding": 2},
    "mlp": {"hidden": 16, "blocks": 1, "embedding": 2, "projection": 2},
    "linear-mlp": {"hidden": 6, "embedding": 2, "projection": 2},
    "linear": {"embedding": 2},
    "patch": {"hidden": 4, "embedding": 2},
    "rnn": {"hidden": 4, "embedding": 2},
    "multi-rnn": {"hidden": 4, "covariates": 3, "embedding": 2},
    "attention": {"hidden": 4, "heads": 2, "embedding": 2},
}


def contract_of(**changes: Any) -> FeatureContract:
    options = {"horizon": 5, "context": 14, "season": 7, "quantiles": QUANTILES, **changes}
    return FeatureContract(
        problem="forecasting",
        inputs={
            "history": ("float32", (options["context"], 6)),
            "future": ("float32", (options["horizon"], 4)),
            "static": ("int64", (2,)),
        },
        output_shape=(options["horizon"], len(options["quantiles"]) + bool(options.get("mean"))),
        categories={"store_id": ("<unknown>", "s1", "s2"), "department": ("<unknown>", "d1")},
        statistics={"mean_units": 10.0},
        settings={"options": options},
    )


CONTRACT = contract_of()


def model_of(kind: str, contract: FeatureContract = CONTRACT, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_model(Spec(kind=kind, **{**SMALL[kind], **options}), contract).eval()


def inputs_of(rows: int, contract: FeatureContract = CONTRACT) -> tuple[Tensor, Tensor, Tensor]:
    """Windows without gaps, of values up to 30."""
    generator = torch.Generator().manual_seed(1)
    history, future = (
        torch.rand(rows, *contract.inputs[name][1], generator=generator) for name in ("history", "future")
    )
    history[:, :, 0] *= 30
    history[:, :, 1] = 1
    return history, future, torch.ones(rows, *contract.inputs["static"][1], dtype=torch.int64)
