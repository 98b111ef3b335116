"""Files of packages that were not made for a forecast: parts of a moment, several rows an hour, gaps."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.tables.sources import get_source
from tasks.tables.sources.base import Snapshot
from tasks.tables.table import Column, TableContract
from tests.wheels import keep_wheel

CONTRACT = TableContract(
    columns=(Column("date", "moment", key=True, known_ahead=True), Column("units", "number", nullable=True)),
    date="date",
    target="units",
    entity=(),
    horizon=1,
    step="1h",
)
ROWS = TableContract(columns=(Column("units", "number"),), date=None, target="units", entity=())


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Rows of a CSV file's text, in a shape."""

    def fetched(text: str, contract: TableContract, shape: dict[str, Any], **options: Any) -> Snapshot:
        sha256 = keep_wheel(tmp_path, monkeypatch, {"shopdata/rows.csv": text})
        asked = {"name": "shopdata", "version": "1.0", "sha256": sha256, "member": "shopdata/rows.csv"}
        return get_source(Spec(kind="package", **asked, **options, shape=shape), (contract,), "any").fetch(
            date(2026, 1, 1)
        )

    return fetched


def test_a_moment_is_made_of_its_parts_and_hours_without_a_value_are_gaps(fetch: Any) -> None:
    text = "year,month,day,hour,dust\n2014,12,31,22,3\n2014,12,31,23,NA\n2015,1,1,0,4.5\n"
    shape = {"moment": ["year", "month", "day", "hour"], "missing": ["NA"], "observed": True}
    rows = fetch(text, CONTRACT, shape, columns={"units": "dust"}).tables["table"]
    assert [str(each) for each in rows["date"]] == ["2014-12-31 22:00:00", "2015-01-01 00:00:00"]
    assert rows["units"].to_list() == [3.0, 4.5]


def test_of_several_rows_an_hour_the_first_stays_and_earlier_days_do_not(fetch: Any) -> None:
    text = "date,units,sky\n2013-01-01 00:00:00,9,Fog\n2014-01-01 00:00:00,1,Rain\n2014-01-01 00:00:00,1,Mist\n"
    rows = fetch(text, CONTRACT, {"distinct": True, "since": "2014-01-01", "without": ["sky"]}).tables["table"]
    assert [(str(moment), units) for moment, units in rows.rows()] == [("2014-01-01 00:00:00", 1)]
    assert "sky" not in rows.columns
    assert fetch(text, CONTRACT, {}).tables["table"].height == 3, "as it is, without a shape: validation refuses it"


INDICES = TableContract(
    columns=(
        Column("date", "date", key=True, known_ahead=True),
        Column("index", "string", key=True, known_ahead=True),
        Column("units", "number", nullable=True),
    ),
    date="date",
    target="units",
    entity=("index",),
    horizon=1,
)


def test_series_that_stand_side_by_side_become_rows_under_dates_in_another_form(fetch: Any) -> None:
    text = "day,SP,SP\n5-Jan-09,0.1,-0.2\n16-Jan-09,0.3,\n"
    shape = {"time_format": "%d-%b-%y", "unpivot": {"columns": ["a", "b"], "name": "index", "value": "return"}}
    header, columns = ["day", "a", "b"], {"date": "day", "units": "return"}
    rows = fetch(text, INDICES, shape, columns=columns, header=header).tables["table"]
    first, second = date(2009, 1, 5), date(2009, 1, 16)
    assert rows.select("date", "index", "units").rows() == [
        (first, "a", 0.1),
        (first, "b", -0.2),
        (second, "a", 0.3),
        (second, "b", None),
    ]


