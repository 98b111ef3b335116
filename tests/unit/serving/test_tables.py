"""Rows of the workload's own table over HTTP: the numbers of `nightstill score`, and what is wrong with bad rows."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

from serving.service.app import make_app
from serving.service.reader import Reader
from serving.service.settings import ServiceSettings
from tasks.core.config import Spec
from tasks.core.errors import RuleError
from tasks.problems import get_problem
from tasks.releases.store import ReleaseStore
from tasks.scoring import tables as scoring
from tasks.scoring.scorer import Scorer
from tasks.scoring.sizes import of_arrow, of_parquet
from tasks.tables.table import Column, TableContract, Tables
from tests.conftest import sales_table
from tests.serving_releases import promote, promote_tables
from tests.unit.problems.tabular.labelled import homes
from tests.unit.serving.test_service import until, value

JSON, CSV = "application/json", "text/csv"
PARQUET, ARROW = "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"
SALES: dict[str, Any] = {
    "kind": "forecasting",
    "horizon": 28,
    "context": 56,
    "season": 7,
    "country": "US",
    "static": ["store_id", "department"],
}
CUSTOMERS: dict[str, Any] = {
    "kind": "tabular",
    "entity": "customer",
    "date": "day",
    "target": "paid",
    "windows": [7, 28],
    "amounts": ["pieces"],
    "categories": ["city"],
    "edges": [10, 40],
}
AS_OF = date(2026, 5, 31)


def purchases() -> pl.DataFrame:
    """Of thirty customers on every fourth day or so; some cities are unknown."""
    rng = np.random.default_rng(0)
    rows = [
        (
            AS_OF - timedelta(days=day),
            f"c{who:02d}",
            round(float(rng.gamma(2, 9)), 2),
            day % 3,
            ("A", "B", None)[day % 3],
        )
        for who in range(30)
        for day in range(who % 5, 140, 4)
    ]
    return pl.DataFrame(rows, ["day", "customer", "paid", "pieces", "city"], orient="row").sort("day", "customer")


def offers() -> pl.DataFrame:
    """Homes without their prices, as they are sent to be priced; some areas and towns are not known."""
    return homes.homes(60).select("area", "rooms", "garden", "listed", "town")


HOMES: dict[str, Any] = {**homes.VALUE, "id": [], "quantiles": [0.1, 0.9]}
DATED = ["forecasting", "tabular"]
NAMES = {"forecasting": "series", "tabular": "events", "labelled": "rows"}
KINDS: dict[str, tuple[dict[str, Any], Callable[[], pl.DataFrame]]] = {
    "forecasting": (SALES, lambda: sales_table(AS_OF, days=200)),
    "tabular": (CUSTOMERS, purchases),
    "labelled": (HOMES, offers),
}


def content(table: pl.DataFrame, form: str) -> bytes:
    """The table as a user would send it."""
    file = BytesIO()
    match form:
        case "application/json":
            return json.dumps({"rows": table.to_dicts(), "as_of": AS_OF}, default=str).encode()
        case "text/csv":
            table.write_csv(file)
        case "application/vnd.apache.parquet":
            table.write_parquet(file)
        case _:
            table.write_ipc_stream(file)
    return file.getvalue()


def read(answer: bytes, form: str) -> pl.DataFrame:
    """An answer's rows."""
    match form:
        case "application/json":
            return pl.DataFrame(json.loads(answer)["rows"])
        case "text/csv":
            return pl.read_csv(answer, try_parse_dates=True)
        case "application/vnd.apache.parquet":
            return pl.read_parquet(answer)
        case _:
            return pl.read_ipc_stream(answer)


