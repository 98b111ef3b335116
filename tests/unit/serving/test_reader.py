"""Large JSON bodies are read apart: with the same answers as small ones, and without keeping others waiting."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from serving.client import Contract, InputError
from serving.service.bodies import JSON, BadBody, arrays_of
from serving.service.http import Refused
from serving.service.reader import Reader
from serving.service.records import tables_of
from serving.service.tables import _has_odd_lines
from tasks.core.config import Spec
from tasks.core.errors import RuleError
from tasks.problems import get_problem
from tasks.scoring.rows import CSV, from_csv
from tests.serving_releases import CONTRACT, inputs
from tests.unit.serving.test_tables import CUSTOMERS, content, purchases

NEEDED = ("x", "codes")
TABLES = get_problem(Spec(**CUSTOMERS)).tables()


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    found = Reader()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract.from_json(CONTRACT)


def body(**changes: Any) -> bytes:
    return json.dumps({"inputs": {name: array.tolist() for name, array in inputs().items()} | changes}).encode()


def test_arrays_are_those_that_are_read_here(reader: Reader, contract: Contract) -> None:
    found = reader.arrays(body(), contract, NEEDED, 10)
    expected = arrays_of(body(), JSON, contract, NEEDED, 10)
    assert found.keys() == expected.keys()
    assert all(
        np.array_equal(found[name], array) and found[name].dtype == array.dtype for name, array in expected.items()
    )


def test_tables_are_those_that_are_read_here(reader: Reader) -> None:
    sent = content(purchases(), JSON)
    (found, day), (expected, expected_day) = reader.records(sent, TABLES, 10_000), tables_of(sent, TABLES, 10_000)
    assert day == expected_day and found.keys() == expected.keys()
    assert all(found[name].equals(table) for name, table in expected.items())


ROW = {"day": "2026-05-31", "customer": "c", "paid": 1.0, "pieces": 1, "city": "A"}


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"{", Refused),
        (json.dumps({"rows": [1]}).encode(), Refused),
        (json.dumps({"tables": {"what": []}}).encode(), Refused),
        (json.dumps({"rows": [ROW] * 20}).encode(), RuleError),
        (json.dumps({"rows": [ROW, ROW | {"paid": "x"}]}).encode(), RuleError),
    ],
)
def test_errors_of_tables_are_those_of_here(reader: Reader, sent: bytes, kind: type[Exception]) -> None:
    told = []
    for read in (reader.records, tables_of):
        with pytest.raises(kind) as caught:
            read(sent, TABLES, 10)
        told.append((str(caught.value), vars(caught.value)))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("sent", "kind"), [(b"{", BadBody), (body(x=[["a"]]), InputError), (body(y=[1]), InputError), (b"[]", InputError)]
)
def test_errors_of_arrays_are_those_of_here(
    reader: Reader, contract: Contract, sent: bytes, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as apart:
        reader.arrays(sent, contract, NEEDED, 10)
    with pytest.raises(kind) as here:
        arrays_of(sent, JSON, contract, NEEDED, 10)
    assert (str(apart.value), vars(apart.value)) == (str(here.value), vars(here.value))


def taken(read: Callable[[], object]) -> float:
    """Seconds of this process's own work: it holds Python's lock for most of them."""
    begin = time.process_time()
    with pytest.raises((Refused, RuleError)):
        read()
    return time.process_time() - begin


@pytest.mark.parametrize(
    "sent",
    [
        b'{"tables": {' + b",".join(b'"t%d":[]' % place for place in range(350_000)) + b"}}",
        b'{"rows": [{' + b",".join(b'"c%d":1' % place for place in range(350_000)) + b"},1]}",
    ],
    ids=["tables", "columns"],
)
def test_others_do_not_wait_while_a_large_body_is_read(reader: Reader, sent: bytes) -> None:
    reader.records(content(purchases(), JSON), TABLES, 10_000)  # it is there
    assert taken(lambda: reader.records(sent, TABLES, 500_000)) < taken(lambda: tables_of(sent, TABLES, 500_000)) / 3


@pytest.mark.parametrize(
    ("line", "apart"), [("x" * 300_000, True), ('"' + "a\n" * 150_000, True), ("2026-05-31,c,1,1,A\n" * 20_000, False)]
)
def test_csv_whose_lines_are_no_rows_is_read_apart(line: str, apart: bool) -> None:
    assert _has_odd_lines(f"day,customer,paid,pieces,city\n{line}".encode()) is apart
    assert not _has_odd_lines(line[:1000].encode())


def test_a_csv_file_is_read_as_here(reader: Reader) -> None:
    sent = content(purchases(), CSV)
    assert reader.read(CSV, sent, TABLES[0], 10_000, len(sent)).equals(from_csv(sent, TABLES[0], 10_000))
