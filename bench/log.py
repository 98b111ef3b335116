"""What a benchmark says of itself while it runs."""

import logging


def say() -> None:
    """Print what benchmark and stages report; of other packages, such as those that check data, warnings alone."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for package in ("__main__", "bench", "tasks"):
        logging.getLogger(package).setLevel(logging.INFO)
