"""Names with the signs of globs, folders of engines, partitions, links: what a path means on disk and in a store."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tasks.core.storage import FolderStore
from tasks.tables.sources.base import Unreadable
from tasks.tables.sources.places import in_store
from tests.unit.tables.sources.test_table import fetch


def write(path: Path, units: float, **more: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"date": [date(2026, 3, 1)], "units": [units], **{k: [v] for k, v in more.items()}}).write_parquet(
        path
    )


def units(folder: Path, path: str) -> list[float]:
    snapshot = fetch(folder, path)
    assert not snapshot.unreadable, snapshot.unreadable
    found: list[float] = sorted(snapshot.tables["table"]["units"].to_list())
    return found


@pytest.mark.parametrize("name", ["sales[1].parquet", "sales*.parquet", "sale?1.parquet", "sales#1.parquet"])
def test_a_file_of_that_very_name_is_read_and_no_other(tmp_path: Path, name: str) -> None:
    project = tmp_path / "of [ours]"
    write(project / "sales1.parquet", 1, store_id="a")
    write(project / name, 2, store_id="a")
    assert units(project, name) == [2]


def test_a_pattern_is_one_below_a_folder_with_brackets(tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path / "of [ours]" / f"{number}.parquet", number, store_id="a")
    assert units(tmp_path / "of [ours]", "?.parquet") == [1, 2]


def test_partitions_are_text_columns(tmp_path: Path) -> None:
    write(tmp_path / "sales/store_id=007/part.parquet", 1)
    write(tmp_path / "sales/store_id=A%2FB/part.parquet", 2)
    write(tmp_path / "sales/store_id=__HIVE_DEFAULT_PARTITION__/part.parquet", 3)
    for path in ("sales/", "sales/**/*.parquet"):
        rows = fetch(tmp_path, path).tables["table"].sort("units").select("store_id", "units").rows()
        assert rows == [("007", 1), ("A/B", 2), (None, 3)]


def test_partitions_of_days_and_numbers_are_typed(tmp_path: Path) -> None:
    folder = tmp_path / "sales/date=2026-03-01/units=4"
    folder.mkdir(parents=True)
    pl.DataFrame({"store_id": ["a"]}).write_parquet(folder / "part.parquet")
    assert fetch(tmp_path, "sales/").tables["table"].select("date", "store_id", "units").rows() == [
        (date(2026, 3, 1), "a", 4)
    ]


def test_a_partition_that_says_otherwise_than_the_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "sales/store_id=1/part.parquet", 1, store_id="2")
    assert "store_id is '2' in the file and '1' in its folder's name" in fetch(tmp_path, "sales/").unreadable["table"]


def test_what_spark_leaves_beside_its_files_is_no_data(tmp_path: Path) -> None:
    folder = tmp_path / "out.csv"
    folder.mkdir()
    for name, text in {
        "_SUCCESS": "",
        "._SUCCESS.crc": "x",
        ".part-0.csv.crc": "x",
        "part-0.csv": "date,store_id,units\n2026-03-01,a,1\n",
        "part-1.csv": "",
    }.items():
        (folder / name).write_text(text)
    assert units(tmp_path, "out.csv") == [1]
    assert units(tmp_path, "*.csv") == [1]


@pytest.mark.parametrize(
    ("mark", "said"), [("_temporary/0/x", "is still being written"), ("_delta_log/0.json", "is a Delta table")]
)
@pytest.mark.parametrize("path", ["sales/", "sales/*.parquet"])
def test_a_folder_whose_files_are_not_the_table_is_refused(tmp_path: Path, mark: str, said: str, path: str) -> None:
    write(tmp_path / "sales/part.parquet", 1, store_id="a")
    (tmp_path / "sales" / mark).parent.mkdir(parents=True)
    (tmp_path / "sales" / mark).write_text("{}")
    assert said in fetch(tmp_path, path).unreadable["table"]


@pytest.mark.parametrize("path", ["latest.parquet", "late*.parquet"])
def test_a_link_whose_target_is_gone_is_told_as_one(tmp_path: Path, path: str) -> None:
    (tmp_path / "latest.parquet").symlink_to("sales-0630.parquet")
    line = fetch(tmp_path, path).unreadable["table"]
    assert line.endswith("latest.parquet: no such file: the target of this link, sales-0630.parquet, is gone")


def test_types_that_would_make_other_ids_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", 1, store_id="007")
    pl.DataFrame({"date": [date(2026, 3, 1)], "units": [1.0], "store_id": [7]}).write_parquet(tmp_path / "2.parquet")
    assert (
        "types differ: store_id is Int64, and String in 1.parquet" in fetch(tmp_path, "*.parquet").unreadable["table"]
    )


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("sales-?.parquet", ["sales-1.parquet", "sales-2.parquet"]),
        ("day#1.parquet", ["day#1.parquet"]),
        ("sales[1].parquet", ["sales[1].parquet"]),
        ("in/*.parquet", ["in/a.parquet"]),
        ("in/**/*.parquet", ["in/a.parquet", "in/deep/b.parquet"]),
        ("in/", ["in/a.parquet", "in/deep/b.parquet"]),
        ("i?", ["in/a.parquet", "in/deep/b.parquet"]),
        ("none.parquet", []),
    ],
)
def test_keys_of_a_store_follow_the_rules_of_folders(tmp_path: Path, pattern: str, keys: list[str]) -> None:
    store = FolderStore(tmp_path)
    every = ["sales-1.parquet", "sales-2.parquet", "sales1.parquet", "sales[1].parquet", "day#1.parquet", "day"]
    for key in [*every, "in/a.parquet", "in/deep/b.parquet", "in/_SUCCESS", "in/deep/.b.crc"]:
        store.write(key, b"x")
    assert [found.name for found in in_store(store, pattern)] == [store.url(key) for key in keys]


def test_a_store_s_unfinished_folder_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for key in ("in/a.parquet", "in/_temporary/0/b.parquet"):
        store.write(key, b"x")
    with pytest.raises(Unreadable, match="is still being written"):
        in_store(store, "in/")
