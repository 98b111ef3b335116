"""`python -m serving`: the scoring service of one workload. Settings: serving/service/settings.py."""

import logging
import signal
import sys

import uvicorn
from pydantic import ValidationError

from serving.client import ServingError
from serving.client.signature import TrustedKeys
from serving.service.app import make_app
from serving.service.settings import ServiceSettings


def main() -> int:
    """Serve until SIGTERM or SIGINT, then finish what is under way. Returns 78 when a setting is wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = ServiceSettings()
        if settings.trusted_keys:
            TrustedKeys.load(settings.trusted_keys)  # a service that can verify nothing must not start
    except ValidationError as error:
        for problem in error.errors():
            name = str(problem["loc"][0]).upper()
            full = name if name.startswith("NIGHTSTILL_") else f"NIGHTSTILL_SERVING_{name}"
            print(f"error: {full}: {problem['msg']}", file=sys.stderr)
        return 78
    except ServingError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    # uvicorn finishes what is under way, then raises the signal again: this ends the process as a success.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        make_app(settings),
        host=settings.host,
        port=settings.port,
        access_log=False,  # what is asked for stands in the metrics
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
