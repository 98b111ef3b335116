"""Images that lie in folders by their class become rows; what is no image is told, and nothing outside is read."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, DataError
from tasks.tables.sources import get_source
from tasks.tables.sources.base import Snapshot
from tasks.tables.sources.files import read_files
from tests.unit.problems.vision import shapes

LABELS = shapes.labels(9)


def problem() -> Any:
    return shapes.problem(id="file", by=[])


def fetch(root: Path, **options: Any) -> Snapshot:
    section = Spec(kind="folder", **{"path": "pictures", **options})
    return get_source(section, problem().tables(), "shapes", root).fetch(shapes.AS_OF)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """`lying/i0000.png` and so on, one of them deeper and in capitals, and one in no folder."""
    folder = tmp_path / "pictures"
    for name, label, content in LABELS.select("id", "label", "image").iter_rows():
        path = folder / label / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    deep = folder / "lying" / "may" / "I0000.PNG"
    deep.parent.mkdir()
    (folder / "lying" / "i0000.png").rename(deep)
    (folder / "new.jpg").write_bytes(shapes.png(shapes.drawn("lying", np.random.default_rng(1)), "JPEG"))
    return folder


def test_a_row_is_a_file_and_its_first_folder_is_its_label(tmp_path: Path, pictures: Path) -> None:
    snapshot = fetch(tmp_path)
    table = snapshot.tables["labels"]
    assert not snapshot.unreadable and table.height == 10
    rows = {row["file"]: row for row in table.iter_rows(named=True)}
    assert rows["lying/may/I0000.PNG"]["label"] == "lying" and rows["new.jpg"]["label"] is None
    assert rows["standing/i0001.png"]["image"] == LABELS["image"][1]
    assert table["file"].is_sorted() and snapshot.notes == ("10 image file(s) in 3 folder(s)",)


def test_what_is_hidden_or_no_image_is_left_out_and_told(tmp_path: Path, pictures: Path) -> None:
    for name in (".DS_Store", "lying/._i0003.png", ".trash/x.png", "Thumbs.db", "lying/notes.txt"):
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_bytes(b"no image")
    snapshot = fetch(tmp_path)
    assert snapshot.tables["labels"].height == 10
    assert snapshot.notes[1] == "2 file(s) with another ending are left out, such as 'Thumbs.db'"


def test_an_empty_file_is_a_row_that_the_checks_refuse_by_name(tmp_path: Path, pictures: Path) -> None:
    (pictures / "lying" / "empty.png").write_bytes(b"")
    tables = {"labels": fetch(tmp_path).tables["labels"].lazy()}
    (found,) = (each for each in problem().findings(tables, shapes.AS_OF) if each.option == "max_unreadable")
    assert (found.value, found.high, found.example) == (1 / 11, 0, {"file": "lying/empty.png", "fault": "empty"})


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "secret.png").write_bytes(LABELS["image"][0])
    (pictures / "lying" / "link.png").symlink_to(tmp_path / "secret.png")
    assert "'lying/link.png' leaves" in fetch(tmp_path).unreadable["labels"]


@pytest.mark.parametrize("path", ["nowhere", "empty"])
def test_a_folder_that_is_missing_or_has_no_image_may_still_come(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    (tmp_path / "empty" / "cat" / "notes.txt").write_text("none")
    snapshot = fetch(tmp_path, path=path)
    assert snapshot.absent == {"labels"} and snapshot.unreadable["labels"].startswith(f"{path}: no ")


def test_a_column_that_the_workload_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source\.columns\.title: the contract has no such column"):
        fetch(tmp_path, columns={"title": "file"})


def test_another_folder_is_scored_as_the_source_reads_its_own(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "one.png").write_bytes(LABELS["image"][4])
    source = Spec(kind="folder", path="pictures")
    table = read_files([str(tmp_path / "asked")], problem().tables(), source)["labels"].collect()
    assert table.rows(named=True) == [{"file": "one.png", "label": None, "image": LABELS["image"][4]}]
    with pytest.raises(DataError, match=r"pictures/lying/may/none: no such folder|no such file"):
        read_files([str(pictures / "lying" / "may" / "none")], problem().tables(), source)
    with pytest.raises(DataError, match="in this folder"):
        read_files([str(tmp_path / "asked")], problem().tables(), Spec(kind="table", path="labels.csv"))


def test_paths_of_a_table_are_also_ids_and_its_folder_holds_for_scores(tmp_path: Path, pictures: Path) -> None:
    rows = pl.DataFrame({"file": ["lying/i0003.png", "standing/i0001.png"], "kind": ["lying", None]})
    rows.write_csv(tmp_path / "labels.csv")
    asked = shapes.problem(id="file", label="kind", by=[])
    source = Spec(kind="table", path="labels.csv", files="pictures", columns={"image": "file"})
    table = get_source(source, asked.tables(), "shapes", tmp_path).fetch(shapes.AS_OF).tables["labels"]
    assert table["file"].to_list() == rows["file"].to_list()
    assert table["image"].to_list() == [LABELS["image"][3], LABELS["image"][1]]
    rows.select("file").write_csv(tmp_path / "new.csv")
    scored = read_files([str(tmp_path / "new.csv")], asked.tables(), source, tmp_path)["labels"].collect()
    assert scored["image"].to_list() == table["image"].to_list()
