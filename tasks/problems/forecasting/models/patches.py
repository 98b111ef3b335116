"""Series are cut into pieces of one season each."""

from torch import Tensor, nn


class Patches(nn.Module):
    """It maps (n, length, channels) or (n, length) to (n, steps, season * channels), the newest season last.

    The oldest steps that fill no season are left out; a season longer than the series makes one patch of all.
    After PatchTST (Nie et al. 2023, arXiv:2211.14730), whose patches are not bound to a season.
    """

    def __init__(self, length: int, season: int, channels: int = 1) -> None:
        super().__init__()
        season = min(season, length)
        self.steps, self.width = length // season, season * channels
        self.surplus = length % season

    def forward(self, series: Tensor) -> Tensor:
        whole = series[:, self.surplus :] if self.surplus else series
        return whole.reshape(-1, self.steps, self.width)
