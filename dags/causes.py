"""What operations were told is remembered in the run store, so that one cause is told once, and its end too.

A create-only write decides between messengers that come at once. A store that does not answer keeps nobody silent.
"""

import json
import logging
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256

from dags.project import HOME
from tasks.core.errors import NightstillError
from tasks.core.storage import ObjectExists, ObjectStore, open_store

log = logging.getLogger(__name__)


def first(workload: str, cause: str) -> bool:
    """Return whether nobody was told of this cause before; from now on somebody was."""
    try:
        _store().create(_key(workload, "told", cause), json.dumps({"cause": cause}).encode())
    except ObjectExists:
        return False
    except NightstillError as error:
        log.warning("whether this was told before is not known, so it is told: %s", error)
    return True


def forget(workload: str, cause: str) -> None:
    """Forget that somebody was told of a cause, because nobody was."""
    try:
        _store().delete(_key(workload, "told", cause))
    except NightstillError as error:
        log.warning("this will not be told again: %s", error)


def open_trouble(workload: str, place: str, event: str, text: str) -> None:
    """Remember that something is wrong at a place, such as a DAG, until `end_trouble`; nights read it too."""
    try:
        told = {"event": event, "text": text, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        _store().write(_key(workload, "open", place), json.dumps(told).encode())
    except NightstillError as error:
        log.warning("its end will not be told: %s", error)


def end_troubles(workload: str, places: Iterable[str]) -> str:
    """Return what was wrong at some places, and forget it: the first of what they say, empty if nothing was."""
    return next(filter(None, [end_trouble(workload, place) for place in places]), "")


def end_trouble(workload: str, place: str) -> str:
    """Return what was wrong at a place, and forget it; empty if nothing was."""
    key = _key(workload, "open", place)
    try:
        store = _store()
        text = str(json.loads(store.read(key))["text"])
        store.delete(key)
    except KeyError:
        return ""
    except NightstillError as error:
        log.warning("whether something is over is not known: %s", error)
        return ""
    return text


def _store() -> ObjectStore:
    return open_store(os.environ.get("NIGHTSTILL_RUN_STORE") or str(HOME / "store"))


def _key(workload: str, kind: str, name: str) -> str:
    return f"notify/{workload}/{kind}/{sha256(name.encode()).hexdigest()[:32]}.json"
