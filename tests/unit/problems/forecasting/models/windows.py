"""Small contracts, windows and options, from which the tests here build every forecasting model."""

from typing import Any

import torch
from torch import Tensor, nn

from tasks.core.config import Spec
from tasks.problems.base import FeatureContract
from tasks.problems.blocks.inputs import inputs_of
from tasks.problems.models import build_model

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
    "match": {"heads": 2, "width": 3, "hidden": 6, "channels": 3, "embedding": 2},
}


def contract_of(**changes: Any) -> FeatureContract:
    """Three covariates of the series and two of the calendar; static codes of phases, two stores, a department."""
    options = {"horizon": 5, "context": 14, "season": 7, "quantiles": QUANTILES, **changes}
    context, horizon, season = options["context"], options["horizon"], options["season"]
    return FeatureContract(
        problem="forecasting",
        inputs={
            "units": ("float32", (context,)),
            "observed": ("float32", (context,)),
            "future": ("float32", (horizon, 3)),
            "static": ("int64", (3,)),
            "past": ("float32", (context, 5)),
            "calendar": ("float32", (horizon, 2)),
        },
        output_shape=(horizon, len(options["quantiles"]) + bool(options.get("mean"))),
        categories={
            "phase": tuple(map(str, range(season))),
            "store_id": ("<unknown>", "s1", "s2"),
            "department": ("<unknown>", "d1"),
        },
        statistics={"mean_units": 10.0},
        settings={"options": options},
    )


CONTRACT = contract_of()


def model_of(kind: str, contract: FeatureContract = CONTRACT, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_model(Spec(kind=kind, **{**SMALL[kind], **options}), contract).eval()


def first_codes(contract: FeatureContract = CONTRACT) -> Tensor:
    """(columns,) first code of each static column: where those of the column before end."""
    counts = [len(values) for values in contract.categories.values()]
    return torch.tensor([sum(counts[:place]) for place in range(len(counts))], dtype=torch.int64)


def windows_of(rows: int, contract: FeatureContract = CONTRACT) -> dict[str, Tensor]:
    """All inputs of windows without gaps, of values up to 30 and with each column's second code."""
    generator = torch.Generator().manual_seed(1)
    shapes = {name: shape for name, (_, shape) in contract.inputs.items() if name != "static"}
    windows = {name: torch.rand(rows, *shape, generator=generator) for name, shape in shapes.items()}
    windows["units"] *= 30
    windows["observed"][:] = 1
    windows["static"] = (first_codes(contract) + 1).repeat(rows, 1)
    return windows


def seen_by(model: nn.Module, windows: dict[str, Tensor]) -> list[Tensor]:
    """The arguments of `model.forward`: the inputs that it takes."""
    return [windows[name] for name in inputs_of(model, windows)]


def forecast(model: nn.Module, windows: dict[str, Tensor]) -> Tensor:
    result: Tensor = model(*seen_by(model, windows))
    return result
