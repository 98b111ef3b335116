"""Requests whose answers take long are answered on other threads, a few at once, so that nobody else waits for them."""

from collections.abc import Callable

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Request, Response

from serving.client import Model
from serving.service.http import Intake
from serving.service.metrics import Metrics

Make = Callable[[bytes], tuple[bytes, int]]
"""A function that makes the answer of a body, and tells its number of rows. Raises Refused."""


def respond(content: bytes, rows: int, media_type: str, model: Model, metrics: Metrics) -> Response:
    """Return the answer of a release, and count its rows."""
    metrics.rows.inc(rows)
    return Response(content, media_type=media_type, headers={"X-Nightstill-Release": str(model.release.number)})


class Apart:
    """Apart answers one endpoint's requests, `at_once` of them at the same time."""

    def __init__(self, intake: Intake, metrics: Metrics, at_once: int) -> None:
        self._intake, self._metrics, self._limiter = intake, metrics, CapacityLimiter(at_once)

    async def answer(self, request: Request, limit: int, media_type: str, model: Model, make: Make) -> Response:
        """Read a body of at most `limit` bytes, and answer it in a media type. Raises Refused."""
        # The columns of few requests at once are all that memory must hold.
        async with self._intake.body(request, limit) as body, self._intake.work(len(body)):
            content, rows = await run_sync(make, body, limiter=self._limiter)
        return respond(content, rows, media_type, model, self._metrics)
