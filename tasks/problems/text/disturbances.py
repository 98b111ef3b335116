"""The robustness gate applies these disturbances: to the texts themselves, or to their tokens."""

from collections.abc import Sequence

import numpy as np

from tasks.core.errors import ConfigError
from tasks.problems.base import Inputs

OF_TEXTS = ("typos", "drop", "case")
OF_TOKENS = ("noise",)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def disturb_texts(kind: str, level: float, texts: Sequence[str], seed: int) -> list[str]:
    """Return disturbed texts.

    typos: each letter with probability `level` is left out, doubled, swapped with the next or another one. drop: each
    word is left out with that probability, but never all. case: each letter is a capital with that probability.
    """
    rng = np.random.default_rng(seed)
    change = {"typos": _typos, "drop": _drop, "case": _case}[kind]
    return [change(text, level, rng) for text in texts]


def _typos(text: str, level: float, rng: np.random.Generator) -> str:
    hit = (rng.random(len(text)) < level).tolist()
    how, letter = rng.integers(4, size=len(text)).tolist(), rng.integers(len(LETTERS), size=len(text)).tolist()
    found: list[str] = []
    place = 0
    while place < len(text):
        here = text[place]
        if not hit[place] or not here.isalpha():
            found.append(here)
        elif how[place] == 1:
            found.append(here * 2)
        elif how[place] == 2 and place + 1 < len(text):
            found.append(text[place + 1] + here)
            place += 1
        elif how[place] == 3:
            found.append(LETTERS[letter[place]])
        place += 1
    return "".join(found)


def _drop(text: str, level: float, rng: np.random.Generator) -> str:
    words = text.split()
    kept = [word for word, gone in zip(words, rng.random(len(words)) < level, strict=True) if not gone]
    return " ".join(kept or words)


def _case(text: str, level: float, rng: np.random.Generator) -> str:
    return "".join(here.upper() if up else here for here, up in zip(text, rng.random(len(text)) < level, strict=True))


def disturb_tokens(kind: str, level: float, inputs: Inputs, seed: int, buckets: int) -> Inputs:
    """Return copies where each token is another one with probability `level` (noise). Raises ConfigError."""
    if kind not in OF_TOKENS:
        known = ", ".join((*OF_TEXTS, *OF_TOKENS))
        raise ConfigError(f"gates.robustness.kind: unknown kind {kind!r}; there are: {known}")
    rng = np.random.default_rng(seed)
    result = {}
    for name, values in inputs.items():
        others = rng.integers(1, buckets, values.shape)
        result[name] = np.where((values > 0) & (rng.random(values.shape) < level), others, values)
    return result
