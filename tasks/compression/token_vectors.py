"""This step is for models with a vector for each number of a token, of which nearly all their bytes are."""

from typing import Protocol, runtime_checkable

from pydantic import Field
from torch import Tensor, nn

from tasks.compression.step import ALL, Calibration, FineTune, TorchStep
from tasks.core.errors import ConfigError
from tasks.problems.base import Inputs


@runtime_checkable
class TokenTable(Protocol):
    """A TokenTable is a model that looks up a vector for each token."""

    def seen(self, inputs: Inputs) -> Tensor:
        """Return (rows,) how often the inputs look up each row; what stands for no token is 0."""
        ...

    def token_vectors(self) -> Tensor:
        """Return the table (rows, width), its first row for no token."""
        ...

    def keep_rows(self, kept: Tensor) -> None:
        """Keep these rows (some,), sorted, alone; a token of another one counts as none that has a vector."""
        ...


class TokenVectors(TorchStep):
    """`keep` is the share of the table's rows that stay: those that add most to the sums of `samples` training rows.

    A row adds the square of its vector's length as often as a token looks it up. Tokens of the others add nothing; a
    table of two bytes a row says where a row went, so that the contract's numbers of tokens stay as they are.
    """

    kind = "token-vectors"
    phase = "structure"
    needs = frozenset({"float weights", "token vectors"})
    leaves = ALL - {"token vectors"}
    keep: float = Field(gt=0, lt=1)
    samples: int = Field(default=4096, gt=0)

    def apply(self, model: nn.Module, tune: FineTune, calibration: Calibration) -> None:
        """Take the rows that add least away, then fine-tune. Raises ConfigError without a table of tokens."""
        if not isinstance(model, TokenTable):
            raise ConfigError(f"step {self.kind}: model {type(model).__name__} has no vectors of tokens; drop the step")
        table = model.token_vectors().detach()
        added = model.seen(calibration(self.samples)) * table.square().sum(dim=1)
        added[0] = -1.0  # no token's row is kept in any case
        count = max(1, round(self.keep * (len(table) - 1)))
        model.keep_rows(added.topk(count).indices.sort().values)
        if self.epochs:
            tune(model, self.epochs, self.learning_rate_factor)
