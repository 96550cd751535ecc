"""Periodic health probes of a server from another process, which detect a server that hangs."""

from __future__ import annotations

import http.client
import ipaddress
import threading
import time

PROBE_INTERVAL, PROBE_TIMEOUT = 1.0, 3.0
"""Seconds between two probes, and the timeout of a probe in seconds."""
PROBE_PATH = "/health/live"


class HealthProbe:
    """Probes a server and measures how long it has not responded.

    Only time spent on probes counts, so that a pause of this process too (a machine that sleeps, for example) is not
    held against the server.

    Args:
        host: The address that the server listens on.
        port: The server's port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = _reachable_address(host), port
        self._stopped = threading.Event()
        self.has_answered = False
        """Whether the server has responded at least once."""
        self.silent_seconds = 0.0
        """Seconds of probing since the last response, or since the start."""

    def start(self) -> None:
        """Start probing in a thread."""
        threading.Thread(target=self._run, daemon=True, name="liveness").start()

    def stop(self) -> None:
        """Stop probing."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._probe()
            self._stopped.wait(PROBE_INTERVAL)

    def _probe(self) -> None:
        started = time.monotonic()
        if self._responds():
            self.has_answered, self.silent_seconds = True, 0.0
        else:
            self.silent_seconds += min(time.monotonic() - started, PROBE_TIMEOUT) + PROBE_INTERVAL

    def _responds(self) -> bool:
        """Whether the server responds. A server that resets the connection, at its connection limit, is alive."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=PROBE_TIMEOUT)
        try:
            connection.request("GET", PROBE_PATH)
            connection.getresponse().read(1)
        except (ConnectionResetError, BrokenPipeError):
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True


def _reachable_address(host: str) -> str:
    """An address at which this machine can reach a server that listens on ``host``."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"
