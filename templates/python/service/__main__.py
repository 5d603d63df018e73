"""Starts, serves, and ends without dropping a request.

It listens on $HOST:$PORT, or takes over the socket that it was handed. On SIGTERM it stops accepting, /ready
answers 503, and requests under way get DRAIN_SECONDS to finish.
"""

import os
import signal
import socket
import sys
import threading

from . import log
from .app import App, Server
from .flags import read_flags

# The first descriptor that a supervisor hands over.
FIRST_HANDED_OVER = 3
# Connections that the kernel holds until they are accepted.
BACKLOG = 128


def listener(env=os.environ):
    """The listening socket.

    Whoever starts this process may hand one over, as systemd does: a new version takes it while the old one still
    serves from it, and no connection is refused in between.
    """
    meant_for = env.get("LISTEN_PID", str(os.getpid()))
    if int(env.get("LISTEN_FDS", "0")) >= 1 and meant_for == str(os.getpid()):
        return socket.socket(fileno=FIRST_HANDED_OVER)
    address = (env.get("HOST", "127.0.0.1"), int(env.get("PORT", "8080")))
    return socket.create_server(address, backlog=BACKLOG)


def main():
    drain_seconds = float(os.environ.get("DRAIN_SECONDS", "8"))
    server = Server(listener(), App(read_flags()))
    asked_to_end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_end.set())
    # Threads of a process that ends must not keep it; whether they are done is asked below.
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    log.info("it listens", address="{}:{}".format(*server.socket.getsockname()[:2]))

    asked_to_end.wait()
    log.info("it finishes what is under way")
    if not server.drain(drain_seconds):
        log.warn("requests were still under way when the drain was over")
    log.info("it ends")


try:
    main()
except (OSError, ValueError) as error:
    log.error("it cannot serve", error=str(error))
    sys.exit(1)
