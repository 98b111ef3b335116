"""Files that a table names by their paths: their bytes are read, and nothing outside the folder is."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, DataError
from tasks.tables.sources import get_source
from tasks.tables.sources.base import Snapshot
from tests.unit.problems.vision import shapes
from tests.unit.tables.sources.test_table import CONTRACT

LABELS = shapes.labels(12)


def fetch(root: Path, **options: Any) -> Snapshot:
    section = Spec(kind="table", **{"path": "labels.csv", "files": "pictures", **options})
    return get_source(section, shapes.problem().tables(), "shapes", root).fetch(shapes.AS_OF)


@pytest.fixture
def named(tmp_path: Path) -> pl.DataFrame:
    """The table with paths, whose files lie in folders by label below `pictures`."""
    paths = [f"{label}/{name}.png" for label, name in LABELS.select("label", "id").iter_rows()]
    for path, content in zip(paths, LABELS["image"], strict=True):
        (tmp_path / "pictures" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / path).write_bytes(content)
    table = LABELS.with_columns(pl.Series("image", paths))
    table.write_csv(tmp_path / "labels.csv")
    return table


def test_a_snapshot_holds_the_bytes_of_named_files(tmp_path: Path, named: pl.DataFrame) -> None:
    assert fetch(tmp_path).tables["labels"].select(LABELS.columns).equals(LABELS)
    named.rename({"image": "file"}).write_parquet(tmp_path / "labels.parquet")
    whole = fetch(tmp_path, path="labels.parquet", columns={"image": "file"}, files=str(tmp_path / "pictures"))
    assert whole.tables["labels"].select(LABELS.columns).equals(LABELS)


def test_lost_and_empty_files_count_among_the_unreadable_ones(tmp_path: Path, named: pl.DataFrame) -> None:
    (tmp_path / "pictures" / named["image"][3]).unlink()
    (tmp_path / "pictures" / named["image"][4]).write_bytes(b"")
    snapshot = fetch(tmp_path)
    assert snapshot.notes[1] == f"image: 1 of 12 files are not there, such as '{named['image'][3]}'"
    tables = {"labels": snapshot.tables["labels"].lazy()}
    (found,) = (
        each for each in shapes.problem().findings(tables, shapes.AS_OF) if each.rule.startswith("share of fil")
    )
    assert (found.value, found.example) == (2 / 12, {"id": "i0003", "fault": "empty"})
    with pytest.raises(DataError, match=r"i0003.*empty"):
        shapes.problem().features(tables, shapes.AS_OF)


@pytest.mark.parametrize(
    "path", ["../secret.png", "lying/../../secret.png", "{root}/secret.png", "link.png", "out/secret.png"]
)
def test_a_path_or_link_that_leaves_the_folder_is_refused(tmp_path: Path, named: pl.DataFrame, path: str) -> None:
    (tmp_path / "secret.png").write_bytes(LABELS["image"][0])
    (tmp_path / "pictures/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "pictures/out").symlink_to(tmp_path)
    path = path.format(root=tmp_path)
    named.with_columns(pl.when(pl.col("id") == "i0003").then(pl.lit(path)).otherwise("image").alias("image")).write_csv(
        tmp_path / "labels.csv"
    )
    said = fetch(tmp_path).unreadable["labels"]
    assert said.startswith("image: '") and "write paths below source.files" in said and " leaves " in said


def test_a_missing_folder_and_bytes_in_place_of_paths_are_told(tmp_path: Path, named: pl.DataFrame) -> None:
    assert fetch(tmp_path, files="photos").unreadable == {"labels": "source.files: photos: no such folder"}
    LABELS.write_parquet(tmp_path / "labels.parquet")
    said = fetch(tmp_path, path="labels.parquet").unreadable["labels"]
    assert said == "image: source.files wants paths there, and finds Binary; leave source.files out"
    LABELS.with_columns(pl.lit("iVBORw0KGgo" * 30).alias("image")).write_csv(tmp_path / "labels.csv")
    said = fetch(tmp_path).unreadable["labels"]
    assert said.startswith("image: 'iVBOR") and said.endswith(
        "is no path; if the table holds bytes, leave source.files out"
    )


def test_a_table_without_a_column_of_files_takes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source\.files: table table has no column of files; leave the option out"):
        get_source(Spec(kind="table", path="a.csv", files="pictures"), (CONTRACT,), "sales", tmp_path)
