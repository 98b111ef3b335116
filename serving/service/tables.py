"""This module scores rows of the workload's own table: the code of training makes the features."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import lru_cache
from typing import Any

import orjson
import polars as pl
from numpy.typing import NDArray

from serving.client import InputError, Model
from serving.client.release import CONTRACT
from serving.service.bodies import JSON
from serving.service.drift import Asked
from serving.service.http import Refused
from serving.service.kept import AskedTable, KeptRequests
from serving.service.reader import APART_BYTES, Reader
from serving.service.records import tables_of
from serving.service.settings import ServiceSettings
from tasks.core.errors import DataError, IntegrityError, NightstillError, RuleError
from tasks.scoring.rows import ARROW, CSV, PARQUET, from_csv, to_bytes, too_many
from tasks.scoring.tables import TableScorer
from tasks.tables.table import TableContract

RUN = "run.yaml"
FORMATS = (JSON, CSV, PARQUET, ARROW)
BESIDE_BYTES = 32 * 2**20
"""What scoring holds beside the model's rows, such as weights of new items, is as large at most."""
LINE_BYTES = (8, 4096)  # of a row, on average
FURTHER_ROWS = "NIGHTSTILL_SERVING_MAX_FURTHER_ROWS"
DAYS = (date(1900, 1, 1), date(2199, 12, 31))  # far from where calendars and nanoseconds end


class Feed:
    """A feed is the model as the feature code calls it: every call is checked against the contract."""

    def __init__(self, model: Model, asked: Asked | None = None) -> None:
        self.names, self._model, self._asked = model.names, model, asked

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        output = self._model.predict({name: inputs[name] for name in self.names})
        if self._asked is not None:
            self._asked.see_output(self._model, output)
        return output


@lru_cache(maxsize=1)  # reading YAML takes longer than scoring
def scorer_of(model: Model) -> TableScorer:
    """Return the release's own features and checks. Raises Refused when none of them can be used here."""
    release = f"release {model.release.number}"
    if RUN not in model.files:
        raise Refused(501, f"{release}: {RUN} is missing, so this release takes arrays alone; use /v1/predict")
    try:
        return TableScorer(model.files[RUN], json.loads(model.files[CONTRACT]), release)
    except (NightstillError, ValueError, KeyError, TypeError) as error:
        said = " ".join(str(error).split())
        raise Refused(501, f"{release} cannot be used here, so it takes arrays alone: {said:.200}") from error


def score(  # noqa: PLR0913 named arguments
    body: bytes,
    *,
    media_type: str,
    wanted: str,
    as_of: str | None,
    model: Model,
    settings: ServiceSettings,
    reader: Reader,
    asked: Asked,
    kept: KeptRequests,
) -> tuple[bytes, int]:
    """Answer a request's body in the media type `wanted`, with its number of rows. Raises Refused."""
    scorer = scorer_of(model)
    try:
        dated = any(contract.date for contract in scorer.contracts)
        usual = None if dated else model.release.as_of
        given, day = _tables(body, media_type, as_of, usual, scorer, settings, reader)
        _count_further(given, scorer, settings.max_further_rows)
        tables = scorer.check(given)
        main = scorer.contracts[0]
        _count(tables[main.name], main, settings.max_rows)
        _count_pixels(tables[main.name], main, model, settings)
        scorer.require_fit(tables, BESIDE_BYTES)
        found = scorer.predict(tables, day, Feed(model, asked))
    except RuleError as error:
        raise Refused(422, str(error), error.column, rule=error.rule, row=error.row) from None
    except DataError as error:
        raise Refused(422, str(error)) from None
    except IntegrityError as error:
        raise Refused(501, f"{error}; this release takes arrays alone") from error
    except pl.exceptions.PanicException:  # of a file that lies about itself in a way that shows later
        raise Refused(422, "the table cannot be read") from None
    except InputError as error:
        raise Refused(422, str(error), error.field) from None
    asked.see_tables(model, tables, several=len(scorer.contracts) > 1)
    for name, table in tables.items():
        kept.keep(AskedTable(name, table, model.release.number, day))
    return _answer(found, wanted, day, model, settings.workload), len(found)


def wanted_type(accept: str, media_type: str) -> str:
    """Return the first of our formats that `Accept` names, else that of the request."""
    named = [one.partition(";")[0].strip().lower() for one in accept.split(",")]
    return next((one for one in named if one in FORMATS), media_type)


