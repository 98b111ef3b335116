"""This module tells operations what went wrong, what was refused, what is over: once a cause, by routes.

`NIGHTSTILL_NOTIFY` names the channels, separated by blanks: `file` (default: notifications.jsonl below
NIGHTSTILL_HOME), `webhook:<URL, or the id of an Airflow connection>`, `email:<addresses, separated by commas>` (through
the connection smtp_default), `apprise:<an address of apprise, or the id of a connection>` for Slack, Teams, PagerDuty
and what else apprise knows. A new channel is one function in CHANNELS.

A channel gets all messages, but for those that were `promoted`, or has a route before it,
`<workloads>/<events>><channel>`: `*/failed+late>apprise:pager sales/*>apprise:slack-sales`.
"""

import json
import logging
import os
import re
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from html import escape
from http.client import HTTPException
from pathlib import Path
from typing import Any

from airflow.sdk import BaseNotifier, Connection, Context

from dags import causes
from dags.project import HOME, safe_run_id
from tasks.core.redaction import redact

log = logging.getLogger(__name__)

Message = dict[str, str]


LATE_DATA = "late data"
TROUBLE = ("failed", "late", LATE_DATA, "regression")
"""These are told to be over, as `recovered`."""
QUIET = ("promoted",)
"""These go to routes alone that name them: nothing is to be done."""
ROUTE = re.compile(r"([a-z0-9*+-]+)/([a-z*+-]+)>(.+)")


class OpsNotifier(BaseNotifier):
    """A notifier sends one message on one event of a run, such as `failed`, `late data`, `rejected` or `promoted`.

    An exception that has an `event` of its own names it. `cause`: what has it already is not told again; empty: the
    run, so that tasks which fail together are one message. A run that was cleared is another cause.
    """

    def __init__(self, *, event: str, workload: str, reason: str = "", cause: str = "") -> None:
        super().__init__()
        self.event, self.workload, self.reason, self.cause = event, workload, reason, cause

    def notify(self, context: Context) -> None:
        """Tell what happened in which run and task, and why."""
        task, run = context["ti"], context["dag_run"]
        event = getattr(context.get("exception"), "event", self.event)
        dag = str(getattr(task, "dag_id", "") or "")
        cleared = getattr(run, "clear_number", 0) or 0
        told = message(
            event,
            self.workload,
            run.run_id,
            self.reason or " ".join(str(context.get("exception") or "").split()),
            task=task.task_id,
            attempt=str(task.try_number),
            log=str(getattr(task, "log_url", "") or ""),
        )
        once(told, self.cause or f"{dag}/{run.run_id}/{cleared}", "regression" if event == "regression" else dag)


def once(told: Message, cause: str, place: str) -> None:
    """Send a message if it is the first of its event and cause. `place`: where trouble is, and ends.

    One that no channel took counts as not told: the next of its cause is sent again.
    """
    workload, event = told["workload"], told["event"]
    if not causes.first(workload, f"{event}/{cause}"):
        log.info("told before: %s", told["text"])
        return
    if event in TROUBLE:
        causes.open_trouble(workload, _place(place, event), event, told["text"])
    if not send(told):
        causes.forget(workload, f"{event}/{cause}")


def _place(place: str, event: str) -> str:
    """Return where trouble stands: late data apart, for what else fails must not hide that they did not come."""
    return f"{place}/{event}" if event == LATE_DATA else place


def recovered(workload: str, place: str, run_id: str) -> None:
    """Tell that the trouble at a place is over; nothing if there was none."""
    if text := causes.end_troubles(workload, (place, _place(place, LATE_DATA))):
        send(message("recovered", workload, run_id, f"over: {text}"))


class Recovered:
    """This is called when a run succeeded: if something was wrong with its DAG, that is over.

    It is no notifier of Airflow's, which would render templates with a DAG that callbacks of a whole run do not have.
    """

    def __init__(self, workload: str) -> None:
        self.workload = workload

    def __call__(self, context: Context) -> None:
        """Tell it, once. Such callbacks know no more than the DAG and the run's id at times."""
        recovered(self.workload, context["dag"].dag_id, str(context["run_id"]))


def deadline_missed(context: Mapping[str, Any], workload: str, minutes: int) -> None:
    """Tell that the night is still going after its deadline. Airflow hands over a plain copy of the DAG run.

    A failed run had its message already, and a backfill is of days whose deadline has long passed.
    """
    run = context["dag_run"]
    if run["state"] in ("queued", "running") and run["run_type"] != "backfill":
        name, dag = run["dag_run_id"], str(run.get("dag_id") or f"nightly_{workload}")
        told = message("late", workload, name, f"not finished {minutes} minutes after its time")
        once(told, f"{dag}/{name}", dag)


def message(event: str, workload: str, run_id: str, reason: str, **more: str) -> Message:
    """Return a message for every channel: one line of text for people, and the same as fields."""
    name = safe_run_id(run_id)
    place = f" at {more['task']}" if "task" in more else ""
    reason = redact(reason)
    look = f"nightstill watch {workload}" if event == "regression" else f"nightstill show {workload} --run-id {name}"
    return {
        "text": f"nightstill {workload}: {event}{place}: {reason} (run {name})",
        "event": event,
        "workload": workload,
        "run_id": name,
        "reason": reason,
        "look": look,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }


def send(told: Message) -> bool:
    """Send a message to every channel whose route it is on. Returns False if it is on some, and none took it.

    A failing one does not keep it from the others, and is named in the file.
    """
    taken: list[bool] = []
    for channel in os.environ.get("NIGHTSTILL_NOTIFY", "file").split():
        route = ROUTE.fullmatch(channel)
        if not _on_route(told, route):
            continue
        kind, _, target = (route[3] if route else channel).partition(":")
        try:
            CHANNELS[kind](target, told)
            taken.append(True)
        except Exception as error:  # noqa: BLE001 told in one line, without a trace that would show the address
            said = redact(f"{kind}: {type(error).__name__}: {error}")
            log.error("notification not sent through %s", said)  # noqa: TRY400
            _file("", {**told, "not_sent": said})
            taken.append(False)
    return any(taken) or not taken


def _on_route(told: Message, route: "re.Match[str] | None") -> bool:
    event = told["event"].replace(" ", "-")
    workloads, events = (route[1].split("+"), route[2].split("+")) if route else (["*"], ["*"])
    return bool({"*", told["workload"]} & {*workloads}) and (event in events or ("*" in events and event not in QUIET))


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


TONES = {"failed": "failure", "regression": "failure", "recovered": "success", "promoted": "success"}


def _apprise(target: str, told: Message) -> None:
    import apprise

    if "://" not in target:
        connection = Connection.get(target)
        target = connection.password or connection.host or ""
    client = apprise.Apprise()
    if not client.add(target):
        raise ValueError("apprise knows no such address")
    details = {"why": told["reason"], "run": told["run_id"], "look": told["look"], "log": told.get("log", "")}
    body = "\n".join(f"{name}: {value}" for name, value in details.items() if value)
    title = f"nightstill {told['workload']}: {told['event']}" + (f" at {told['task']}" if "task" in told else "")
    if not client.notify(body=body, title=title, notify_type=TONES.get(told["event"], "warning")):
        raise ValueError("the service did not take the message")


CHANNELS: dict[str, Callable[[str, Message], None]] = {
    "file": _file,
    "webhook": _webhook,
    "email": _email,
    "apprise": _apprise,
}
