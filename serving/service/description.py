"""This module describes requests and answers for /openapi.json, as far as they do not depend on the release."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST

from serving.service.bodies import JSON, SAFETENSORS
from serving.service.recommend import DEFAULT, LONGEST, MOST
from serving.service.tables import FORMATS

Schema = dict[str, Any]

WHY = {
    400: "the body cannot be read",
    408: "the body does not arrive in time",
    413: "the body is too large",
    415: "another content type, or an encoding of the body",
    422: "the rows break the contract; `field` names what is wrong, `rule` and `row` the first bad row of a table",
    501: "the service lacks the release's kind of learning, so it takes arrays alone",
    503: "no champion is loaded, or too many large bodies are held at once",
}
TEXT: Schema = {"type": "string"}
BYTES: Schema = {"type": "string", "format": "binary"}
DAY: Schema = {"type": "string", "format": "date"}
ERROR: Schema = {
    "type": "object",
    "required": ["error", "field"],
    "additionalProperties": False,
    "properties": {"error": TEXT, "field": TEXT, "rule": TEXT, "row": {"type": ["integer", "null"], "minimum": 0}},
}
ROWS: Schema = {"type": "array", "items": {"type": "object"}}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _content(json: Schema, others: Mapping[str, Schema]) -> Schema:
    return {name: {"schema": schema} for name, schema in {JSON: json, **others}.items()}


def _answers(json: Schema, *refused: int, others: Mapping[str, Schema] | None = None) -> dict[int | str, Schema]:
    """Return what an operation answers with 200, and the errors with which it refuses."""
    found: dict[int | str, Schema] = {200: {"description": "the answer", "content": _content(json, others or {})}}
    return found | {code: {"description": WHY[code], "content": _content(ERROR, {})} for code in refused}


ABOUT: Schema = {"workload": TEXT, "release": {"type": "integer", "minimum": 1}, "as_of": DAY}
COUNT: Schema = {"type": "integer", "minimum": 0}
HISTORY_BOOKS: Schema = {"type": "object", "additionalProperties": _object(column=TEXT, first=COUNT)}
READY = _object(ready={"type": "boolean"}, problem=TEXT)
BINARY = dict.fromkeys(FORMATS[1:], BYTES)

HEALTHZ = _answers(_object(status=TEXT))
READYZ = _answers(READY) | {503: {"description": "no champion is loaded", "content": _content(READY, {})}}
METRICS: dict[int | str, Schema] = {
    200: {"description": "numbers", "content": {CONTENT_TYPE_LATEST: {"schema": TEXT}}},
}
CONTRACT = {
    "type": "object",
    "properties": {
        "histories": HISTORY_BOOKS,
        "tokens": {"type": "object"},
        "images": {"type": "object"},
        "choice": COUNT,
        "repeats": {"type": "boolean"},
    },
}
MODEL = _answers(_object(**ABOUT, problem=TEXT, contract=CONTRACT), 503)
PREDICT = _answers(
    _object(**ABOUT, output={"type": "array"}), 400, 408, 413, 415, 422, 503, others={SAFETENSORS: BYTES}
)
SCORE = _answers(_object(**ABOUT, rows=ROWS), 400, 408, 413, 415, 422, 501, 503, others=BINARY)

RECOMMENDATION = _object(
    items={"type": "array", "items": TEXT},
    scores={"type": "array", "items": {"type": "number"}},
    unknown={"type": "integer", "minimum": 0},
    popular={"type": "boolean"},
)
RECOMMEND = _answers(
    _object(**ABOUT, recommendations={"type": "array", "items": RECOMMENDATION}), 400, 408, 413, 415, 422, 503
)

ARRAYS: Schema = {
    "requestBody": {
        "required": True,
        "content": _content(
            {
                "type": "object",
                "required": ["inputs"],
                "additionalProperties": False,
                "properties": {"inputs": {"type": "object", "additionalProperties": {"type": "array"}}},
            },
            {SAFETENSORS: BYTES},
        ),
    }
}
HISTORIES: Schema = {
    "requestBody": {
        "required": True,
        "content": _content(
            {
                "type": "object",
                "required": ["histories"],
                "additionalProperties": False,
                "properties": {
                    "histories": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "array",
                            "maxItems": LONGEST,
                            "items": {"anyOf": [TEXT, {"type": "integer"}]},
                        },
                    },
                    "k": {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT},
                },
            },
            {},
        ),
    }
}
TABLE: Schema = {
    "parameters": [
        {
            "name": "as_of",
            "in": "query",
            "description": "last day whose values are known; JSON may have it in the body",
            "schema": DAY,
        }
    ],
    "requestBody": {
        "required": True,
        "content": _content(
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "as_of": DAY,
                    "rows": ROWS,
                    "tables": {"type": "object", "additionalProperties": ROWS},
                },
            },
            BINARY,
        ),
    },
}
