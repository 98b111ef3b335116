"""These steps are for models with a vector for each item of a catalogue, of which nearly all their bytes are."""

from pydantic import Field
from torch import nn

from tasks.compression.step import ALL, NETWORK, Calibration, FineTune, TorchStep
from tasks.core.errors import ConfigError
from tasks.problems.blocks.vectors import MOST_LEVELS, Catalogued, Kept, keep, kept_of


class Tail(TorchStep):
    """`keep` is the share of the items, the most popular ones, that keep a vector; the others have their bias alone.

    What few users had, a model knows little of: the tail's vectors take most of the bytes and tell the least.
    """

    kind = "tail"
    phase = "structure"
    needs = frozenset({"float weights", "item vectors"})
    leaves = ALL
    keep: float = Field(gt=0, lt=1)

    def apply(self, model: nn.Module, tune: FineTune, calibration: Calibration) -> None:
        """Take the tail's vectors away, then fine-tune. Raises ConfigError without item vectors."""
        for owner, name, before in _tables(model, self.kind):
            items = getattr(owner, name).shape[0] - before
            keep(owner, name, Kept(before, items - max(1, round(self.keep * items))))
        if self.epochs:
            tune(model, self.epochs, self.learning_rate_factor)


class ProductCodes(TorchStep):
    """Each `dims` numbers of a vector become one of `levels` that all items share; an item keeps codes of a byte.

    The shared numbers are fine-tuned, the codes stay. A table that would not shrink by it stays as it is.
    """

    kind = "product-codes"
    phase = "rank"
    needs = frozenset({"float weights", "item vectors"})
    leaves = NETWORK - {"item vectors"}
    dims: int = Field(default=4, gt=0)
    levels: int = Field(default=MOST_LEVELS, gt=1, le=MOST_LEVELS)

    def require(self, model: nn.Module) -> None:
        """Raise ConfigError where `dims` do not share a width."""
        for owner, name, _ in _tables(model, self.kind):
            width = getattr(owner, name).shape[1]
            if width % self.dims:
                raise ConfigError(
                    f"step {self.kind}: dims: {self.dims} do not divide vectors of {width} numbers; take a divisor"
                )

    def apply(self, model: nn.Module, tune: FineTune, calibration: Calibration) -> None:
        """Find codes, then fine-tune. Raises ConfigError without item vectors, or where `dims` do not share a width."""
        self.require(model)
        coded = False
        for owner, name, before in _tables(model, self.kind):
            rows, width = getattr(owner, name).shape
            known = kept_of(owner, name)
            after = known.after if known else 0
            rows -= before + after
            levels = min(self.levels, rows)
            if rows * width // self.dims + 4 * levels * width < 4 * rows * width:
                keep(owner, name, Kept(before, after, self.dims, levels))
                coded = True
        if coded and self.epochs:
            tune(model, self.epochs, self.learning_rate_factor)


def _tables(model: nn.Module, kind: str) -> list[tuple[nn.Module, str, int]]:
    tables = model.vectors() if isinstance(model, Catalogued) else []
    if not tables:
        raise ConfigError(f"step {kind}: model {type(model).__name__} has no vectors of items; drop the step")
    return tables
