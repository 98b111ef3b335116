"""`python -m serving` runs the scoring service of one workload. Settings: serving/service/settings.py."""

import logging
import math
import resource
import signal
import sys

import uvicorn
from pydantic import ValidationError

from serving.client import ServingError
from serving.client.signature import TrustedKeys
from serving.service.app import make_app
from serving.service.protocol import bounded
from serving.service.settings import ServiceSettings

OTHER_FILES = 64  # that the process has open besides connections


def main() -> int:
    """Serve until SIGTERM or SIGINT, then finish the open requests. Returns 78 when a setting is wrong."""
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
    # What small requests need goes on sooner while a large one is read on another thread.
    sys.setswitchinterval(0.0005)
    settings = with_room(settings)
    uvicorn.run(
        make_app(settings),
        host=settings.host,
        port=settings.port,
        http=bounded(settings),
        ws="none",
        timeout_keep_alive=math.ceil(settings.idle_seconds),
        access_log=False,  # what is asked for stands in the metrics
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    return 0


def with_room(settings: ServiceSettings) -> ServiceSettings:
    """Limit the settings' connections to the process's open files: one more could not even be refused."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + OTHER_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return settings.model_copy(update={"max_connections": max(1, min(settings.max_connections, most - OTHER_FILES))})


if __name__ == "__main__":
    raise SystemExit(main())
