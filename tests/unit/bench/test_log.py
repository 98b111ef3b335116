"""What a benchmark says while it runs."""

import subprocess
import sys

PROGRAM = """
import logging
from bench.log import say
say()
for name in ("tasks.stages.teach", "bench.images", "great_expectations.metrics"):
    logging.getLogger(name).info("%s is told", name)
logging.getLogger("great_expectations").warning("beware")
"""


def test_stages_are_heard_and_of_other_packages_warnings_alone() -> None:
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stderr
    assert told.splitlines() == ["tasks.stages.teach is told", "bench.images is told", "beware"]
