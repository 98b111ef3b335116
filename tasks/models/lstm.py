"""A teacher: an LSTM over the seasons of the window, and a decoder of known future days."""

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from tasks.config import Frozen
from tasks.models.decoder import Encoded
from tasks.models.patches import Patches
from tasks.problems.base import FeatureContract


class LstmOptions(Frozen):
    """`hidden`: width of the LSTM and of the decoder."""

    hidden: int = Field(default=128, gt=0)
    layers: int = Field(default=2, gt=0)
    embedding: int = Field(default=16, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class SeasonalLstm(nn.Module):
    """(n, context, channels) -> (n, hidden): last state of an LSTM whose steps are whole seasons, not days.

    Steps of a season shorten the recurrence (seven-fold for weeks), which speeds training and eases learning;
    after SegRNN (Lin et al. 2023, arXiv:2308.11200).
    """

    def __init__(self, contract: FeatureContract, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.patches = Patches(contract)
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(self.patches.width, hidden, layers, batch_first=True, dropout=between)

    def forward(self, window: Tensor) -> Tensor:
        states, _ = self.lstm(self.patches(window))
        last: Tensor = states[:, -1]
        return last


def build_lstm(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """The LSTM teacher from unvalidated options."""
    chosen = LstmOptions.model_validate(options)
    encoder = SeasonalLstm(contract, chosen.hidden, chosen.layers, chosen.dropout)
    return Encoded(encoder, chosen.hidden, contract, chosen.embedding, chosen.hidden, chosen.dropout)