@pytest.fixture(params=list(KINDS))
def served(request: pytest.FixtureRequest, releases: ReleaseStore, folder: Path, cache: Path) -> Iterator[Any]:
    """A client of a service, the raw table, and what scoring it says."""
    options, make = KINDS[request.param]
    table = make()
    training = homes.homes() if request.param == "labelled" else table
    promote_tables(releases, options, training, AS_OF, max_units=5000)
    with TestClient(make_app(settings(folder, cache)), raise_server_exceptions=False) as client:
        ready(client)
        yield client, table, Scorer(releases, "sales").score({NAMES[request.param]: table}, AS_OF)


def settings(folder: Path, cache: Path, **changes: Any) -> ServiceSettings:
    given = {"workload": "sales", "release_store": str(folder), "cache": cache, "poll_seconds": 0.05}
    return ServiceSettings(**{**given, **changes})


def ready(client: TestClient) -> None:
    """Wait until it has loaded a release."""
    until(lambda: client.get("/readyz").status_code == 200)


def post(client: TestClient, body: bytes, form: str = JSON, query: str = "", **headers: str) -> Any:
    return client.post(f"/v1/score{query}", content=body, headers={"Content-Type": form, **headers})


def plain(table: pl.DataFrame) -> pl.DataFrame:
    """Comparable across formats: text for categories and days."""
    return table.with_columns(pl.col(pl.Categorical, pl.Date).cast(pl.String))


# Good requests.


