"""An embedding turns static columns into numbers."""

from torch import Tensor, nn

from tasks.problems.base import FeatureContract


class StaticEmbedding(nn.Module):
    """It learns `size` numbers a static column, side by side: (n, columns) codes -> (n, columns * size).

    All columns share one table, in which their codes are rows: one look-up in the graph. Without `first` the first
    column, the place in the season where the forecast begins, is left out.
    """

    def __init__(self, contract: FeatureContract, size: int, *, first: bool = True) -> None:
        super().__init__()
        counts = [len(book) for book in contract.categories.values()]
        self.left, self.passed = (0, 0) if first else (1, sum(counts[:1]))
        counts = counts[self.left :]
        self.width = len(counts) * size
        self.table = nn.Embedding(sum(counts), size) if counts else None
        if self.table is not None:
            nn.init.normal_(self.table.weight, std=0.1)

    def forward(self, static: Tensor) -> Tensor:
        if self.left:
            static = static[:, self.left :] - self.passed
        if self.table is None:
            return static.float()  # (n, 0): there is nothing to embed
        vectors: Tensor = self.table(static)
        return vectors.flatten(1)