def test_months_and_years_are_a_month(fetch: Any) -> None:
    contract = replace(CONTRACT, columns=(replace(CONTRACT.columns[0], kind="date"), CONTRACT.columns[1]))
    found = fetch("y,m,units\n2000,12,5\n2001,1,6\n", contract, {"moment": ["y", "m"]}).tables["table"]
    assert found.select("date", "units").rows() == [(date(2000, 12, 1), 5), (date(2001, 1, 1), 6)]


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (
            {"time_format": "%d.%m.%Y"},
            "source.shape.time_format: '2009-01-05' of day is not written as %d.%m.%Y",
        ),
        (
            {"unpivot": {"columns": ["SP"], "name": "day", "value": "x"}},
            "source.shape.unpivot: the table has a column 'day' already",
        ),
        (
            {"unpivot": {"columns": ["DAX"], "name": "index", "value": "x"}},
            "source.shape: the table has no column 'DAX'; it has: day, SP",
        ),
        ({"moment": ["year", "week", "day"]}, "source.shape: the table has no column 'year'; it has: day, SP"),
        ({"without": ["DAX"]}, "source.shape: the table has no column 'DAX'"),
    ],
)
def test_a_shape_that_the_file_does_not_have_is_told(fetch: Any, shape: dict[str, Any], said: str) -> None:
    found = fetch("day,SP\n2009-01-05,1\n", CONTRACT, shape, columns={"date": "day", "units": "SP"})
    assert found.unreadable["table"].startswith(said)
    assert "\n" not in found.unreadable["table"]


@pytest.mark.parametrize(
    ("text", "contract", "shape", "said"),
    [
        (
            "y,m,d,h,units\n2014,1,1,24,3\n",
            CONTRACT,
            {"moment": [*"ymdh"]},
            "source.shape.moment: y, m, d, h of",
        ),
        (
            "y,m,d,units\n2014,1,1,3\n",
            ROWS,
            {"moment": [*"ymd"]},
            "source.shape.moment: rows of this workload have",
        ),
        ("units\n1\n", ROWS, {"distinct": True}, "source.shape.distinct: rows of this workload have no key"),
    ],
)
def test_a_shape_that_the_rows_cannot_have_is_told(
    fetch: Any, text: str, contract: TableContract, shape: dict[str, Any], said: str
) -> None:
    found = fetch(text, contract, shape).unreadable["table"]
    assert found.startswith(said) and "\n" not in found


def test_rows_that_are_all_left_out_cannot_be_moved(fetch: Any) -> None:
    found = fetch("date,units\n2014-01-01 00:00:00,1\n", CONTRACT, {"since": "2020-01-01"}, replay=True)
    assert found.unreadable["table"].startswith("source.replay: no row with a date is left")


@pytest.mark.parametrize(
    "shape", [{"since": "soon"}, {"melted": []}, {"moment": ["a"]}, {"moment": ["a", "b", "c", "d", "e"]}]
)
def test_an_option_that_is_none_is_refused_by_field(fetch: Any, shape: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^source\.shape\."):
        fetch("date,units\n", CONTRACT, shape)


def test_what_was_given_back_is_left_out_before_one_row_of_a_key_is_kept(fetch: Any) -> None:
    text = "date,units,Qty\n2014-01-01,1,-2\n2014-01-01,1,\n2014-01-02,2,-1\n2014-01-03,4,3\n"
    rows = fetch(text, CONTRACT, {"least": {"Qty": 1}, "distinct": True}).tables["table"]
    assert [(str(moment)[:10], units) for moment, units in rows.select("date", "units").rows()] == [
        ("2014-01-01", 1),
        ("2014-01-03", 4),
    ]
    rows = fetch(
        "units;Qty\n1,5;0,5\n2,5;1.000,5\n", ROWS, {"least": {"Qty": 1}}, separator=";", decimal=",", thousands="."
    )
    assert rows.tables["table"]["units"].to_list() == [2.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("units\n1\n", "source.shape.least: no column 'Qty' is left; there are: units"),
        ("units,Qty\n1,2\n2,few\n", "source.shape.least: 'few' of Qty is no number"),
        ('units,Qty\n1,2\n2,"1,5"\n', "Qty: '1,5' is no number in this form: write source.decimal: ','"),
    ],
)
def test_a_least_of_no_column_of_numbers_is_refused(fetch: Any, text: str, said: str) -> None:
    (told,) = fetch(text, ROWS, {"least": {"Qty": 1}}).unreadable.values()
    assert said in told
