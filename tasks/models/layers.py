"""Parts that forecasting models share: window scale, static embeddings, ordered quantiles."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.problems.base import FeatureContract

PRIOR_WEIGHT = 0.1


class WindowScale(nn.Module):
    """Average daily units of each window over its observed days, with one pseudo-day of a tenth of the overall mean.

    Keeps the scale above zero for windows without sales. history (n, context, channels) -> (n, 1) units.
    """

    prior: Tensor

    def __init__(self, contract: FeatureContract) -> None:
        super().__init__()
        prior = torch.tensor([PRIOR_WEIGHT * float(contract.statistics["mean_units"]), 1.0])
        self.register_buffer("prior", prior, persistent=False)

    def forward(self, history: Tensor) -> Tensor:
        units_and_days = history[:, :, :2].sum(dim=1) + self.prior
        return units_and_days[:, :1] / units_and_days[:, 1:]


class StaticEmbedding(nn.Module):
    """One embedding table a static column, concatenated: (n, columns) codes -> (n, columns * size)."""

    def __init__(self, contract: FeatureContract, size: int) -> None:
        super().__init__()
        books = contract.categories.values()
        self.tables = nn.ModuleList(nn.Embedding(len(book), size) for book in books)
        self.width = len(contract.categories) * size
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.1)  # type: ignore[arg-type]

    def forward(self, static: Tensor) -> Tensor:
        if not self.width:
            return static.float()  # (n, 0): there is nothing to embed
        return torch.cat([table(static[:, column]) for column, table in enumerate(self.tables)], dim=1)


class OrderedQuantiles(nn.Module):
    """Raw numbers (…, Q) -> non-negative quantiles in rising order (…, Q).

    The number in the median's place is the median; the others are gaps, cut off at zero, that are added up outward
    from it. One Max and one MatMul in the graph.
    """

    floor: Tensor
    sums: Tensor

    def __init__(self, contract: FeatureContract) -> None:
        super().__init__()
        levels: list[float] = list(contract.settings["options"]["quantiles"])
        count, median = len(levels), levels.index(0.5)
        floor, sums = torch.zeros(count), torch.zeros(count, count)
        floor[median] = -torch.inf
        sums[median] = 1
        for place in range(count):
            if place < median:
                sums[place, : place + 1] = -1
            if place > median:
                sums[place, place:] = 1
        self.register_buffer("floor", floor, persistent=False)
        self.register_buffer("sums", sums, persistent=False)

    def forward(self, raw: Tensor) -> Tensor:
        return functional.relu(torch.maximum(raw, self.floor) @ self.sums)


def quantile_offsets(contract: FeatureContract) -> Tensor:
    """(horizon * Q,) start values of a head's bias: median 0, each gap half the window's scale."""
    levels: list[float] = list(contract.settings["options"]["quantiles"])
    offsets = torch.full(contract.output_shape, 0.5)
    offsets[:, levels.index(0.5)] = 0
    return offsets.flatten()


def seasonal_average(contract: FeatureContract) -> Tensor:
    """(horizon, context) start values of a linear skip: half the same weekday's average, half the overall average."""
    settings: dict[str, Any] = contract.settings["options"]
    horizon, context, season = int(settings["horizon"]), int(settings["context"]), int(settings["season"])
    day, lag = torch.arange(horizon)[:, None], torch.arange(-context, 0)[None, :]
    same = ((day - lag) % season == 0).float()
    return 0.5 * same / same.sum(dim=1, keepdim=True) + 0.5 / context
