"""fastText beside the nights' texts: run by the Python of `bench-texts`, which alone has its library.

Reads JSON from standard input: `train`, `valid` (lists of [text, number of the label]), `test` (texts), `seed`. Writes
JSON: the `labels` of the test's texts, the `settings` that validation chose, and the `bytes` of the saved model. Words
are cut, and small letters made, as by the project's own rule. Joulin et al. 2017 (arXiv:1607.01759).
"""

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import fasttext

CHOICES = [
    {"epoch": 25, "lr": rate, "wordNgrams": 2, "minn": low, "maxn": 5 if low else 0, "dim": 64, "bucket": 100_000}
    for rate in (0.3, 0.7)
    for low in (0, 2)
]
LABEL = "__label__"
TRIES = 5
"""Equal rows and settings end in weights that are no numbers at some times and not at others."""


def fitted(rows: list[list[Any]], options: dict[str, Any], seed: int, folder: Path) -> Any:
    """Return a model of the rows, by one thread: several would make it another one each time.

    Raises RuntimeError when its weights became no numbers at each of TRIES.
    """
    path = folder / "rows.txt"
    path.write_text("".join(f"{LABEL}{label} {text}\n" for text, label in rows))
    for _ in range(TRIES - 1):
        with contextlib.suppress(RuntimeError):
            return fasttext.train_supervised(str(path), thread=1, seed=seed, verbose=0, **options)
    return fasttext.train_supervised(str(path), thread=1, seed=seed, verbose=0, **options)


def converged(
    rows: list[list[Any]], ranked: list[dict[str, Any]], seed: int, folder: Path
) -> tuple[Any, dict[str, Any]]:
    """Return a model by the first of `ranked` options whose weights stay numbers on these rows, and those options."""
    for options in ranked:
        with contextlib.suppress(RuntimeError):
            return fitted(rows, options, seed, folder), options
    raise SystemExit("fastText: its weights became no numbers with any of its settings; lower their lr")


def told(model: Any, texts: list[str]) -> list[int]:
    """Return the number of each text's likeliest label."""
    return [int(some[0].removeprefix(LABEL)) for some in model.predict(texts)[0]]


def main() -> None:
    """Choose on validation rows, learn from these, too, and answer."""
    asked = json.load(sys.stdin)
    train, valid = asked["train"], asked["valid"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def right(options: dict[str, Any]) -> int:
            try:
                found = told(fitted(train, options, asked["seed"], folder), [text for text, _ in valid])
            except RuntimeError:  # its weights became no numbers: too high a rate
                return -1
            return sum(one == label for one, (_, label) in zip(found, valid, strict=True))

        model, best = converged(train + valid, sorted(CHOICES, key=right, reverse=True), asked["seed"], folder)
        model.save_model(str(folder / "model.bin"))
        size = (folder / "model.bin").stat().st_size
        json.dump({"labels": told(model, asked["test"]), "settings": best, "bytes": size}, sys.stdout)


if __name__ == "__main__":
    main()
