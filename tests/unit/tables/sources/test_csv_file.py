"""CSV files in other forms than comma, point and UTF-8: read as the options say, or refused with what to write."""

import gzip
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from tasks.core.errors import ConfigError
from tests.unit.tables.sources.test_table import fetch

ROWS = [(date(2026, 3, 1), "007", 1234.5), (date(2026, 3, 2), "Käthe", 12.0)]
PLAIN = "date,store_id,units\n2026-03-01,007,1234.5\n2026-03-02,Käthe,12\n"
GERMAN = "date;store_id;units\n2026-03-01;007;1.234,5\n2026-03-02;Käthe;12\n"
FORM = {"separator": ";", "decimal": ",", "thousands": "."}


def read(folder: Path, content: str | bytes, name: str = "a.csv", **options: Any) -> list[tuple[Any, ...]]:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    snapshot = fetch(folder, name, **options)
    assert not snapshot.unreadable, snapshot.unreadable
    return snapshot.tables["table"].rows()


def refused(folder: Path, content: str | bytes, name: str = "a.csv", **options: Any) -> str:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return fetch(folder, name, **options).unreadable["table"].removeprefix(f"{folder}/")


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (PLAIN, {}),
        (b"\xef\xbb\xbf" + PLAIN.encode(), {}),
        (GERMAN, FORM),
        (b"\xef\xbb\xbf" + GERMAN.encode(), FORM),
        (GERMAN.encode("cp1252"), {**FORM, "encoding": "cp1252"}),
        (PLAIN.encode("utf-16"), {"encoding": "utf-16"}),
        (PLAIN.replace(",", "\t"), {"separator": "\t"}),
        (PLAIN.replace("1234.5", '"1,234.5"'), {"thousands": ","}),
        (PLAIN.replace("1234.5", "1\u202f234.5"), {"thousands": " "}),
        (PLAIN.replace("1234.5", "+1'234.5"), {"thousands": "'"}),
        (PLAIN.replace("\n", "\r\n"), {}),
    ],
)
def test_a_named_form_gives_the_same_rows(tmp_path: Path, content: str | bytes, options: dict[str, Any]) -> None:
    assert read(tmp_path, content, **options) == ROWS


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_packed_files_are_read_and_ones_that_are_cut_short_are_not(tmp_path: Path, ending: str) -> None:
    plain = PLAIN.encode()
    packed = gzip.compress(plain) if ending == "gz" else pa.compress(plain, codec="zstd").to_pybytes()
    assert read(tmp_path, packed, f"a.csv.{ending}") == ROWS
    assert "cannot be parsed as csv: Truncated" in refused(tmp_path, packed[:-6], f"b.csv.{ending}")


@pytest.mark.parametrize(
    ("content", "options", "line"),
    [
        (GERMAN, {}, "a.csv: the separator looks like ';': write source.separator: ';'"),
        (PLAIN.replace(",", "\t"), {}, "a.csv: the separator looks like '\\t': write source.separator: \"\\t\""),
        (PLAIN, FORM, "a.csv: the separator looks like ',': write source.separator: ','"),
        (
            GERMAN,
            {"separator": ";"},
            "a.csv: units: '1.234,5' is no number in this form: write source.decimal: ',' and source.thousands: \".\"",
        ),
        (
            PLAIN.replace("1234.5", '"12,5"'),
            {},
            "a.csv: units: '12,5' is no number in this form: write source.decimal: ','",
        ),
        (
            PLAIN.replace("1234.5", '"1,234"'),
            {},
            "a.csv: units: '1,234' is no number in this form: write source.thousands: \",\", or source.decimal: ','",
        ),
        (
            PLAIN.replace("1234.5", '"1,23"'),
            {"thousands": ","},
            "a.csv: units: '1,23' is no number in this form: write source.decimal: ','",
        ),
        (
            PLAIN.encode("cp1252"),
            {},
            "a.csv: the file is not UTF-8 (byte 0xe4): write source.encoding, such as cp1252 for Windows",
        ),
        (
            (PLAIN + "2026-03-02,x,1\n" * 5000).encode() + b"2026-03-02,\xe4,1\n",
            {},
            "a.csv: cannot be parsed as csv: the file is not UTF-8 (byte 0xe4): write source.encoding, such as cp1252 "
            "for Windows",
        ),
        (
            PLAIN.encode("utf-16"),
            {},
            "a.csv: the file is not UTF-8; it looks like UTF-16: write source.encoding: utf-16",
        ),
        (
            PLAIN.encode("utf-16-le"),
            {},
            "a.csv: the file is not UTF-8; it looks like UTF-16: write source.encoding: utf-16-le",
        ),
        (
            "date,units,units\n2026-03-01,1,2\n",
            {},
            "a.csv: column units is there twice; leave one, or name all columns in source.header",
        ),
        (
            "date,units,units\n2026-03-01,1,2\n",
            {"header": ["date", "units"]},
            "a.csv: source.header has 2 names, the first line 3: date, units, units",
        ),
        (
            "date,units,units\n2026-03-01,1\n",
            {"header": ["date", "units", "more"]},
            "a.csv: cannot be parsed as csv: line 2 has 2 fields, 3 are expected",
        ),
        (PLAIN + "2026-03-03,1\n", {}, "a.csv: cannot be parsed as csv: line 4 has 2 fields, 3 are expected"),
        (PLAIN + '\n"2026-03-03\n",1,2,3\n', {}, "a.csv: cannot be parsed as csv: line 6 has 4 fields, 3 are expected"),
    ],
)
def test_another_form_is_refused_with_what_to_write(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], line: str
) -> None:
    assert refused(tmp_path, content, **options) == line


def test_a_header_of_the_section_takes_the_place_of_the_files(tmp_path: Path) -> None:
    doubled = "when,shop,units,units\n2026-03-01,007,1,2\n"
    header = ["date", "store_id", "", "units"]
    assert read(tmp_path, doubled, header=header) == [(date(2026, 3, 1), "007", 2)]


def test_a_word_among_numbers_is_left_for_validation_to_name(tmp_path: Path) -> None:
    assert read(tmp_path, PLAIN.replace("1234.5", "NA"))[0] == (date(2026, 3, 1), "007", "NA")


def test_a_plan_without_any_units_goes_with_its_history(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("date,store_id,units\n2026-03-01,1,4\n")
    (tmp_path / "2.csv").write_text("date,store_id,units\n2026-03-02,1,\n")
    table = fetch(tmp_path, "*.csv").tables["table"]
    assert table["units"].to_list() == [4, None]
    assert table.schema["units"] == pl.Int64


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"separator": ";;"}, r"^source\.separator: expected one sign"),
        ({"header": ["date", "units", "units"]}, r"^source\.header: column units is there twice; call each"),
        ({"separator": "ö"}, r"^source\.separator: expected one sign"),
        ({"decimal": ";"}, r"^source\.decimal: Input should be '\.' or ','"),
        ({"decimal": ",", "thousands": ","}, r"^source\.thousands: expected one sign other than decimal"),
        ({"encoding": "utf-9"}, r"^source\.encoding: no such encoding"),
        ({"encoding": "base64"}, r"^source\.encoding: no such encoding"),
    ],
)
def test_a_form_that_is_none_is_refused_by_field(tmp_path: Path, options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        fetch(tmp_path, "a.csv", **options)
