"""This teacher is a temporal convolutional network over the window's days, with a decoder of known future days."""

from typing import Any

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.decoder import Encoded
from tasks.problems.forecasting.models.layout import Layout


class TcnOptions(Frozen):
    """Dilation doubles with each of `layers`: with kernel 3, 5 layers see 63 days. `hidden`: the decoder's width."""

    channels: int = Field(default=64, gt=0)
    layers: int = Field(default=5, gt=0)
    kernel: int = Field(default=3, gt=1)
    hidden: int = Field(default=128, gt=0)
    embedding: int = Field(default=16, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class CausalBlock(nn.Module):
    """It convolves causally with a residual, at every second day counted back from the last: days -> ceil(days / 2).

    The dilated convolution of the next layer would read no other days, so leaving them out changes nothing of the
    last day's state and makes the network several times faster. No day sees a later one.
    """

    def __init__(self, channels: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(channels, channels, kernel, stride=2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, days: Tensor) -> Tensor:
        skipped = (days.shape[2] - 1) % 2
        update = self.convolution(functional.pad(days, (self.convolution.kernel_size[0] - 1 - skipped, 0)))
        result: Tensor = days[:, :, skipped::2] + self.dropout(functional.relu(update))
        return result


class CausalEncoder(nn.Module):
    """It maps (n, context, channels) to (n, width): the last day's state (Bai et al. 2018, arXiv:1803.01271)."""

    def __init__(self, channels: int, options: TcnOptions) -> None:
        super().__init__()
        self.enter = nn.Conv1d(channels, options.channels, 1)
        blocks = [CausalBlock(options.channels, options.kernel, options.dropout) for _ in range(options.layers)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, window: Tensor) -> Tensor:
        last: Tensor = self.blocks(self.enter(window.transpose(1, 2)))[:, :, -1]
        return last


class Tcn(Encoded):
    """Tcn joins a causal encoder, whose channels may be pruned, and the decoder."""

    def channels(self) -> list[tuple[list[nn.Linear | nn.Conv1d], list[nn.Linear | nn.Conv1d]]]:
        """Return (producers, consumers) of the residual stream, which starts the decoder's summary, for pruning."""
        assert isinstance(self.encoder, CausalEncoder)
        blocks: list[nn.Linear | nn.Conv1d] = [
            block.convolution for block in self.encoder.blocks if isinstance(block, CausalBlock)
        ]
        return [([self.encoder.enter, *blocks], [*blocks, self.decoder.from_past])]


def build_tcn(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """Build the convolutional teacher from unvalidated options."""
    chosen = TcnOptions.model_validate(options)
    encoder = CausalEncoder(Layout.of(contract).channels, chosen)
    return Tcn(encoder, chosen.channels, contract, chosen.embedding, chosen.hidden, chosen.dropout)
