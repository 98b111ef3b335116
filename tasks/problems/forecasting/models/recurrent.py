"""These teachers are recurrent networks over the seasons of the window, with a decoder of known future days."""

from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.decoder import Encoded
from tasks.problems.forecasting.models.layout import Layout
from tasks.problems.forecasting.models.patches import Patches

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentOptions(Frozen):
    """`hidden` is the width of the recurrent layers (of each direction) and of the decoder.

    `patch`: steps that are read at once, a season without it.
    """

    hidden: int = Field(default=128, gt=0)
    layers: int = Field(default=2, gt=0)
    embedding: int = Field(default=16, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    patch: int | None = Field(default=None, gt=0)


class SeasonalRecurrence(nn.Module):
    """It maps (n, context, channels) to (n, width): last state of a recurrence over seasons or patches, not steps.

    Steps of a season shorten the recurrence (seven-fold for weeks), which speeds training and eases learning;
    after SegRNN (Lin et al. 2023, arXiv:2308.11200). Cells: LSTM (Hochreiter & Schmidhuber 1997) or GRU (Cho et al.
    2014, arXiv:1406.1078). `both`: a second network reads backwards (Graves & Schmidhuber 2005), so the summary is
    the last state of the one and the first step's state of the other.
    """

    def __init__(self, cell: str, both: bool, options: RecurrentOptions, contract: FeatureContract) -> None:
        super().__init__()
        layout = Layout.of(contract)
        self.patches = Patches(layout.context, options.patch or layout.season, layout.channels)
        self.cells = CELLS[cell](
            self.patches.width,
            options.hidden,
            options.layers,
            batch_first=True,
            dropout=options.dropout if options.layers > 1 else 0.0,
            bidirectional=both,
        )
        self.both, self.hidden = both, options.hidden
        self.width = options.hidden * (1 + both)

    def forward(self, window: Tensor) -> Tensor:
        states, _ = self.cells(self.patches(window))
        last: Tensor = states[:, -1]
        return torch.cat([last[:, : self.hidden], states[:, 0, self.hidden :]], dim=1) if self.both else last


def _build(options: dict[str, Any], contract: FeatureContract, *, cell: str, both: bool = False) -> nn.Module:
    chosen = RecurrentOptions.model_validate(options)
    encoder = SeasonalRecurrence(cell, both, chosen, contract)
    return Encoded(encoder, encoder.width, contract, chosen.embedding, chosen.hidden, chosen.dropout)


build_lstm = partial(_build, cell="lstm")
build_gru = partial(_build, cell="gru")
build_bilstm = partial(_build, cell="lstm", both=True)
