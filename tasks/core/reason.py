"""This module holds the one rule for reasons that people give, on the command line and in the form of a DAG.

Standard library only, because the orchestrator's environment imports this module.
"""

import re
import unicodedata

from tasks.core.errors import UsageError

SHORTEST, LONGEST = 8, 500
WORD = r"\w{2}"


def one_line(text: str) -> str:
    """Return a typed text as one line of visible characters: a second line could pass for a command's result."""
    return " ".join("".join(" " if unicodedata.category(sign)[0] == "C" else sign for sign in text).split())


def checked(text: str) -> str:
    """Return a reason as the ledger keeps it: one line. Raises UsageError on an empty, too short or too long one."""
    line = one_line(text)
    if not SHORTEST <= len(line) <= LONGEST or not re.search(WORD, line):
        raise UsageError(
            f"--reason {line!r:.60}: {len(line):,} signs; say why in {SHORTEST} to {LONGEST}, for whoever reads it"
        )
    return line
