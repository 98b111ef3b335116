"""The service's endpoints. Whatever a client sends wrong is answered with 4xx and one line that names the field."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.client import InputError, Model
from serving.service.bodies import JSON, SAFETENSORS, BadBody, arrays_of, json_answer, safetensors_answer
from serving.service.keeper import Keeper
from serving.service.metrics import Metrics
from serving.service.settings import ServiceSettings

# A larger body is read and answered on another thread, so that small requests need not wait for it.
INLINE_BYTES = 65536
PATHS = ("/healthz", "/readyz", "/metrics", "/v1/model", "/v1/predict", "/openapi.json")


class Refused(Exception):
    """A request that is not answered: status, one line, the field that it is about, further headers."""

    def __init__(self, status: int, message: str, field: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.field, self.headers = status, field, headers


def make_app(settings: ServiceSettings) -> FastAPI:
    """The ASGI application; it polls the ledger from its start to its shutdown."""
    metrics = Metrics()
    keeper = Keeper(settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        keeper.start()
        yield
        keeper.stop()

    app = FastAPI(
        title=f"Nightstill: {settings.workload}",
        description="Predictions by the champion of one workload",
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.keeper, app.state.metrics = keeper, metrics
    app.add_middleware(Measured, metrics=metrics)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(Exception, _failed)

    @app.get("/healthz", summary="Whether the process is alive")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="Whether a verified champion is loaded")
    async def readyz() -> Response:
        model = keeper.model
        about = {"ready": model is not None, "problem": keeper.problem}
        if model is not None:
            about["release"] = model.release.number
        return JSONResponse(about, 200 if model else 503)

    @app.get("/metrics", summary="For Prometheus")
    async def prometheus() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/model", summary="The release that answers, and its contract")
    async def about_model() -> dict[str, Any]:
        return {"workload": settings.workload, "problem": keeper.problem, **_about(_ready(keeper))}

    @app.post("/v1/predict", summary="Outputs for rows under the feature contract", openapi_extra=_REQUEST)
    async def predict(request: Request) -> Response:
        media_type = _media_type(request)
        model = _ready(keeper)
        body = await _body(request, settings.max_bytes)
        if len(body) <= INLINE_BYTES:
            return _predict(body, media_type, model, settings, metrics)
        return await run_in_threadpool(_predict, body, media_type, model, settings, metrics)

    return app


def _predict(body: bytes, media_type: str, model: Model, settings: ServiceSettings, metrics: Metrics) -> Response:
    try:
        arrays = arrays_of(body, media_type, model.contract, model.names, settings.max_rows)
        output = model.predict(arrays)
    except BadBody as error:
        raise Refused(400, str(error)) from None
    except InputError as error:
        raise Refused(422, str(error), error.field) from None
    metrics.rows.inc(len(output))
    release = model.release
    about = {"workload": settings.workload, "release": release.number, "as_of": release.as_of}
    headers = {"X-Nightstill-Release": str(release.number)}
    make = json_answer if media_type == JSON else safetensors_answer
    return Response(make(about, output), media_type=media_type, headers=headers)


def _media_type(request: Request) -> str:
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found not in (JSON, SAFETENSORS):
        said = f"Content-Type {found or 'is missing'}; expected {JSON} or {SAFETENSORS}"
        raise Refused(415, said, "Content-Type")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        said = f"Content-Encoding {encoding}; send the body as it is"
        raise Refused(415, said, "Content-Encoding")
    return found


async def _body(request: Request, limit: int) -> bytes:
    """The whole body; no more than `limit` bytes of it are ever held."""
    too_large = Refused(413, f"the body has more than {limit} bytes; send the rows in parts")
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise too_large
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise too_large
            parts.append(part)
    except ClientDisconnect:
        raise Refused(400, "the client went away before its body had ended") from None
    return b"".join(parts)


def _ready(keeper: Keeper) -> Model:
    if keeper.model is None:
        raise Refused(503, f"no champion is loaded: {keeper.problem}", headers={"Retry-After": "5"})
    return keeper.model


def _about(model: Model) -> dict[str, Any]:
    release, contract = model.release, model.contract
    return {
        "release": release.number,
        "ledger_entry": release.entry,
        "kind": release.kind,
        "as_of": release.as_of,
        "created": release.created,
        "reason": release.reason,
        "run_id": release.run_id,
        "model_sha256": release.model_sha256,
        "manifest_sha256": release.manifest_sha256,
        "contract": {
            "problem": contract.problem,
            "inputs": {
                name: {"dtype": item.dtype, "shape": ["batch", *item.shape], "needed": name in model.names}
                for name, item in contract.inputs.items()
            },
            "codes": {
                name: [{"column": book.name, "first": book.first, "values": book.values} for book in item.books]
                for name, item in contract.coded.items()
            },
            "output": {"dtype": "float32", "shape": ["batch", *contract.output_shape]},
            "categories": contract.categories,
            "settings": contract.settings,
        },
    }


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse({"error": str(error), "field": error.field}, error.status, error.headers)


async def _not_found(_: Request, error: Exception) -> Response:
    """No such path, or no such method of it."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail, "field": ""}, error.status_code, error.headers)


async def _failed(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "a fault of the service; its log has the trace", "field": ""}, 500)


class Measured:
    """Counts requests by path and code, and times them. The health checks of a cluster are counted, not timed."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in PATHS else "other"
        start, code = time.perf_counter(), "500"

        async def noting(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = str(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            self.metrics.requests.labels(path, code).inc()
            if path == "/v1/predict":
                self.metrics.latency.labels(path).observe(time.perf_counter() - start)


_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "additionalProperties": False,
                    "properties": {"inputs": {"type": "object", "additionalProperties": {"type": "array"}}},
                }
            },
            SAFETENSORS: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
