"""The drills of the runbook: each names a test that goes the same way."""

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_each_drill_names_a_test_that_there_is() -> None:
    drills = (PROJECT / "docs" / "runbook.md").read_text().partition("## Drills\n")[2].partition("\n## ")[0]
    parts = drills.split("### ")[1:]
    assert len(parts) == 5
    for part in parts:
        (named,) = re.findall(r"^Test: (tests/\S+\.py)::(test_\w+)$", part, re.MULTILINE)
        file, test = named
        defined = {node.name for node in ast.walk(ast.parse((PROJECT / file).read_text())) if hasattr(node, "name")}
        assert test in defined, part.splitlines()[0]
