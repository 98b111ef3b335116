"""A teacher: an LSTM over the window's weeks, and a decoder of known future days."""

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from tasks.config import Frozen
from tasks.models.decoder import Encoded
from tasks.problems.base import FeatureContract


class LstmOptions(Frozen):
    """`hidden`: width of the LSTM and of the decoder."""

    hidden: int = Field(default=128, gt=0)
    layers: int = Field(default=2, gt=0)
    embedding: int = Field(default=16, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class WeeklyLstm(nn.Module):
    """(n, context, channels) -> (n, hidden): last state of an LSTM whose steps are whole seasons, not days.

    Steps of a season shorten the recurrence (seven-fold for weeks), which speeds training and eases learning;
    after SegRNN (Lin et al. 2023, arXiv:2308.11200).
    """

    def __init__(self, channels: int, context: int, season: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.steps, self.width = context // season, season * channels
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(self.width, hidden, layers, batch_first=True, dropout=between)

    def forward(self, window: Tensor) -> Tensor:
        states, _ = self.lstm(window.reshape(-1, self.steps, self.width))
        last: Tensor = states[:, -1]
        return last


def build_lstm(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """The LSTM teacher from unvalidated options."""
    chosen = LstmOptions.model_validate(options)
    context, channels = contract.inputs["history"][1]
    season = int(contract.settings["options"]["season"])
    encoder = WeeklyLstm(channels, context, season, chosen.hidden, chosen.layers, chosen.dropout)
    return Encoded(encoder, chosen.hidden, contract, chosen.embedding, chosen.hidden, chosen.dropout)
