"""The consoles print what people read; texts of others have no effect in them."""

import sys

from rich.console import Console
from rich.text import Text

WIDTH = 120  # of tables in files and logs
# What is shown are paths, titles and texts of errors: a bracket or a colon in them is one, and no markup of rich.
console = Console(width=None if sys.stdout.isatty() else WIDTH, markup=False, emoji=False)
errors = Console(stderr=True, soft_wrap=True, markup=False, emoji=False)


def plain(value: object) -> Text:
    """Return a foreign text unchanged: rich's markup and a terminal's control codes have no effect in it."""
    return Text(
        "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in str(value))
    )