def _tables(
    body: bytes,
    media_type: str,
    as_of: str | None,
    usual: str | None,
    scorer: TableScorer,
    settings: ServiceSettings,
    reader: Reader,
) -> tuple[dict[str, pl.DataFrame], date]:
    """Return a request's tables and its day: that of the body, or of the address, else the `usual` one."""
    main, limit = scorer.contracts[0], settings.max_table_rows
    if media_type == JSON:
        if len(body) > APART_BYTES:
            tables, said = reader.records(body, scorer.contracts, limit)
        else:
            tables, said = tables_of(body, scorer.contracts, limit)
        if as_of is not None and said is not None and as_of != said:
            raise Refused(422, f"as_of: {as_of} in the address and {said} in the body; give one", "as_of")
        day = _day(said or as_of or usual)
    else:
        day = _day(as_of or usual)
        if media_type == CSV and not _has_odd_lines(body):
            tables = {main.name: from_csv(body, main, limit)}
        else:
            tables = {main.name: reader.read(media_type, body, main, limit, settings.max_table_bytes)}
    if sum(map(len, tables.values())) > limit:
        raise too_many(limit)
    return tables, day


def _has_odd_lines(body: bytes) -> bool:
    """Return whether a large CSV file's lines are no rows: megabytes of such text hold Python's lock for long."""
    shortest, longest = LINE_BYTES
    return len(body) > APART_BYTES and not shortest <= len(body) / (body.count(b"\n") + 1) <= longest


def _count(table: pl.DataFrame, contract: TableContract, limit: int) -> None:
    """Refuse more entities than `limit`: the model has a row for each. Moments of no entity are those of one."""
    if len(table) <= limit or (contract.date in contract.keys and not contract.entity):
        return
    entities = table.select(pl.struct(contract.entity).n_unique()).item() if contract.entity else len(table)
    if entities > limit:
        said = f"{entities} of {', '.join(contract.entity) or 'the rows'} in one request"
        raise Refused(422, f"{said}; at most {limit} are allowed, send them in parts")


def _count_further(tables: Mapping[str, pl.DataFrame], scorer: TableScorer, limit: int) -> None:
    """Refuse more rows of a table beside the first than `limit`: it tells of what the first is about, or of all items.

    It is told before the rows are checked one by one.
    """
    for contract in scorer.contracts[1:]:
        rows = len(tables.get(contract.name, ()))
        if rows > limit:
            field = f"tables.{contract.name}"
            said = f"{field}: {rows} rows in one request; at most {limit} are allowed, leave out rows of which nothing"
            raise Refused(422, f"{said} is asked, or raise {FURTHER_ROWS}", field, rule=f"rows <= {limit}")


def _count_pixels(table: pl.DataFrame, contract: TableContract, model: Model, settings: ServiceSettings) -> None:
    """Refuse more pixels than the settings allow, by what the heads of files say, before any of them is unpacked."""
    limit = settings.max_pixels
    columns = [column.name for column in contract.columns if column.kind == "binary" and column.name in table.columns]
    for field in model.contract.images.values():
        for name in columns:
            count = replace(field, most_pixels=min(field.most_pixels, settings.max_file_pixels)).pixels(
                [content or b"" for content in table[name]]
            )
            if count > limit:
                said = f"{name}: {count:,} pixels in one request; at most {limit:,} are unpacked, send them in parts"
                raise Refused(422, said, name)


def _day(text: str | None) -> date:
    if text is None:
        raise Refused(422, "as_of: missing; give the last day whose values are known, as YYYY-MM-DD", "as_of")
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise Refused(422, f"as_of: {text!r:.40} is not a day as YYYY-MM-DD", "as_of") from None
    first, last = DAYS
    if not first <= day <= last:
        raise Refused(422, f"as_of: {day} is not between {first} and {last}", "as_of")
    return day


def _answer(found: pl.DataFrame, wanted: str, day: date, model: Model, workload: str) -> bytes:
    if wanted != JSON:
        return to_bytes(found, wanted)
    about = {"workload": workload, "release": model.release.number, "as_of": day.isoformat()}
    return orjson.dumps({**about, "rows": found.to_dicts()})
