"""This module reads rows of tables in a JSON body."""

from collections.abc import Sequence
from typing import Any

import orjson
import polars as pl

from serving.service.http import Refused
from tasks.scoring.rows import from_records, too_many
from tasks.tables.table import TableContract


def tables_of(
    body: bytes, contracts: Sequence[TableContract], limit: int
) -> tuple[dict[str, pl.DataFrame], str | None]:
    """Return the tables and `as_of` of a JSON body. Raises Refused, RuleError."""
    by_name = {contract.name: contract for contract in contracts}
    records, said = _records(body, limit, tuple(by_name))
    return {name: from_records(rows, by_name[name]) for name, rows in records.items()}, said


def _records(body: bytes, limit: int, names: Sequence[str]) -> tuple[dict[str, list[dict[str, Any]]], str | None]:
    """Return each table's rows and `as_of` of a JSON body; `rows` belong to the first of the workload's tables."""
    # Python's objects are many times larger than their text: what has too many is not read at all.
    if body.count(b"{") > limit + 2 or body.count(b"[") > limit:
        raise too_many(limit)
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"not JSON: {error}") from None
    if not isinstance(found, dict) or len(found.keys() & {"rows", "tables"}) != 1:
        form = '{"as_of": "YYYY-MM-DD", "rows": [{column: value}]}, or with several tables "tables": {name: rows}'
        raise Refused(422, f"rows: expected an object: {form}", "rows")
    if others := sorted(found.keys() - {"rows", "tables", "as_of"}):
        raise Refused(422, f"{others[0]}: no such field; the request has `rows` or `tables`, and `as_of`", others[0])
    tables = {names[0]: found["rows"]} if "rows" in found else found["tables"]
    if not isinstance(tables, dict):
        raise Refused(422, "tables: expected an object: {name: [{column: value}]}", "tables")
    for name, rows in tables.items():
        _check_rows(name, rows, "rows" if "rows" in found else f"tables.{name}", names)
    said = found.get("as_of")
    if said is not None and not isinstance(said, str):
        raise Refused(422, "as_of: expected a day as YYYY-MM-DD", "as_of")
    return tables, said


def _check_rows(name: str, rows: Any, field: str, names: Sequence[str]) -> None:
    if name not in names:
        raise Refused(422, f"{field}: no such table; the workload has: {', '.join(names)}", field)
    if not isinstance(rows, list):
        raise Refused(422, f"{field}: expected a list of rows, each an object: {{column: value}}", field)
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise Refused(422, f"{field}: row {place} is no object", field, rule="an object by column", row=place)
