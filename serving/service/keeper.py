"""A keeper keeps the champion loaded: it opens it when the store is ready, and follows the ledger in the background."""

import logging
import threading

from serving.client import Champion, Model, ServingError
from serving.client.release import PROFILE
from serving.service.metrics import Metrics
from serving.service.settings import ServiceSettings
from serving.service.tables import RUN

log = logging.getLogger(__name__)


class Keeper:
    """A keeper polls on a thread of its own, so that no request ever waits for the store."""

    def __init__(self, settings: ServiceSettings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._champion: Champion | None = None
        self._problem = "nothing was loaded yet"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        metrics.follow_age(lambda: self._champion.release.as_of if self._champion else None)

    @property
    def model(self) -> Model | None:
        """Return the model that answers now; None before the first release."""
        return self._champion.model if self._champion else None

    @property
    def problem(self) -> str:
        """Return why the newest state is not loaded; empty when it is."""
        return self._champion.problem if self._champion else self._problem

    def start(self) -> None:
        """Begin to poll, at once for the first time."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current poll; nobody needs to wait for it."""
        self._stop.set()

    def poll(self) -> None:
        """Bring the loaded model in line with the ledger, as far as possible. Never raises."""
        settings, metrics = self._settings, self._metrics
        try:
            if self._champion is None:
                self._champion = Champion.open(
                    settings.release_store,
                    settings.workload,
                    cache=settings.cache,
                    trusted_keys=settings.trusted_keys,
                    threads=settings.threads,
                    files=(RUN, PROFILE),
                )
                log.info("%s: serving release %s", settings.workload, self._champion.release.number)
            elif self._champion.refresh():
                metrics.reloads.inc()
            release = self._champion.release
            metrics.release.set(release.number)
            metrics.entry.set(release.entry)
        except ServingError as error:
            if str(error) != self._problem:
                log.warning("%s: not ready: %s", settings.workload, error)
            self._problem = str(error)
        except Exception as error:
            # The thread must live on: a service that stopped polling would never see a release again.
            log.exception("%s: the poll failed", settings.workload)
            self._problem = f"{type(error).__name__}: {error}"
        if self.problem:
            metrics.failures.inc()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.poll()
            self._stop.wait(self._settings.poll_seconds)
