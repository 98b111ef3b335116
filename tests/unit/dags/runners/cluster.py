"""The API of a Kubernetes cluster over HTTP, as far as one pod needs it; what is sent to it is held to the schema."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import kubernetes_validate
from kubernetes.utils.quantity import parse_quantity

# The newest Kubernetes that this was written for, and the oldest that is still looked after.
VERSIONS = ("1.37.0", "1.33.0")
PODS = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods(/(?P<name>[^/]+))?(?P<log>/log)?")


def check(document: dict[str, Any]) -> None:
    """Hold a document to the schema, and its quantities to their grammar, which no schema knows. Raises ValueError."""
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise ValueError(f"{'.'.join(map(str, error.path))}: {error.message}") from error
    for where, quantity in quantities(document):
        try:
            parse_quantity(quantity)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        # Python reads a number with blanks around it, Kubernetes does not.
        if " " in str(quantity):
            raise ValueError(f"{where}: {quantity!r} has a blank")


def quantities(document: Any, where: str = "") -> list[tuple[str, Any]]:
    """Where a document says how much, and how much."""
    found: list[tuple[str, Any]] = []
    if isinstance(document, list):
        return [pair for number, item in enumerate(document) for pair in quantities(item, f"{where}[{number}]")]
    if not isinstance(document, dict):
        return found
    for key, value in document.items():
        below = f"{where}.{key}".lstrip(".")
        if key in ("limits", "requests", "hard", "max", "min", "default", "defaultRequest") and isinstance(value, dict):
            found += [(f"{below}.{name}", amount) for name, amount in value.items()]
        elif key == "sizeLimit":
            found.append((below, value))
        else:
            found += quantities(value, below)
    return found


class Cluster(ThreadingHTTPServer):
    """One pod at a time: `status` is what its readers see, `None` that it is gone; `sent` what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pod: dict[str, Any] = {}
        self.status: dict[str, Any] | None = {"phase": "Running"}
        self.terminating = False
        self.lines: list[str] = []
        self.refusal: tuple[int, str] | None = None
        self.sent: list[tuple[str, str]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def calls(self, method: str) -> list[str]:
        return [path for sent, path in self.sent if sent == method]

    def ends(self, code: int, reason: str = "Error", message: str = "") -> None:
        """The pod ends by itself."""
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else reason, "message": message}
        container = {
            "name": "base",
            "image": "i",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": ended},
        }
        self.status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [container]}

    def read(self) -> dict[str, Any]:
        found = {**self.pod, "status": self.status}
        if self.terminating:
            found["metadata"] = {**found["metadata"], "deletionTimestamp": "2026-01-05T03:00:00Z"}
        return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Cluster

    def answer(self, code: int, body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(body, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, code: int, message: str) -> None:
        self.answer(code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code})

    def handle_one(self, method: str) -> None:
        cluster, url = self.server, urlparse(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        cluster.sent.append((method, self.path))
        found = PODS.fullmatch(url.path)
        if found is None:
            self.answer(200, {"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": []})
        elif method == "POST":
            self.create(body)
        elif not found["name"]:
            wanted = [pair.split("=") for pair in parse_qs(url.query)["labelSelector"][0].split(",") if "!" not in pair]
            labels = cluster.pod.get("metadata", {}).get("labels", {})
            here = cluster.status is not None and all(labels.get(key) == value for key, value in wanted)
            items = [cluster.read()] if cluster.pod and here else []
            self.answer(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
        elif cluster.status is None or cluster.pod.get("metadata", {}).get("name") != found["name"]:
            self.refuse(404, f'pods "{found["name"]}" not found')
        elif found["log"]:
            stamp = "2026-01-05T03:00:00.000000000Z " if "timestamps=True" in url.query else ""
            self.answer(200, "".join(f"{stamp}{line}\n" for line in cluster.lines).encode())
        else:
            self.answer(200, cluster.read())

    def create(self, body: Any) -> None:
        cluster = self.server
        if cluster.refusal:
            return self.refuse(*cluster.refusal)
        try:
            check(body)
        except ValueError as error:
            return self.refuse(422, str(error))
        cluster.pod = {**body, "metadata": {**body["metadata"], "uid": "1"}}
        return self.answer(201, cluster.read())

    def do_GET(self) -> None:
        self.handle_one("GET")

    def do_POST(self) -> None:
        self.handle_one("POST")

    def do_PATCH(self) -> None:
        self.handle_one("PATCH")

    def do_DELETE(self) -> None:
        self.handle_one("DELETE")

    def log_message(self, *arguments: Any) -> None:
        """Nobody reads it."""
