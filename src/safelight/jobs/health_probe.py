"""Periodic health probes of a server from another process, which detect a server that hangs."""

from __future__ import annotations

import http.client
import ipaddress
import threading
import time

ASK_EVERY, WAIT = 1.0, 3.0
"""Seconds between two probes, and the timeout of a probe in seconds."""
PATH = "/health/live"


class Liveness:
    """Probes a server and measures how long it has not responded.

    Only time spent on probes counts, so that a pause of this process too (a machine that sleeps, for example) is not
    held against the server.

    Args:
        host: The address that the server listens on.
        port: The server's port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = _reachable(host), port
        self._over = threading.Event()
        self.answered = False
        """Whether the server has responded at least once."""
        self.silent = 0.0
        """Seconds of probing since the last response, or since the start."""

    def begin(self) -> None:
        """Start probing in a thread."""
        threading.Thread(target=self._ask_on, daemon=True, name="liveness").start()

    def end(self) -> None:
        """Stop probing."""
        self._over.set()

    def _ask_on(self) -> None:
        while not self._over.is_set():
            self._ask()
            self._over.wait(ASK_EVERY)

    def _ask(self) -> None:
        started = time.monotonic()
        if self._answers():
            self.answered, self.silent = True, 0.0
        else:
            self.silent += min(time.monotonic() - started, WAIT) + ASK_EVERY

    def _answers(self) -> bool:
        """Whether the server responds. A server that resets the connection, at its connection limit, is alive."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=WAIT)
        try:
            connection.request("GET", PATH)
            connection.getresponse().read(1)
        except (ConnectionResetError, BrokenPipeError):
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True


def _reachable(host: str) -> str:
    """An address at which this machine can reach a server that listens on ``host``."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"
