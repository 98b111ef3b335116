"""This module answers what to recommend: histories of raw ids in, ids and scores of the best items out."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson
import polars as pl

from serving.client import InputError, Model
from serving.contract.choice import require_count
from serving.service.bodies import SPARE, BadBody
from serving.service.drift import Asked
from serving.service.http import Refused
from serving.service.kept import AskedTable, KeptRequests

MOST_BYTES = 262_144
"""A body is this large at most: reading it keeps nobody waiting."""
LONGEST, MOST = 10_000, 1000
MOST_ITEMS = 100_000
"""One answer names so many items at most, of all its histories: each is an object in memory."""
DEFAULT = 10
TEXT = re.compile(rb'(?s)"(?:[^"\\]|\\.)*+"?')
"""A text in JSON; one that does not end is one, too, so that nothing is looked at twice."""
FIELDS = ("histories", "k")


def recommend(
    body: bytes,
    model: Model,
    about: Mapping[str, Any],
    max_rows: int,
    asked: Asked | None = None,
    kept: KeptRequests | None = None,
) -> tuple[bytes, int]:
    """Return the answer to a JSON body, and its number of histories. Raises Refused naming the field."""
    try:
        histories, count = _asked(body, max_rows)
        found = model.recommend(histories, count, partial(asked.see_output, model) if asked else None)
    except BadBody as error:
        raise Refused(400, str(error)) from None
    except InputError as error:
        raise Refused(422, str(error), error.field) from None
    if kept is not None and kept.on:
        texts = pl.Series("history", [[str(one) for one in history] for history in histories], pl.List(pl.String))
        kept.keep(AskedTable("histories", texts.to_frame(), model.release.number, None))
    answers = [
        {"items": one.items, "scores": one.scores, "unknown": one.unknown, "popular": one.popular} for one in found
    ]
    return orjson.dumps({**about, "recommendations": answers}), len(answers)


def _asked(body: bytes, max_rows: int) -> tuple[list[list[Any]], int]:
    # Making many lists would keep all others waiting; such a sign may also stand in ids.
    if body.count(b"[") > max_rows + SPARE and (lists := TEXT.sub(b"", body).count(b"[")) > max_rows + SPARE:
        raise InputError("histories", f"{lists} lists; expected 1 to {max_rows} histories in one request")
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"not JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("histories"), list):
        raise InputError("histories", 'expected an object: {"histories": [[id, …], …], "k": 10}')
    if others := sorted(found.keys() - set(FIELDS)):
        raise InputError(others[0], f"no such field; the request has: {', '.join(FIELDS)}")
    histories, count = found["histories"], found.get("k", DEFAULT)
    if not 1 <= len(histories) <= max_rows:
        raise InputError("histories", f"{len(histories)} of them; expected 1 to {max_rows} in one request")
    require_count(count, MOST)
    if (named := len(histories) * count) > MOST_ITEMS:
        said = f"{count} for each of {len(histories)} histories are {named:,} items"
        raise InputError("k", f"{said}; expected at most {MOST_ITEMS:,} in one request")
    for row, history in enumerate(histories):
        if not isinstance(history, list) or len(history) > LONGEST:
            raise InputError("histories", f"number {row} is no list of at most {LONGEST} ids")
    return histories, count
