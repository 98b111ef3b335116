"""A collector of OpenTelemetry's metrics: it takes OTLP over HTTP, in both its forms, and keeps the names."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest


class Collector(ThreadingHTTPServer):
    """A collector on a free port. `names`: of the metrics that came."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.names: set[str] = set()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = ExportMetricsServiceRequest()
        if self.headers["Content-Type"] == "application/json":
            ParseDict(json.loads(body), request)
        else:
            request.ParseFromString(body)
        scopes = [scope for resource in request.resource_metrics for scope in resource.scope_metrics]
        self.server.names |= {metric.name for scope in scopes for metric in scope.metrics}
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""
