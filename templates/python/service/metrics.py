"""What is counted: rate, errors and duration by route, and the process itself."""

import contextlib
import os
import threading
import time

BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """All that is counted. Its lock is held for a few additions at a time."""

    CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self):
        self._changed = threading.Condition()
        self._answered = {}
        self._durations = {}
        self._in_flight = 0

    @contextlib.contextmanager
    def in_flight(self):
        """A request is under way, until its answer is written or its client has left."""
        with self._changed:
            self._in_flight += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def wait_idle(self, seconds):
        """Waits until no request is under way; whether that was so within the time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._in_flight == 0, timeout=seconds)

    def observe(self, route, method, status, seconds):
        """A request was answered."""
        key = (route, method, status)
        with self._changed:
            self._answered[key] = self._answered.get(key, 0) + 1
            duration = self._durations.setdefault(route, [[0] * len(BUCKETS_SECONDS), 0, 0.0])
            for at, bound in enumerate(BUCKETS_SECONDS):
                duration[0][at] += seconds <= bound
            duration[1] += 1
            duration[2] += seconds

    def text(self):
        """All of it in Prometheus' text format."""
        lines = []

        def family(name, kind, description, samples):
            lines.extend((f"# HELP {name} {description}", f"# TYPE {name} {kind}", *samples))

        def one(name, kind, description, value):
            family(name, kind, description, [f"{name} {value}"])

        with self._changed:
            answered = [
                f'http_requests_total{{route="{route}",method="{method}",status="{status}"}} {count}'
                for (route, method, status), count in self._answered.items()
            ]
            durations = []
            for route, (buckets, count, total) in self._durations.items():
                name = "http_request_duration_seconds"
                for bound, below in zip((*BUCKETS_SECONDS, "+Inf"), (*buckets, count)):
                    durations.append(f'{name}_bucket{{route="{route}",le="{bound}"}} {below}')
                durations.append(f'{name}_sum{{route="{route}"}} {total}')
                durations.append(f'{name}_count{{route="{route}"}} {count}')
            in_flight = self._in_flight
        family("http_requests_total", "counter", "Requests answered", answered)
        family("http_request_duration_seconds", "histogram", "From the request to its answer", durations)
        one("http_requests_in_flight", "gauge", "Requests under way", in_flight)
        one("process_resident_memory_bytes", "gauge", "Resident memory", _resident_bytes())
        one("process_cpu_seconds_total", "counter", "CPU time used", time.process_time())
        return "\n".join(lines) + "\n"


def _resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
