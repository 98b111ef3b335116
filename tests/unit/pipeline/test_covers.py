"""Which path lies below which, by parts as the file system has them."""

from itertools import product
from pathlib import PurePosixPath

from tasks.pipeline.graph import covers

PATHS = (
    "artifacts",
    "artifacts/",
    "artifacts/a",
    "artifacts/ab",
    "./artifacts//a",
    "artifacts/a/b",
    "/artifacts/a",
)


def test_a_path_covers_what_lies_below_it_and_no_neighbour_of_a_similar_name() -> None:
    assert covers("artifacts/a", "artifacts/a/b") and covers("artifacts/a", "artifacts/a")
    assert not covers("artifacts/a", "artifacts/ab") and not covers("artifacts/a/b", "artifacts/a")
    for parent, path in product(PATHS, PATHS):
        assert covers(parent, path) == PurePosixPath(path).is_relative_to(PurePosixPath(parent)), (parent, path)
