"""Windows cut into pieces of one season each."""

from torch import Tensor, nn

from tasks.models.layout import Layout
from tasks.problems.base import FeatureContract


class Patches(nn.Module):
    """(n, context, channels) -> (n, steps, season * channels), the newest season last.

    The oldest steps that fill no season are left out; a season longer than the context makes one patch of all.
    After PatchTST (Nie et al. 2023, arXiv:2211.14730), whose patches are not bound to a season.
    """

    def __init__(self, contract: FeatureContract, channels: int | None = None) -> None:
        super().__init__()
        layout = Layout.of(contract)
        season = min(layout.season, layout.context)
        self.steps, self.width = layout.context // season, season * (channels or layout.channels)
        self.surplus = layout.context % season

    def forward(self, window: Tensor) -> Tensor:
        return window[:, self.surplus :].reshape(-1, self.steps, self.width)
