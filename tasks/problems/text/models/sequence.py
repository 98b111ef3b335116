"""These networks read a text's words in order, each word as the vector of its hashed number."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.core.errors import ConfigError
from tasks.problems.base import FeatureContract
from tasks.problems.blocks.features import FeaturedModel
from tasks.problems.text.dataset import WORDS

DEVIATION = 0.1
FAR = -1e4
"""It is added to what a place that has no word says: no maximum and no attention finds it."""


class WordOptions(Frozen):
    """`width`: numbers of a word's vector. `rows`: of the table; words whose numbers agree modulo it share a vector.

    `drop_words`: share of a text's words that training hides each time, `dropout`: of other numbers.
    """

    width: int = Field(default=96, gt=0)
    rows: int = Field(default=8192, gt=1)
    drop_words: float = Field(default=0.1, ge=0, lt=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)


class CnnOptions(WordOptions):
    """`channels` of each of the `kernels`, which are numbers of words in a row."""

    channels: int = Field(default=96, gt=0)
    kernels: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1)


class GruOptions(WordOptions):
    """`hidden`: numbers of the state in each direction."""

    hidden: int = Field(default=96, gt=0)


class TransformerOptions(WordOptions):
    """`layers` and `heads` are those of the transformer."""

    layers: int = Field(default=2, gt=0)
    heads: int = Field(default=4, gt=0)


class WordReader(FeaturedModel):
    """A WordReader makes the words' vectors, which a subclass sums up as `feature_width` numbers.

    `shortens`: whether its answer is the same without the places behind the last word, which training then leaves out.
    """

    shortens: ClassVar[bool] = True

    def __init__(self, options: WordOptions, contract: FeatureContract, width: int) -> None:
        super().__init__()
        self.uses = (WORDS,)
        self.rows, self.drop_words, self.width = options.rows, options.drop_words, width
        self.table = nn.Embedding(options.rows, options.width, padding_idx=0)
        with torch.no_grad():
            self.table.weight[1:].normal_(0, DEVIATION)
        self.dropout = nn.Dropout(options.dropout)
        self.output = nn.Linear(width, contract.output_shape[0])

    @property
    def feature_width(self) -> int:
        return self.width

    def summary(self, vectors: Tensor, there: Tensor) -> Tensor:
        """Return (n, feature_width) of vectors (n, words, width); `there` (n, words): whether a place has a word."""
        raise NotImplementedError

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        (words,) = inputs
        there = words > 0
        places = words % self.rows
        if self.training:
            length = max(1, int(there.sum(dim=1).max())) if self.shortens else words.shape[1]
            places, there = places[:, :length], there[:, :length]
            hidden = torch.rand(places.shape, device=places.device) < self.drop_words
            places = places.masked_fill(hidden, 0)
        features = self.dropout(self.summary(self.dropout(self.table(places)), there))
        return self.output(features), features


class Cnn(WordReader):
    """A Cnn takes the maximum of each channel over the text (Kim 2014, arXiv:1408.5882)."""

    def __init__(self, options: CnnOptions, contract: FeatureContract) -> None:
        super().__init__(options, contract, options.channels * len(options.kernels))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(options.width, options.channels, kernel, padding=kernel // 2) for kernel in options.kernels
        )

    def summary(self, vectors: Tensor, there: Tensor) -> Tensor:
        length = vectors.shape[1]
        far = torch.where(there, 0.0, FAR)[:, None]
        # The first place counts in any case, so that an empty text has an answer.
        far = torch.cat([torch.zeros_like(far[:, :, :1]), far[:, :, 1:]], dim=2)
        turned = vectors.transpose(1, 2)
        found = [(layer(turned)[:, :, :length] + far).amax(dim=2) for layer in self.convolutions]
        return functional.relu(torch.cat(found, dim=1))


class Gru(WordReader):
    """A Gru reads the text in both directions, and takes the maximum of each number of its states."""

    shortens = False

    def __init__(self, options: GruOptions, contract: FeatureContract) -> None:
        super().__init__(options, contract, 2 * options.hidden)
        self.gru = nn.GRU(options.width, options.hidden, batch_first=True, bidirectional=True)

    def summary(self, vectors: Tensor, there: Tensor) -> Tensor:
        states: Tensor = self.gru(vectors)[0]
        far = torch.where(there, 0.0, FAR)[:, :, None]
        far = torch.cat([torch.zeros_like(far[:, :1]), far[:, 1:]], dim=1)
        return (states + far).amax(dim=1)


class Transformer(WordReader):
    """A Transformer has layers of attention with their norm first, and takes the mean over the words."""

    def __init__(self, options: TransformerOptions, contract: FeatureContract) -> None:
        super().__init__(options, contract, options.width)
        if options.width % options.heads:
            raise ConfigError(f"model.width: expected a multiple of {options.heads} heads, got {options.width}")
        self.places = nn.Parameter(torch.randn(contract.inputs[WORDS][1][0], options.width) * DEVIATION)
        self.blocks = nn.ModuleList(Block(options.width, options.heads, options.dropout) for _ in range(options.layers))
        self.norm = nn.LayerNorm(options.width)

    def summary(self, vectors: Tensor, there: Tensor) -> Tensor:
        values = vectors + self.places[: vectors.shape[1]]
        far = torch.where(there, 0.0, FAR)[:, None, None, :]
        for block in self.blocks:
            values = block(values, far)
        share = there[:, :, None].float()
        return (self.norm(values) * share).sum(dim=1) / share.sum(dim=1).clamp(min=1)  # type: ignore[no-any-return]


class Block(nn.Module):
    """A block is attention and a small network, each behind a norm and added to what it read."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, far: Tensor) -> Tensor:
        """Return (n, words, width); `far` (n, 1, 1, words) is added to what each place sees of each other."""
        length, width = values.shape[1:]
        parts = self.queries_keys_values(self.first(values)).reshape(-1, length, 3, self.heads, width // self.heads)
        queries, keys, others = parts.permute(2, 0, 3, 1, 4)
        weights = functional.softmax(queries @ keys.transpose(2, 3) / math.sqrt(width // self.heads) + far, dim=3)
        seen = (weights @ others).transpose(1, 2).reshape(-1, length, width)
        values = values + self.dropout(self.out(seen))
        inner = functional.gelu(self.inner(self.second(values)))
        return values + self.dropout(self.outer(inner))  # type: ignore[no-any-return]


def build_cnn(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError on a wrong option."""
    return Cnn(CnnOptions.model_validate(dict(options)), contract)


def build_gru(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError on a wrong option."""
    return Gru(GruOptions.model_validate(dict(options)), contract)


def build_transformer(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError or ConfigError on a wrong option."""
    return Transformer(TransformerOptions.model_validate(dict(options)), contract)
