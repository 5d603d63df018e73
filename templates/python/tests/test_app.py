import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import unittest

from service import NAME
from service.app import App, Server
from service.flags import Flags

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HELLO = f"/{NAME}/hello"


class Running:
    """The service on a free port, for as long as the block runs."""

    def __init__(self, flags="{}"):
        self.server = Server(socket.create_server(("127.0.0.1", 0)), App(Flags(flags)))
        self.port = self.server.socket.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        return self

    def __exit__(self, *_):
        self.client.close()
        self.server.drain(20)

    def ask(self, path, headers=None, method="GET"):
        self.client.request(method, path, headers=headers or {})
        answer = self.client.getresponse()
        return answer, answer.read().decode()


class AppTest(unittest.TestCase):
    def test_hello_says_whose_request_it_is_and_how_long_it_may_take(self):
        with Running() as running:
            headers = {"x-rc-tenant": "acme", "x-rc-deadline-ms": "250", "traceparent": PARENT}
            answer, body = running.ask(HELLO, headers)
        self.assertEqual(answer.status, 200)
        expected = {
            "message": f"hello from {NAME}",
            "tenant": "acme",
            "deadline_ms": 250,
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        }
        self.assertEqual(json.loads(body), expected)
        response = answer.headers["traceresponse"]
        self.assertTrue(response.startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-"), response)
        self.assertNotIn("00f067aa0ba902b7", response, "the span is our own")

    def test_without_a_gateway_there_is_no_tenant(self):
        with Running() as running:
            _, body = running.ask(HELLO, {"x-rc-deadline-ms": "soon"})
        self.assertIsNone(json.loads(body)["tenant"])
        self.assertIsNone(json.loads(body)["deadline_ms"])

    def test_a_flag_changes_the_greeting(self):
        with Running('{"warm_greeting": true}') as running:
            self.assertIn("a warm hello", running.ask(HELLO)[1])

    def test_one_connection_serves_many_requests(self):
        with Running() as running:
            for method, path, status in (
                ("GET", HELLO, 200),
                ("POST", HELLO, 405),
                ("GET", "/nowhere", 404),
                ("HEAD", HELLO, 200),
                ("GET", "/health", 200),
            ):
                self.assertEqual(running.ask(path, method=method)[0].status, status, path)

    def test_it_is_ready_until_it_drains(self):
        with Running() as running:
            self.assertEqual(running.ask("/ready")[0].status, 200)
            running.server.app.draining = True
            answer, _ = running.ask("/ready")
        self.assertEqual((answer.status, answer.headers["connection"]), (503, "close"))

    def test_metrics_count_by_route_and_never_by_path(self):
        with Running() as running:
            running.ask(HELLO)
            running.ask("/somewhere/else")
            _, text = running.ask("/metrics")
        for part in (
            f'http_requests_total{{route="{HELLO}",method="GET",status="200"}} 1',
            'http_requests_total{route="other",method="GET",status="404"} 1',
            "http_request_duration_seconds_bucket",
            "http_requests_in_flight 1",
            "process_resident_memory_bytes",
            "process_cpu_seconds_total",
        ):
            self.assertIn(part, text)
        self.assertNotIn("somewhere", text)


class ProcessTest(unittest.TestCase):
    def test_it_takes_over_a_socket_and_ends_when_asked(self):
        """The socket is handed over by descriptor, as a supervisor does it between two versions."""
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        hand_over = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); "
            "os.execv(sys.executable, [sys.executable, '-m', 'service'])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", hand_over, str(listener.fileno())],
            env={**os.environ, "LISTEN_FDS": "1"},
            stdout=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
        try:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            client.request("GET", "/ready")
            answer = client.getresponse()
            answer.read()
            self.assertEqual(answer.status, 200)
            client.close()
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=20)
        finally:
            process.kill()
            listener.close()
        self.assertEqual(process.returncode, 0)
        self.assertIn("it ends", output.decode())