@pytest.mark.parametrize("form", [JSON, CSV, PARQUET, ARROW])
def test_rows_in_any_format_get_what_scoring_writes(served: Any, form: str) -> None:
    client, table, expected = served
    answer = post(client, content(table, form), form, "" if form == JSON else f"?as_of={AS_OF}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(form) and answer.headers["x-nightstill-release"] == "1"
    found, wanted = plain(read(answer.content, form)), plain(expected)
    assert found.columns == wanted.columns and len(found) > 20
    for name in wanted.columns:
        if wanted[name].dtype.is_numeric():
            assert np.array_equal(found[name].cast(pl.Float32).to_numpy(), wanted[name].cast(pl.Float32).to_numpy())
        else:
            assert found[name].to_list() == wanted[name].to_list()
    assert value(client, "nightstill_rows_total") == len(found)


@pytest.mark.parametrize("form", [JSON, CSV, PARQUET, ARROW])
def test_rows_may_be_called_as_in_the_users_file(releases: ReleaseStore, folder: Path, cache: Path, form: str) -> None:
    table = sales_table(AS_OF, days=200)
    theirs = {"date": "Tag", "units": "Menge", "store_id": "Filiale"}
    promote_tables(releases, SALES, table, AS_OF, columns=theirs)
    query = "" if form == JSON else f"?as_of={AS_OF}"
    with TestClient(make_app(settings(folder, cache)), raise_server_exceptions=False) as client:
        ready(client)
        ours, renamed, both = (
            post(client, content(each, form), form, query)
            for each in (table, table.rename(theirs), table.with_columns(Menge=pl.lit("is ours to ignore")))
        )
        assert ours.status_code == renamed.status_code == both.status_code == 200, renamed.text
        assert plain(read(ours.content, form)).equals(plain(read(renamed.content, form)))
        assert plain(read(ours.content, form)).equals(plain(read(both.content, form)))
        lacking = post(client, content(table.rename(theirs).drop("Menge"), form), form, query)
        assert (lacking.status_code, lacking.json()["field"]) == (422, "units")


def test_the_answer_comes_in_the_format_that_is_accepted(served: Any) -> None:
    client, table, expected = served
    answer = post(client, content(table, JSON), Accept="text/html, application/vnd.apache.parquet;q=0.9, */*")
    assert answer.headers["content-type"] == PARQUET
    assert plain(read(answer.content, PARQUET)).equals(plain(expected))
    about = post(client, content(table, CSV), CSV, f"?as_of={AS_OF}", Accept=JSON).json()
    assert (about["workload"], about["release"], about["as_of"]) == ("sales", 1, str(AS_OF))
    assert len(about["rows"]) == len(expected)


def test_columns_that_the_workload_does_not_have_are_let_be(served: Any) -> None:
    client, table, expected = served
    answer = post(client, content(table.with_columns(weather=pl.lit("fine")), JSON))
    assert len(answer.json()["rows"]) == len(expected)


# Bad rows: column, row and rule.


def forecast_rows(**changes: Any) -> list[dict[str, Any]]:
    """A series of sales, with other values in its row 3."""
    rows = sales_table(AS_OF, days=60, stores=1, departments=1).with_columns(pl.col("date").cast(pl.String)).to_dicts()
    rows[3] |= changes
    return [{name: value for name, value in row.items() if value is not ...} for row in rows]


@pytest.mark.parametrize(
    ("changes", "field", "rule", "said"),
    [
        ({"units": -1.0}, "units", ">= 0", "units: >= 0: broken by 1 rows, e.g. row 3: "),
        ({"units": 6000}, "units", "<= 5000", "units: <= 5000: broken by 1 rows, e.g. row 3: "),
        ({"units": "many"}, "units", "type number", "units: 'many' in row 3 is not a number"),
        ({"units": True}, "units", "type number", "units: True in row 3 is not a number"),
        ({"units": [1]}, "units", "type number", "units: a list in row 3 is not a number"),
        ({"units": {"a": 1}}, "units", "type number", "units: an object in row 3 is not a number"),
        ({"store_id": 12}, "store_id", "type string", "store_id: 12 in row 3 is not text"),
        ({"store_id": None}, "store_id", "not null", "store_id: not null: broken by 1 rows, e.g. row 3: "),
        ({"store_id": ...}, "store_id", "not null", "store_id: not null: broken by 1 rows, e.g. row 3: "),
        ({"date": "1.5.2026"}, "date", "type date", "date: '1.5.2026' in row 3 is not a day as YYYY-MM-DD"),
        ({"holiday": "no"}, "holiday", "type boolean", "holiday: 'no' in row 3 is not true or false"),
        ({"promo_display": 3}, "promo_display", "<= 1", "promo_display: <= 1: broken by 1 rows, e.g. row 3: "),
    ],
)
@pytest.mark.parametrize("served", ["forecasting"], indirect=True)
def test_a_bad_row_is_refused_by_column_row_and_rule(
    served: Any, changes: dict[str, Any], field: str, rule: str, said: str
) -> None:
    client, _, _ = served
    answer = post(client, json.dumps({"rows": forecast_rows(**changes), "as_of": str(AS_OF)}).encode())
    found = answer.json()
    assert answer.status_code == 422 and found["error"].startswith(said), found
    assert (found["field"], found["rule"], found["row"]) == (field, rule, 3)


@pytest.mark.parametrize("form", [CSV, PARQUET, ARROW])
@pytest.mark.parametrize("served", ["forecasting"], indirect=True)
def test_bad_rows_are_refused_in_every_format(served: Any, form: str) -> None:
    client, table, _ = served
    twice = pl.concat([table, table[[7]]])
    answer = post(client, content(twice, form), form, f"?as_of={AS_OF}")
    assert answer.status_code == 422
    assert (answer.json()["rule"], answer.json()["row"]) == ("unique date, series_id", 7)
    missing = post(client, content(table.drop("units"), form), form, f"?as_of={AS_OF}").json()
    assert (missing["field"], missing["rule"], missing["row"]) == ("units", "column exists", None)


@pytest.mark.parametrize("served", DATED, indirect=True)
def test_a_csv_field_that_is_no_number_is_named(served: Any) -> None:
    client, table, _ = served
    column = "price" if "price" in table.columns else "paid"
    lines = content(table.select(sorted(table.columns)), CSV).decode().splitlines()
    place = lines[0].split(",").index(column)
    fields = lines[5].split(",")
    fields[place] = "1,5".replace(",", ";")
    answer = post(client, "\n".join([*lines[:5], ",".join(fields), *lines[6:]]).encode(), CSV, f"?as_of={AS_OF}")
    assert answer.status_code == 422
    assert answer.json()["error"] == f"{column}: '1;5' in row 4 is not a number"


# Requests that are none.


@pytest.mark.parametrize(
    ("body", "form", "query", "status", "field", "said"),
    [
        (b"{", JSON, "", 400, "", "not JSON: "),
        (b"[]", JSON, "", 422, "rows", "rows: expected an object: "),
        (b'{"rows": 1}', JSON, "", 422, "rows", "rows: expected a list of rows"),
        (b'{"rows": [], "as-of": 1}', JSON, "", 422, "as-of", "as-of: no such field; "),
        (b'{"rows": [{}, 1]}', JSON, "", 422, "rows", "rows: row 1 is no object"),
        (b'{"rows": [], "as_of": 5}', JSON, "", 422, "as_of", "as_of: expected a day"),
        (b'{"rows": []}', JSON, "?as_of=soon", 422, "as_of", "as_of: 'soon' is not a day"),
        (b'{"rows": []}', JSON, "?as_of=9999-12-31", 422, "as_of", "as_of: 9999-12-31 is not between"),
        (b'{"rows": [], "as_of": "2026-05-30"}', JSON, "?as_of=2026-05-31", 422, "as_of", "as_of: 2026-05-31 in the"),
        (b'{"rows": []}', JSON, "?as_of=2026-05-31", 422, "", "table: number of rows (expected >= 1)"),
        (b"", CSV, "?as_of=2026-05-31", 422, "", "the body cannot be read as CSV: "),
        (b"PAR1", PARQUET, "?as_of=2026-05-31", 422, "", "the body cannot be read as Parquet"),
        (b"\x00" * 99, ARROW, "?as_of=2026-05-31", 422, "", "the body cannot be read as an Arrow stream"),
        (b"\xff\xfea", CSV, "?as_of=2026-05-31", 422, "", ""),
        (b"{}", "text/plain", "", 415, "Content-Type", "Content-Type text/plain; expected "),
    ],
)
def test_what_is_no_request_is_refused_in_one_line(
    served: Any, body: bytes, form: str, query: str, status: int, field: str, said: str
) -> None:
    client, _, _ = served
    answer = post(client, body, form, query)
    found = answer.json()
    assert answer.status_code == status and found["error"].startswith(said), found
    assert found["field"] == field or not said


@pytest.mark.parametrize("form", [JSON, CSV, PARQUET, ARROW])
def test_rows_without_any_column_of_the_workload_say_which_it_has(served: Any, form: str) -> None:
    """They are not called no rows at all: somebody has other names, or another spelling."""
    client, table, _ = served
    strange = table.rename({name: name.upper() for name in table.columns})
    answer = post(client, content(strange, form), form, "" if form == JSON else f"?as_of={AS_OF}")
    found = answer.json()
    assert (answer.status_code, found["field"], found["rule"]) == (422, table.columns[0], "column exists")
    assert "none of the columns is the workload's, " in found["error"]
    assert f"sent are: {table.columns[0].upper()}, " in found["error"]


@pytest.mark.parametrize("served", DATED, indirect=True)
def test_rows_that_have_a_day_need_one_of_their_request(served: Any) -> None:
    answer = post(served[0], b'{"rows": []}')
    assert answer.status_code == 422 and answer.json()["error"].startswith("as_of: missing; ")


@pytest.mark.parametrize("served", DATED, indirect=True)
def test_rows_that_no_forecast_can_be_made_from_are_refused(served: Any) -> None:
    client, table, _ = served
    early = {"rows": table.to_dicts(), "as_of": "2020-01-01"}
    answer = post(client, json.dumps(early, default=str).encode())
    assert answer.status_code == 422 and "no rows up to 2020-01-01" in answer.json()["error"]


@pytest.mark.parametrize("form", [JSON, CSV, PARQUET, ARROW])
def test_more_rows_or_entities_than_are_allowed_are_refused(
    releases: ReleaseStore, folder: Path, cache: Path, form: str
) -> None:
    table = purchases()
    promote_tables(releases, CUSTOMERS, table, AS_OF)
    for limits, said in (
        ({"max_table_rows": 100}, "table: more than 100 rows; send the entities in parts"),
        ({"max_rows": 29}, "30 of customer in one request; at most 29 are allowed, send them in parts"),
    ):
        with TestClient(make_app(settings(folder, cache, **limits))) as client:
            ready(client)
            answer = post(client, content(table, form), form, "" if form == JSON else f"?as_of={AS_OF}")
            assert (answer.status_code, answer.json()["error"]) == (422, said)


def test_a_release_without_its_run_yaml_takes_arrays_alone(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    promote(releases, 2)
    with TestClient(make_app(settings(folder, cache))) as client:
        ready(client)
        answer = post(client, b'{"rows": []}', JSON, f"?as_of={AS_OF}")
        assert answer.status_code == 501 and "run.yaml is missing" in answer.json()["error"]
        promote(releases, 2, **{"run.yaml": b"problem: {kind: weather-magic}\nchecks: {}\n"})
        until(lambda: client.get("/readyz").json()["release"] == 2)
        answer = post(client, b'{"rows": []}', JSON, f"?as_of={AS_OF}")
        assert answer.status_code == 501 and "weather-magic" in answer.json()["error"]


class Revenue:
    """A kind of two tables: pieces times price."""

    def tables(self) -> tuple[TableContract, ...]:
        columns = (Column("item", "string", key=True), Column("pieces", "number"))
        items = (Column("item", "string", key=True), Column("price", "number", low=0))
        return (
            TableContract(columns, None, None, ("item",), name="sales"),
            TableContract(items, None, None, ("item",), name="items"),
        )

    def require_fit(self, tables: Tables, contract: Any, most: int) -> None:
        """It holds nothing but rows."""

    def predict(self, tables: Tables, as_of: date, contract: Any, model: Any) -> pl.DataFrame:
        joined = tables["sales"].join(tables["items"], on="item").sort("item").collect()
        return joined.select("item", revenue=pl.col("pieces") * pl.col("price"))


def test_several_tables_are_sent_by_name(
    releases: ReleaseStore, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "get_problem", lambda spec: Revenue())
    promote(releases, 2, **{"run.yaml": b"problem: {kind: revenue}\nchecks: {}\n"})
    sales, items = [{"item": "a", "pieces": 7}], [{"item": "a", "price": 2}]

    def ask(**tables: Any) -> Any:
        return post(client, json.dumps({"as_of": "2026-01-01", **tables}).encode()).json()

    with TestClient(make_app(settings(folder, cache))) as client:
        ready(client)
        assert ask(tables={"sales": sales, "items": items})["rows"] == [{"item": "a", "revenue": 14.0}]
        assert ask(tables={"sales": sales})["error"].startswith("items: this table is missing")
        assert ask(rows=sales)["error"].startswith("items: this table is missing")
        assert ask(tables={"orders": []})["error"] == "tables.orders: no such table; the workload has: sales, items"
        assert ask(tables=[])["error"] == "tables: expected an object: {name: [{column: value}]}"
        assert ask(tables={"items": 1})["error"].startswith("tables.items: expected a list of rows")
        assert ask(rows=sales, tables={})["error"].startswith("rows: expected an object")
        spoilt = ask(tables={"sales": sales, "items": [{"item": "a", "price": -1}]})
        assert (spoilt["field"], spoilt["rule"], spoilt["row"]) == ("items.price", ">= 0", 0)


# Tables that are far more than their bytes.


@pytest.mark.parametrize("served", DATED, indirect=True)
def test_what_unpacks_to_more_than_is_allowed_is_refused_before_it_is(served: Any) -> None:
    client, table, _ = served
    long = table.head(300).with_columns(pl.lit("a" * 1_000_000).alias("note"), pl.arange(300).alias("n"))
    long = long.with_columns(note=pl.col("note") + pl.col("n").cast(pl.String))
    parquet, arrow = BytesIO(), BytesIO()
    long.write_parquet(parquet, compression="zstd")
    long.write_ipc_stream(arrow, compression="zstd")
    for form, file in ((PARQUET, parquet), (ARROW, arrow)):
        assert len(file.getvalue()) < 2_000_000
        answer = post(client, file.getvalue(), form, f"?as_of={AS_OF}")
        assert answer.status_code == 422 and "bytes unpacked" in answer.json()["error"], answer.text


@pytest.mark.parametrize("served", DATED, indirect=True)
@pytest.mark.parametrize("form", [PARQUET, ARROW])
def test_many_rows_of_one_long_text_are_refused(served: Any, form: str) -> None:
    client, table, _ = served
    name = {"date": "series_id", "day": "customer"}[table.columns[0]]
    shared = pl.concat([table.head(1)] * 3000).with_columns(pl.lit("a" * 100_000).alias(name))
    answer = post(client, content(shared, form), form, f"?as_of={AS_OF}")
    assert answer.status_code in (413, 422) and "bytes" in answer.json()["error"]


@pytest.mark.parametrize(
    "body", [b"," * 100_000, b'"' + b"\n," * 2000, b"a" * 100_000], ids=["columns", "quoted", "long"]
)
def test_csv_of_very_many_columns_is_refused(served: Any, body: bytes) -> None:
    answer = post(served[0], body, CSV, f"?as_of={AS_OF}")
    assert answer.status_code == 422 and "header of more than" in answer.json()["error"]


@pytest.mark.parametrize("form", [PARQUET, ARROW])
def test_what_a_file_says_of_its_size_is_what_it_has(form: str) -> None:
    table = sales_table(AS_OF, days=50)
    given = content(table, form)
    found = (of_parquet if form == PARQUET else of_arrow)(given)
    assert found.rows == len(table) and 0.1 < found.unpacked / table.estimated_size() < 3
    for cut in range(0, len(given), 7):
        for spoilt in (given[:cut], given[:cut] + b"\xff" + given[cut + 1 :]):
            with suppress(ValueError):
                (of_parquet if form == PARQUET else of_arrow)(spoilt)


@pytest.mark.parametrize("served", ["forecasting"], indirect=True)
@pytest.mark.parametrize("form", [PARQUET, ARROW])
def test_a_file_that_polars_dies_of_is_refused_and_the_service_goes_on(served: Any, form: str) -> None:
    """Spoilt in many places: some ask for exabytes, which ends the process that reads them."""
    client, table, _ = served
    good = content(table, form)
    random = np.random.default_rng(4)
    for place in random.integers(4, len(good) - 8, 60).tolist():
        spoilt = bytearray(good)
        spoilt[place : place + 4] = random.integers(0, 256, 4, dtype=np.uint8).tobytes()
        assert post(client, bytes(spoilt), form, f"?as_of={AS_OF}").status_code in (200, 422)
    assert post(client, good, form, f"?as_of={AS_OF}").status_code == 200


def test_a_reader_that_was_killed_is_started_anew() -> None:
    reader, table = Reader(), purchases()
    (contract,) = get_problem(Spec(**CUSTOMERS)).tables()
    assert reader.read(PARQUET, content(table, PARQUET), contract, 10_000, 10**8).equals(table)
    assert reader._process is not None
    reader._process.kill()
    reader._process.join()
    assert len(reader.read(ARROW, content(table, ARROW), contract, 10_000, 10**8)) == len(table)
    with pytest.raises(RuleError, match="more than 5 rows"):
        reader.read(PARQUET, content(table, PARQUET), contract, 5, 10**8)
    reader.stop()
