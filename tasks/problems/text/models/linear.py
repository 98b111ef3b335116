"""The linear teacher weighs every token that training saw: TF-IDF and one hyperplane a class, fitted by liblinear."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn

from tasks.core.config import Frozen
from tasks.problems.base import Dataset, FeatureContract, Floats, Rows
from tasks.problems.blocks.temperature import least_loss
from tasks.problems.text.dataset import GRAMS, Texts
from tasks.problems.text.metrics import score_labels


class LinearOptions(Frozen):
    """`strength`: liblinear's C, the weight of errors against that of large numbers."""

    strength: float = Field(default=0.5, gt=0)


class Linear(nn.Module):
    """Linear scores a text by the sum of its tokens' weights, divided by the length of its vector of TF-IDF.

    The weights are a linear support vector machine's, one class against all others (Fan et al. 2008, LIBLINEAR); its
    margins become logits by one factor that is best on the validation rows (Guo et al. 2017, arXiv:1706.04599).
    """

    slots: Tensor

    def __init__(self, options: LinearOptions, contract: FeatureContract) -> None:
        super().__init__()
        self.uses = (GRAMS,)
        self.options = options
        classes = contract.output_shape[0]
        self.register_buffer("slots", torch.zeros(contract.tokens[GRAMS].buckets, dtype=torch.int32))
        self.weights = nn.Parameter(torch.zeros(1, classes), requires_grad=False)
        self.squares = nn.Parameter(torch.zeros(1, 1), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(classes), requires_grad=False)
        self.settled: list[float] = []

    def forward(self, grams: Tensor) -> Tensor:
        """Return (n, classes) logits of (n, length) numbers of tokens."""
        slots = self.slots[grams].long()
        length = self.squares[slots].sum(dim=1).clamp(min=1e-12).sqrt()
        found: Tensor = self.weights[slots].sum(dim=1) / length + self.bias
        return found

    def fit(self, dataset: Dataset, train: Rows, valid: Rows, *, seed: int) -> list[float]:
        """Learn from `train`; return the validation error after scaling."""
        self._separate(dataset, train, seed)
        margins = self._outputs(dataset, valid)
        label = dataset.target(valid)
        self._scale(math.exp(-least_loss(margins, label, np.ones(len(label)))))
        return [score_labels(self._outputs(dataset, valid), label, None).error]

    def fit_again(self, dataset: Dataset, train: Rows, settled: Sequence[float], *, seed: int) -> None:
        """Learn from `train`, and make logits by the factor of before."""
        self._separate(dataset, train, seed)
        self._scale(settled[0])

    def _separate(self, dataset: Dataset, train: Rows, seed: int) -> None:
        """Fit the hyperplanes, whose margins are the outputs."""
        from sklearn.svm import LinearSVC

        assert isinstance(dataset, Texts)
        grams = dataset.inputs(train, (GRAMS,))[GRAMS]
        seen = np.unique(grams)
        seen = seen[seen > 0]
        slots = np.zeros(len(self.slots), np.int32)
        slots[seen] = np.arange(1, len(seen) + 1)
        documents = np.bincount(slots[grams[grams > 0]], minlength=len(seen) + 1)[1:]
        idf = np.log((1 + len(train)) / (1 + documents)) + 1
        label = dataset.target(train)
        machine = LinearSVC(C=self.options.strength, random_state=seed)
        machine.fit(_matrix(slots[grams], idf), label)
        classes = self.bias.shape[0]
        weights, bias = np.zeros((len(seen) + 1, classes)), np.full(classes, -1.0)
        known = machine.classes_
        if len(known) == 2:  # one hyperplane for both
            weights[1:, known] = np.stack([-machine.coef_[0], machine.coef_[0]], axis=1) * idf[:, None]
            bias[known] = -machine.intercept_[0], machine.intercept_[0]
        else:
            weights[1:, known] = machine.coef_.T * idf[:, None]
            bias[known] = machine.intercept_
        self.slots = torch.from_numpy(slots)
        squares = np.concatenate([[0.0], idf**2])[:, None]
        for name, values in (("weights", weights), ("bias", bias), ("squares", squares)):
            setattr(self, name, nn.Parameter(torch.from_numpy(values.astype(np.float32)), requires_grad=False))

    def _scale(self, factor: float) -> None:
        self.settled = [factor]
        with torch.no_grad():
            self.weights.mul_(factor)
            self.bias.mul_(factor)

    def _outputs(self, dataset: Dataset, rows: Rows) -> Floats:
        with torch.no_grad():
            parts = [
                self(torch.from_numpy(dataset.inputs(part, (GRAMS,))[GRAMS]))
                for part in dataset.parts(rows, (GRAMS,), most=128)
            ]
        return torch.cat(parts).numpy()


def _matrix(slots: NDArray[np.int32], idf: NDArray[np.float64]) -> sparse.csr_matrix:
    """Return (rows, tokens) TF-IDF of tokens that stand once in a text, each row of length 1."""
    row, place = np.nonzero(slots)
    column = slots[row, place] - 1
    values = idf[column]
    length = np.sqrt(np.bincount(row, values**2, len(slots)))
    return sparse.csr_matrix((values / length[row], (row, column)), shape=(len(slots), len(idf)))


def build_linear(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build an unfitted model. Raises ValidationError on a wrong option."""
    return Linear(LinearOptions.model_validate(dict(options)), contract)
