"""Telling operations, through each channel, with real files and a real web server."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from dags import notify
from dags.notify import OpsNotifier, Recovered, deadline_missed, message, recovered, send

Told = Callable[[], list[dict[str, str]]]
RUN = "scheduled__2026-06-30T01:00:00+00:00"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """What lies in the default file."""
    monkeypatch.setattr(notify, "HOME", tmp_path / "home")
    path = tmp_path / "home" / "notifications.jsonl"
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


class Hook(ThreadingHTTPServer):
    """A web server that keeps what it is sent, and answers with `status`."""

    def __init__(self) -> None:
        self.received: list[dict[str, str]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Hook)
        assert self.headers["Content-Type"] == "application/json"
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Tests read the received messages, not a log."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


MESSAGE = message("failed", "sales", "manual__2026-06-30T01:00:00+00:00", "units: 7 rows below 0", task="validate")


def test_a_message_is_one_line_for_people_and_the_same_as_fields() -> None:
    name = "manual__2026-06-30T01-00-00-00-00"
    assert MESSAGE["text"] == f"nightstill sales: failed at validate: units: 7 rows below 0 (run {name})"
    assert (MESSAGE["run_id"], MESSAGE["look"]) == (name, f"nightstill show sales --run-id {name}")


def test_the_file_is_the_default_and_is_appended_to(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NIGHTSTILL_NOTIFY", raising=False)
    send(MESSAGE)
    send({**MESSAGE, "event": "late"})
    assert told() == [MESSAGE, {**MESSAGE, "event": "late"}]


def test_a_webhook_gets_the_message_as_json(told: Told, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_NOTIFY", f"webhook:{hook.url}")
    send(MESSAGE)
    assert hook.received == [MESSAGE]
    assert told() == []


def test_a_webhooks_address_can_be_a_connection(told: Told, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps({"conn_type": "http", "host": hook.url}))
    parts = {"conn_type": "http", "host": "127.0.0.1", "port": hook.server_port, "schema": "http"}
    monkeypatch.setenv("AIRFLOW_CONN_PARTS", json.dumps(parts))
    monkeypatch.setenv("NIGHTSTILL_NOTIFY", "webhook:ops webhook:parts")
    send(MESSAGE)
    assert hook.received == [MESSAGE, MESSAGE]
    assert told() == []


def test_a_channel_that_fails_stops_no_other_and_is_recorded(
    told: Told, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook.status = 500
    dead = "http://127.0.0.1:1/nobody"
    monkeypatch.setenv("NIGHTSTILL_NOTIFY", f"webhook:{dead} pigeon:home email:ops@example.org webhook:{hook.url} file")
    send(MESSAGE)
    assert hook.received == [MESSAGE]
    *failed, sent = told()
    assert sent == MESSAGE
    assert [line["text"] for line in failed] == [MESSAGE["text"]] * 4
    reasons = [line["not_sent"] for line in failed]
    assert reasons[0].startswith("webhook: URLError") and "refused" in reasons[0]
    assert reasons[1].startswith("pigeon: ")
    assert reasons[2].startswith("email: ")
    assert reasons[3].startswith("webhook: HTTPError") and "500" in reasons[3]


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1/services/T0KEN-0001", "htp://x/T0KEN-0001", "http://a b/T0KEN-0001?x"]
)
@pytest.mark.parametrize("through", ["setting", "connection"])
def test_a_webhooks_address_is_a_secret(
    address: str, through: str, told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps({"conn_type": "http", "host": address}))
    monkeypatch.setenv(
        "NIGHTSTILL_NOTIFY", "webhook:ops" if through == "connection" else "webhook:" + address.replace(" ", "")
    )
    send(MESSAGE)
    assert len(told()) == 1
    assert "T0KEN" not in json.dumps(told()) + caplog.text


def test_a_reason_holds_no_password(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALES_DB_URL", "postgresql://reader:pl4nted@db/sales")
    send(message("failed", "sales", "r1", 'cannot connect with "pl4nted" to postgresql://reader:pl4nted@db/sales'))
    assert "pl4nted" not in json.dumps(told())


def test_an_email_shows_what_it_is_told_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    class Mailer:
        def __init__(self, *, to: list[str], subject: str, html_content: str) -> None:
            sent.append(html_content)

        def notify(self, context: Any) -> None:
            """The message counts, not its way."""

    monkeypatch.setattr("airflow.providers.smtp.notifications.smtp.SmtpNotifier", Mailer)
    monkeypatch.setenv("NIGHTSTILL_NOTIFY", "email:ops@example.org")
    send(message("failed", "sales", "r1", "store '<img src=x onerror=alert(1)>' & \"others\"", task="<b>"))
    (content,) = sent
    assert "<img" not in content and "<b>" not in content
    assert "&lt;img src=x onerror=alert(1)&gt;&#x27; &amp; &quot;others&quot;" in content


def test_a_failed_task_is_told_with_its_reason_attempt_and_log(told: Told) -> None:
    context: Any = {
        "ti": SimpleNamespace(task_id="validate", try_number=2, log_url="http://airflow/log"),
        "dag_run": SimpleNamespace(run_id="r1"),
        "exception": RuntimeError("bad data (exit code 65):\n  units: 7 rows below 0"),
    }
    OpsNotifier(event="failed", workload="sales")(context)
    (line,) = told()
    assert line["reason"] == "bad data (exit code 65): units: 7 rows below 0"
    assert (line["task"], line["attempt"], line["log"]) == ("validate", "2", "http://airflow/log")
    assert line["text"] == f"nightstill sales: failed at validate: {line['reason']} (run r1)"


@pytest.mark.parametrize(
    ("run_type", "state", "reasons"),
    [
        ("scheduled", "running", ["not finished 240 minutes after its time"]),
        ("manual", "queued", ["not finished 240 minutes after its time"]),
        ("scheduled", "failed", []),
        ("backfill", "running", []),
    ],
)
def test_a_missed_deadline_of_a_night_that_still_goes_is_told(
    run_type: str, state: str, reasons: list[str], told: Told
) -> None:
    run = {"dag_run_id": "scheduled__2026-06-30T01:00:00+00:00", "run_type": run_type, "state": state}
    deadline_missed({"dag_run": run}, "sales", 240)
    assert [line["reason"] for line in told()] == reasons
    assert {line["event"] for line in told()} <= {"late"}


def context_of(
    task: str, run_id: str = RUN, dag: str = "nightly_sales", error: str = "it broke", cleared: int = 0
) -> Any:
    return {
        "ti": SimpleNamespace(task_id=task, try_number=4, dag_id=dag),
        "dag_run": SimpleNamespace(run_id=run_id, clear_number=cleared),
        "exception": RuntimeError(error),
    }


def ended(dag: str = "nightly_sales", run_id: str = RUN) -> Any:
    """What Airflow tells of a whole run."""
    return {"dag": SimpleNamespace(dag_id=dag), "run_id": run_id}


def test_a_day_of_trouble_gives_the_messages_of_this_table_and_no_more(told: Told) -> None:
    """Three members of one stage fail, the night is late as well, is cleared, fails again, then ends in order."""
    failed, night = OpsNotifier(event="failed", workload="sales"), {"dag_run_id": RUN, "run_type": "scheduled"}
    for task in ("teach.lstm", "teach.lightgbm", "distil.student"):
        failed(context_of(task))
    deadline_missed({"dag_run": {**night, "state": "failed"}}, "sales", 240)
    failed(context_of("teach.lstm", cleared=1, error="no space left"))
    failed(context_of("teach.lightgbm", cleared=1, error="no space left"))
    for _ in range(2):
        deadline_missed({"dag_run": {**night, "state": "running"}}, "sales", 240)
    Recovered("sales")(ended())
    Recovered("sales")(ended(run_id="scheduled__2026-07-01T01:00:00+00:00"))
    for _ in range(3):  # every morning until somebody has looked
        cause = "regression/7"
        OpsNotifier(event="regression", workload="sales", reason="live error +20 %", cause=cause)(
            context_of("announce", dag="watch_sales")
        )
    Recovered("sales")(ended("watch_sales"))
    recovered("sales", "regression", RUN)
    recovered("sales", "regression", RUN)
    OpsNotifier(event="rejected", workload="sales", reason="gates")(context_of("announce"))
    OpsNotifier(event="rejected", workload="customers", reason="gates")(context_of("announce", dag="nightly_customers"))
    assert [(line["workload"], line["event"], line["reason"].split(":")[0]) for line in told()] == [
        ("sales", "failed", "it broke"),
        ("sales", "failed", "no space left"),
        ("sales", "late", "not finished 240 minutes after its time"),
        ("sales", "recovered", "over"),
        ("sales", "regression", "live error +20 %"),
        ("sales", "recovered", "over"),
        ("sales", "rejected", "gates"),
        ("customers", "rejected", "gates"),
    ]


def test_routes_are_by_workload_and_event(told: Told, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "NIGHTSTILL_NOTIFY", f"file */failed+late-data>webhook:{hook.url} sales/promoted>webhook:{hook.url}"
    )
    sent = [
        ("sales", "failed"),
        ("sales", "late data"),
        ("customers", "held"),
        ("sales", "promoted"),
        ("customers", "promoted"),
    ]
    for workload, event in sent:
        send(message(event, workload, "r1", "why"))
    assert [(line["workload"], line["event"]) for line in hook.received] == [*sent[:2], sent[3]]
    assert [(line["workload"], line["event"]) for line in told()] == sent[:3]


def test_a_store_that_does_not_answer_keeps_nobody_silent(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NIGHTSTILL_RUN_STORE", str(tmp_path / "file" / "store"))
    for _ in range(2):
        OpsNotifier(event="failed", workload="sales")(context_of("teach.lstm"))
    assert [line["event"] for line in told()] == ["failed", "failed"]


class Service(ThreadingHTTPServer):
    """Whatever service a message is for: it keeps path and body."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), Taking)


class Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Service)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append((self.path, body))
        self.send_response(202 if "enqueue" in self.path else 200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *arguments: Any) -> None:
        """Tests read what was received."""


@pytest.fixture
def service() -> Iterator[Service]:
    server = Service()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def diverted(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """What apprise sends to a service's own host comes here."""
    request = requests.Session.request

    def here(self: Any, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        return request(
            self, method, f"http://127.0.0.1:{service.server_port}{urlsplit(url).path}", *arguments, **options
        )

    monkeypatch.setattr(requests.Session, "request", here)
    return service


TITLE = "nightstill sales: failed at validate"


@pytest.mark.parametrize(
    ("address", "path", "title"),
    [
        (
            "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#nights",
            "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
            lambda body: body["attachments"][0]["title"],
        ),
        (
            "workflows://prod-161.westeurope.logic.azure.com:443/abcd/sig",
            "/workflows/abcd/triggers/manual/paths/invoke",
            lambda body: next(part["text"] for part in body["attachments"][0]["content"]["body"] if "text" in part),
        ),
        (
            "pagerduty://A1BRTD4JDIIIIIIIIIIIIIIIIIIIIIII@TIiajkdnlazkcOXrIdevi7FQ",
            "/v2/enqueue",
            lambda body: body["payload"]["summary"],
        ),
    ],
    ids=["slack", "teams", "pagerduty"],
)
def test_slack_teams_and_pagerduty_get_their_own_formats(
    address: str, path: str, title: Any, told: Told, diverted: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = json.dumps({"conn_type": "generic", "password": address})
    monkeypatch.setenv("AIRFLOW_CONN_CHAT", connection)
    monkeypatch.setenv("NIGHTSTILL_NOTIFY", "*/failed>apprise:chat")
    send(MESSAGE)
    send({**MESSAGE, "event": "held"})
    assert told() == []
    ((where, body),) = diverted.received
    assert where.partition("?")[0] == path
    assert title(body).startswith(TITLE)
    text = json.dumps(body)
    assert "units: 7 rows below 0" in text and MESSAGE["look"] in text


def test_an_address_that_apprise_does_not_know_is_said_and_stays_secret(
    told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NIGHTSTILL_NOTIFY", "apprise:pigeon://T0KEN-0001")
    send(MESSAGE)
    (line,) = told()
    assert line["not_sent"] == "apprise: ValueError: apprise knows no such address"
    assert "T0KEN" not in json.dumps(line) + caplog.text
