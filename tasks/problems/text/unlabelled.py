"""These strategies make rows without a label, which the teachers label for a student."""

import numpy as np
from pydantic import Field

from tasks.core.errors import DataError
from tasks.problems.base import Dataset, Inputs, Rows, Synthesis
from tasks.problems.text.dataset import Texts
from tasks.problems.text.disturbances import disturb_texts


def _encoded(dataset: Texts, texts: list[str]) -> Inputs:
    return {name: field.encode(texts) for name, field in dataset.contract.tokens.items()}


class Unlabelled(Synthesis):
    """Unlabelled draws `rows` of the texts that the table has without a label, at most all of them."""

    def make(self, dataset: Dataset, rng: np.random.Generator) -> tuple[Inputs, Rows]:
        assert isinstance(dataset, Texts)
        count = min(self.rows, len(dataset.unlabelled))
        if not count:
            raise DataError("augment: the table has no row without a label; take another kind, or leave it out")
        chosen = rng.permutation(len(dataset.unlabelled))[:count]
        texts = dataset.unlabelled.gather(chosen).to_list()
        return _encoded(dataset, texts), rng.choice(dataset.splits["train"], count)


class Misspelt(Synthesis):
    """Misspelt makes rows of training texts with `typos` (share of the letters) and without some words (`drop`)."""

    typos: float = Field(default=0.05, ge=0, lt=1)
    drop: float = Field(default=0.1, ge=0, lt=1)

    def make(self, dataset: Dataset, rng: np.random.Generator) -> tuple[Inputs, Rows]:
        assert isinstance(dataset, Texts)
        parents = rng.choice(dataset.splits["train"], self.rows)
        texts = [dataset.texts[row] for row in parents]
        for kind, level in (("drop", self.drop), ("typos", self.typos)):
            texts = disturb_texts(kind, level, texts, int(rng.integers(2**32)))
        return _encoded(dataset, [text[: dataset.options.longest] for text in texts]), parents


SYNTHESIS: dict[str, type[Synthesis]] = {"unlabelled": Unlabelled, "misspelt": Misspelt}
