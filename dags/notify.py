"""This module tells operations of failed stages, refused candidates and missed deadlines.

`NIGHTSTILL_NOTIFY` names the channels, separated by blanks: `file` (default: notifications.jsonl below
NIGHTSTILL_HOME), `webhook:<URL, or the id of an Airflow connection>`, `email:<addresses, separated by commas>` (through
the connection smtp_default). A new channel is one function in CHANNELS.
"""

import json
import logging
import os
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from html import escape
from http.client import HTTPException
from pathlib import Path
from typing import Any

from airflow.sdk import BaseNotifier, Connection, Context

from dags.project import HOME, safe_run_id
from tasks.core.redaction import redact

log = logging.getLogger(__name__)

Message = dict[str, str]


class OpsNotifier(BaseNotifier):
    """A notifier sends one message on one event of a run: `failed`, `late data`, `rejected`, `superseded`, `held`.

    An exception that has an `event` of its own names it.
    """

    def __init__(self, *, event: str, workload: str, reason: str = "") -> None:
        super().__init__()
        self.event, self.workload, self.reason = event, workload, reason

    def notify(self, context: Context) -> None:
        """Tell what happened in which run and task, and why."""
        task = context["ti"]
        send(
            message(
                getattr(context.get("exception"), "event", self.event),
                self.workload,
                context["dag_run"].run_id,
                self.reason or " ".join(str(context.get("exception") or "").split()),
                task=task.task_id,
                attempt=str(task.try_number),
                log=str(getattr(task, "log_url", "") or ""),
            )
        )


def deadline_missed(context: Mapping[str, Any], workload: str, minutes: int) -> None:
    """Tell that the night is still going after its deadline. Airflow hands over a plain copy of the DAG run.

    A failed run had its message already, and a backfill is of days whose deadline has long passed.
    """
    run = context["dag_run"]
    if run["state"] in ("queued", "running") and run["run_type"] != "backfill":
        send(message("late", workload, run["dag_run_id"], f"not finished {minutes} minutes after its time"))


def message(event: str, workload: str, run_id: str, reason: str, **more: str) -> Message:
    """Return a message for every channel: one line of text for people, and the same as fields."""
    name = safe_run_id(run_id)
    place = f" at {more['task']}" if "task" in more else ""
    reason = redact(reason)
    return {
        "text": f"nightstill {workload}: {event}{place}: {reason} (run {name})",
        "event": event,
        "workload": workload,
        "run_id": name,
        "reason": reason,
        "look": f"nightstill show {workload} --run-id {name}",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }


def send(told: Message) -> None:
    """Send a message to every channel. A failing one does not keep it from the others, and is named in the file."""
    for channel in os.environ.get("NIGHTSTILL_NOTIFY", "file").split():
        kind, _, target = channel.partition(":")
        try:
            CHANNELS[kind](target, told)
        except Exception as error:  # noqa: BLE001 told in one line, without a trace that would show the address
            said = redact(f"{kind}: {type(error).__name__}: {error}")
            log.error("notification not sent through %s", said)  # noqa: TRY400
            _file("", {**told, "not_sent": said})


def _file(target: str, told: Message) -> None:
    path = Path(target) if target else HOME / "notifications.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(told, sort_keys=True) + "\n")


def _webhook(target: str, told: Message) -> None:
    url = target if "://" in target else _url(Connection.get(target))
    body = json.dumps(told).encode()
    headers = {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 the operator's URL
        with urllib.request.urlopen(request, timeout=15):  # noqa: S310 the operator's URL
            log.info("told the webhook")
    except (ValueError, HTTPException) as error:  # their text holds the address, and with it a token
        raise ValueError(f"its address cannot be asked ({type(error).__name__})") from None


def _url(connection: Connection) -> str:
    """Return the address of an Airflow connection: its scheme in `schema`, or the whole of it in `host`."""
    host = connection.host or ""
    if "://" in host:
        return host
    return f"{connection.schema or 'https'}://{host}" + (f":{connection.port}" if connection.port else "")


def _email(target: str, told: Message) -> None:
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    rows = "".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in told.items())
    notifier = SmtpNotifier(to=target.split(","), subject=told["text"][:200], html_content=f"<table>{rows}</table>")
    notifier.notify({})


CHANNELS: dict[str, Callable[[str, Message], None]] = {"file": _file, "webhook": _webhook, "email": _email}
