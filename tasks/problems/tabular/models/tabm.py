"""This network of labelled rows is an ensemble whose members share their weights (TabM, Gorishniy et al. 2024)."""

from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.tabular.models.encoding import Encoding
from tasks.problems.tabular.models.network import Answer


class TabMOptions(Frozen):
    """`members` answer, and are averaged. `hidden` counts the neurons of each hidden layer, of all members together.

    `bins`: pieces a number is cut into. `embedding`: numbers that each category is turned into.
    """

    members: int = Field(default=16, gt=1)
    hidden: tuple[int, ...] = Field(default=(128, 128), min_length=1)
    bins: int = Field(default=32, gt=0, le=64)
    embedding: int = Field(default=4, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class Adapted(nn.Module):
    """Adapted is one linear layer for all members, whose inputs and outputs each member scales for itself.

    (members, n, in) become (members, n, out): a weight of rank one is multiplied into the shared weight (BatchEnsemble,
    Wen et al. 2020). The first layer's input scales begin as signs by chance, so that members differ from the start;
    all others begin at 1 (Gorishniy et al. 2024, arXiv:2410.24210).
    """

    def __init__(self, inputs: int, outputs: int, members: int, *, first: bool) -> None:
        super().__init__()
        self.shared = nn.Linear(inputs, outputs, bias=False)
        signs = torch.randint(0, 2, (members, 1, inputs)) * 2.0 - 1.0
        self.before = nn.Parameter(signs if first else torch.ones(members, 1, inputs))
        self.after = nn.Parameter(torch.ones(members, 1, outputs))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.shared(values * self.before) * self.after + self.bias
        return result


class TabM(nn.Module):
    """TabM answers with the mean of its members: of values, or of chances.

    While it is trained, forward gives (n, members, outputs): each member learns from every row for itself, by the mean
    of the members' losses. The loss of their mean would let them lean on one another.
    """

    def __init__(self, options: TabMOptions, contract: FeatureContract) -> None:
        super().__init__()
        self.members = options.members
        self.encoding = Encoding(contract, bins=options.bins, embedding=options.embedding)
        widths = (self.encoding.width, *options.hidden)
        self.hidden = nn.ModuleList(
            Adapted(*pair, self.members, first=place == 0) for place, pair in enumerate(pairwise(widths))
        )
        self.dropout = nn.Dropout(options.dropout)
        bound = widths[-1] ** -0.5
        outputs = contract.output_shape[0]
        self.weight = nn.Parameter(torch.empty(self.members, widths[-1], outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(self.members, 1, outputs))
        self.answer = Answer(contract)

    def forward(self, *inputs: Tensor) -> Tensor:
        hidden = self.encoding(*inputs).unsqueeze(0)
        for layer in self.hidden:
            hidden = self.dropout(functional.relu(layer(hidden)))
        found: Tensor = self.answer(hidden @ self.weight + self.bias)
        if self.training:
            return found.transpose(0, 1)
        if self.answer.value:
            return found.mean(dim=0)
        chances = functional.softmax(found, dim=2).mean(dim=0)
        return chances.clamp(min=torch.finfo(torch.float32).tiny).log()
