"""The log: one JSON object a line on standard output."""

import datetime
import json
import sys
import threading
import traceback

from . import NAME

_lock = threading.Lock()


def info(message, **fields):
    """Something to know."""
    _line("info", message, fields)


def warn(message, **fields):
    """Something that should not happen often."""
    _line("warn", message, fields)


def error(message, **fields):
    """Something that somebody should look at."""
    _line("error", message, fields)


def exception():
    """The exception that is being handled, with where it came from."""
    return traceback.format_exc().strip()


def _line(level, message, fields):
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    entry = {"ts": now.replace("+00:00", "Z"), "level": level, "service": NAME, "msg": message, **fields}
    with _lock:
        try:
            sys.stdout.write(json.dumps(entry, separators=(",", ":")) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read the log is gone; serving goes on.
            pass
