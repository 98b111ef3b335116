"""This module defines the service's endpoints. A client's error gets 4xx and one line that names the field."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.client import InputError, Model
from serving.service import description
from serving.service.apart import Apart, respond
from serving.service.bodies import JSON, SAFETENSORS, BadBody, arrays_of, json_answer, safetensors_answer
from serving.service.http import INLINE_BYTES, Intake, Refused, media_type
from serving.service.keeper import Keeper
from serving.service.kept import KeptRequests
from serving.service.metrics import Metrics
from serving.service.reader import APART_BYTES, Reader
from serving.service.recommend import MOST_BYTES, recommend
from serving.service.settings import ServiceSettings
from serving.service.tables import FORMATS, score, wanted_type

SAID_LENGTH = 1000  # of what an answer repeats of a request
TIMED = ("/v1/predict", "/v1/score", "/v1/recommend")
PATHS = ("/healthz", "/readyz", "/metrics", "/v1/model", *TIMED, "/openapi.json")


def make_app(settings: ServiceSettings) -> FastAPI:
    """Make the ASGI application; it polls the ledger from its start to its shutdown."""
    metrics = Metrics()
    keeper = Keeper(settings, metrics)
    reader = Reader()
    intake = Intake(settings)
    scoring = Apart(intake, metrics, settings.scores_at_once)
    kept = KeptRequests(settings, metrics.registry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        keeper.start()
        kept.start()
        yield
        keeper.stop()
        reader.stop()
        await run_in_threadpool(kept.stop)

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

    @app.get("/healthz", summary="Whether the process is alive", responses=description.HEALTHZ)
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="Whether a verified champion is loaded", responses=description.READYZ)
    async def readyz() -> Response:
        model = keeper.model
        about = {"ready": model is not None, "problem": keeper.problem}
        if model is not None:
            about["release"] = model.release.number
        return JSONResponse(about, 200 if model else 503)

    @app.get("/metrics", summary="For Prometheus", response_class=Response, responses=description.METRICS)
    async def prometheus() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/model", summary="The release that answers, and its contract", responses=description.MODEL)
    async def about_model() -> dict[str, Any]:
        return {"workload": settings.workload, "problem": keeper.problem, **_about(_ready(keeper))}

    @app.post(
        "/v1/predict",
        summary="Outputs for rows under the feature contract",
        responses=description.PREDICT,
        openapi_extra=description.ARRAYS,
    )
    async def predict(request: Request) -> Response:
        sent = media_type(request, (JSON, SAFETENSORS))
        model = _ready(keeper)
        async with intake.body(request, _limit(sent, settings)) as body:
            if len(body) <= INLINE_BYTES:
                return _predict(body, sent, model, settings, metrics, reader)
            async with intake.work(len(body)):
                return await run_in_threadpool(_predict, body, sent, model, settings, metrics, reader)

    @app.post(
        "/v1/score",
        summary="Predictions for rows of the workload's own table",
        responses=description.SCORE,
        openapi_extra=description.TABLE,
    )
    async def score_table(request: Request) -> Response:
        sent = media_type(request, FORMATS)
        model = _ready(keeper)
        as_of = request.query_params.get("as_of")
        wanted = wanted_type(request.headers.get("accept", ""), sent)
        make = partial(
            score,
            media_type=sent,
            wanted=wanted,
            as_of=as_of,
            model=model,
            settings=settings,
            reader=reader,
            asked=metrics.asked,
            kept=kept,
        )
        return await scoring.answer(request, _limit(sent, settings), wanted, model, make)

    _add_recommend(app, settings, keeper, metrics, intake, kept)
    return app


def _add_recommend(
    app: FastAPI,
    settings: ServiceSettings,
    keeper: Keeper,
    metrics: Metrics,
    intake: Intake,
    kept: KeptRequests,
) -> None:
    recommending = Apart(intake, metrics, settings.scores_at_once)

    @app.post(
        "/v1/recommend",
        summary="The best items for histories of raw ids",
        responses=description.RECOMMEND,
        openapi_extra=description.HISTORIES,
    )
    async def recommend_items(request: Request) -> Response:
        media_type(request, (JSON,))
        model = _ready(keeper)
        about = _release(model, settings)
        make = partial(recommend, model=model, about=about, max_rows=settings.max_rows, asked=metrics.asked, kept=kept)
        return await recommending.answer(request, min(MOST_BYTES, settings.max_json_bytes), JSON, model, make)


def _release(model: Model, settings: ServiceSettings) -> dict[str, Any]:
    return {"workload": settings.workload, "release": model.release.number, "as_of": model.release.as_of}


def _limit(sent: str, settings: ServiceSettings) -> int:
    return min(settings.max_bytes, settings.max_json_bytes) if sent == JSON else settings.max_bytes


def _predict(
    body: bytes, sent: str, model: Model, settings: ServiceSettings, metrics: Metrics, reader: Reader
) -> Response:
    try:
        if sent == JSON and len(body) > APART_BYTES:
            arrays = reader.arrays(body, model.contract, model.names, settings.max_rows)
        else:
            arrays = arrays_of(body, sent, model.contract, model.names, settings.max_rows)
        output = model.predict(arrays)
    except BadBody as error:
        raise Refused(400, str(error)) from None
    except InputError as error:
        raise Refused(422, str(error), error.field) from None
    metrics.asked.see_output(model, output)
    make = json_answer if sent == JSON else safetensors_answer
    return respond(make(_release(model, settings), output), len(output), sent, model, metrics)


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
            "histories": {
                name: {"column": item.book.name, "first": item.book.first} for name, item in contract.histories.items()
            },
            "tokens": {name: item.to_json() for name, item in contract.texts.items()},
            "images": {
                name: {"fit": item.fit, "most_pixels": item.most_pixels} for name, item in contract.images.items()
            },
            "choice": contract.choice,
            "repeats": contract.repeats,
            "settings": contract.settings,
        },
    }


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    about: dict[str, Any] = {"error": str(error)[:SAID_LENGTH], "field": error.field[:SAID_LENGTH]}
    if error.rule is not None:
        about |= {"rule": error.rule, "row": error.row}
    return JSONResponse(about, error.status, error.headers)


async def _not_found(_: Request, error: Exception) -> Response:
    """Answer that there is no such path, or no such method of it."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail, "field": ""}, error.status_code, error.headers)


async def _failed(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "a fault of the service; its log has the trace", "field": ""}, 500)


class Measured:
    """This counts requests by path and code, and times them. A cluster's health checks are counted, not timed."""

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
            if path in TIMED:
                self.metrics.latency.labels(path).observe(time.perf_counter() - start)
