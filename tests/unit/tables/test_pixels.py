"""A file whose columns are pixels becomes a table of images."""

from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.problems import get_problem
from tasks.tables.sources import get_source
from tests.wheels import keep_wheel

NIGHT = date(2026, 3, 2)
ROWS = "0,16,8,0,7\n16,0,0,4,1\n"


def fetched(folder: Path, monkeypatch: pytest.MonkeyPatch, rows: str = ROWS, **shape: Any) -> Any:
    digest = keep_wheel(folder, monkeypatch, {"shopdata/pixels.csv": rows})
    source = Spec(
        kind="package",
        name="shopdata",
        version="1.0",
        sha256=digest,
        member="shopdata/pixels.csv",
        headless=True,
        columns={"label": "4"},
        shape={"pixels": {"height": 2, "width": 2, "high": 16, **shape}},
    )
    tables = get_problem(Spec(kind="vision", classes=["1", "7"], height=4, width=4)).tables()
    return get_source(source, tables, "any", folder).fetch(NIGHT)


def test_columns_of_a_file_without_names_become_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = fetched(tmp_path, monkeypatch).tables["labels"]
    assert table.columns == ["label", "image"] and table["label"].to_list() == ["7", "1"], "the first line counts"
    images = [np.asarray(PIL.Image.open(BytesIO(content))).tolist() for content in table["image"]]
    assert images == [[[0, 255], [128, 0]], [[255, 0], [0, 64]]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("0,17,8,0,7\n", "source.shape.pixels: '17' of 1 in row 0 is no grey of 0 to 16"),
        ("0,16,8,0,7\n0,1,x,3,1\n", "source.shape.pixels: 'x' of 2 in row 1 is no grey of 0 to 16"),
        ("0,16,7\n", "source.shape: the table has no column '3'; it has: 0, 1, 2"),
    ],
)
def test_a_value_that_is_no_grey_is_told(rows: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetched(tmp_path, monkeypatch, rows).unreadable == {"labels": said}


def test_what_would_be_rounded_above_white_is_no_grey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fetched(tmp_path, monkeypatch, "0,255,255.5,0,7\n", high=255)
    assert found.unreadable == {"labels": "source.shape.pixels: '255.5' of 2 in row 0 is no grey of 0 to 255"}


def test_as_many_columns_as_pixels_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="3 of them; 2 × 2 pixels need as many"):
        fetched(tmp_path, monkeypatch, columns=["0", "1", "2"])
