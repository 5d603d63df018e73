"""What it answers, and what is noted of each request: its trace, its metrics and a line in the log.

The server is the standard library's, one thread a connection: it needs nothing installed. The gateway in front of it
has checked how requests are framed, and lets only so many in at once as are answered well.
"""

import json
import socket
import socketserver
import time
from http.server import BaseHTTPRequestHandler

from . import NAME, log
from .metrics import Metrics
from .trace import Trace

# Paths that are asked every second: they are counted, not logged.
PROBES = {"/health", "/ready", "/metrics"}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# A connection that says nothing for so long is closed.
IDLE_SECONDS_MAX = 60
# Threads have read what arrived before the drain within this.
SETTLE_SECONDS = 0.2
# A body that nobody reads is taken in up to here, so that the connection can be used again.
BODY_BYTES_MAX = 1 << 20


class App:
    """What requests share."""

    def __init__(self, flags):
        self.flags = flags
        self.metrics = Metrics()
        self.draining = False
        self.routes = {
            "/health": lambda request: (200, "ok\n", "text/plain"),
            "/ready": self.ready,
            "/metrics": lambda request: (200, self.metrics.text(), Metrics.CONTENT_TYPE),
            "/{{name}}/hello": self.hello,
        }

    def ready(self, request):
        return (503, "draining\n", "text/plain") if self.draining else (200, "ready\n", "text/plain")

    def hello(self, request):
        """Whose request it is, how long it may take, and which trace it belongs to."""
        greeting = "a warm hello" if self.flags.on("warm_greeting") else "hello"
        deadline = request.headers.get("x-rc-deadline-ms", "")
        body = {
            "message": f"{greeting} from {NAME}",
            "tenant": request.headers.get("x-rc-tenant"),
            "deadline_ms": int(deadline) if deadline.isascii() and deadline.isdigit() else None,
            "trace_id": request.trace.id,
        }
        return (200, json.dumps(body, separators=(",", ":")), "application/json")


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves an app from a socket that listens already."""

    daemon_threads = True

    def __init__(self, listener, app):
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.app = app

    def get_request(self):
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address

    def drain(self, seconds):
        """Stops accepting and waits for requests under way; whether all of them were answered."""
        self.app.draining = True
        self.shutdown()
        self.server_close()
        # A request that has arrived counts as one when its thread has read it.
        time.sleep(SETTLE_SECONDS)
        return self.app.metrics.wait_idle(seconds)

    def handle_error(self, request, client_address):
        log.warn("a connection failed", error=log.exception())


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS_MAX
    # One write an answer: two would wait for each other's acknowledgement.
    wbufsize = -1

    def answer(self):
        began = time.perf_counter()
        app = self.server.app
        self.trace = Trace.of(self.headers.get("traceparent"))
        path = self.path.partition("?")[0]
        # Paths that clients invent would each be a time series of its own.
        route = path if path in app.routes else "other"
        with app.metrics.in_flight():
            self.skip_body()
            try:
                status, body, kind = self.respond(app, route)
            except Exception:
                log.error("a request failed", error=log.exception(), trace_id=self.trace.id)
                status, body, kind = 500, "", "text/plain"
            self.write(status, body.encode(), kind)
        took = time.perf_counter() - began
        app.metrics.observe(route, self.command, status, took)
        if route not in PROBES:
            log.info(
                "answered",
                method=self.command,
                route=route,
                status=status,
                took_ms=round(took * 1000, 3),
                tenant=self.headers.get("x-rc-tenant"),
                trace_id=self.trace.id,
                span_id=self.trace.span_id,
            )

    def respond(self, app, route):
        if route == "other":
            return 404, json.dumps({"title": "there is no such path", "status": 404}), "application/json"
        if self.command not in ("GET", "HEAD"):
            return 405, json.dumps({"title": "only GET and HEAD", "status": 405}), "application/json"
        return app.routes[route](self)

    def skip_body(self):
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not length.isdigit() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
        elif int(length) > 0:
            self.rfile.read(int(length))

    def write(self, status, body, kind):
        self.send_response_only(status)
        self.send_header("date", self.date_time_string())
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("traceresponse", self.trace.header())
        if status == 405:
            self.send_header("allow", "GET, HEAD")
        # A connection that is kept would outlive the drain.
        if self.server.app.draining or self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_):
        """Silent: each request has its own line."""


for method in METHODS:
    setattr(Handler, f"do_{method}", Handler.answer)
