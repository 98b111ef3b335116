"""These checks of texts no rule of a single column tells."""

import re
from collections.abc import Iterator

import polars as pl

from tasks.problems.base import Finding
from tasks.problems.text.dataset import ROWS, keys_of
from tasks.problems.text.options import Options

ODD = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]|Ã[\u0080-\u00bf]|â€"
"""Control characters, the sign of what could not be decoded, and UTF-8 that was read as Latin-1 or Windows-1252."""
WORD = re.compile(r"\w")
SHOWN = 80


def findings(table: pl.DataFrame, options: Options) -> Iterator[Finding]:
    """Measure texts and labels of all rows that are known."""
    text, target = pl.col(options.text), pl.col(options.target)
    count = max(1, len(table))

    def of_rows(rule: str, bad: pl.DataFrame, option: str) -> Finding:
        example = {options.text: bad[options.text][0][:SHOWN]} if len(bad) else {}
        return Finding(ROWS, options.text, rule, len(bad) / count, getattr(options, option), example, option)

    keys = pl.Series("_key", [" ".join(WORD.findall(value.lower())) for value in table[options.text]])
    yield of_rows("share of texts without a word", table.filter(keys == ""), "max_empty")
    odd = table.filter(text.str.contains(ODD))
    yield of_rows("share of texts with signs of another encoding", odd, "max_odd")
    lengths = table[options.text].str.len_chars()
    longest = float(lengths.max() or 0)  # type: ignore[arg-type]
    yield Finding(ROWS, options.text, "characters of the longest text", longest, options.longest)
    if options.target not in table.columns:
        return
    known = table.filter(target.is_not_null())
    texts = known.with_columns(keys_of(known, options.model_copy(update={"group": None})).alias("_key"))
    conflicting = texts.filter(target.n_unique().over("_key") > 1)
    yield of_rows("share of texts that stand elsewhere with another label", conflicting, "max_conflicts")
    counts = dict(known[options.target].value_counts().iter_rows())
    strange = [name for name in counts if name not in options.classes]
    example = {options.target: str(strange[0])[:SHOWN]} if strange else {}
    rows = float(sum(counts[name] for name in strange))
    yield Finding(ROWS, options.target, "rows whose label is none of problem.classes", rows, 0, example)
    few = [name for name in options.classes if counts.get(name, 0) < options.least_rows]
    rule = f"classes with fewer than {options.least_rows} rows (problem.least_rows)"
    yield Finding(ROWS, options.target, rule, len(few), 0, {options.target: few[0]} if few else {})
