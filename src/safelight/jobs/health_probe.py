"""Whether a server answers: asked again and again from outside, for a process that hangs does not say so itself."""

from __future__ import annotations

import http.client
import ipaddress
import threading
import time

ASK_EVERY, WAIT = 1.0, 3.0
"""Seconds between two questions, and for which an answer is waited for."""
PATH = "/health/live"


class Liveness:
    """How long a server has been silent.

    Only the time that was spent waiting for it counts, so that nothing is held against it which stopped this process as
    well, as a machine that sleeps.

    Args:
        host: The address it listens on.
        port: Its port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = _reachable(host), port
        self._over = threading.Event()
        self.answered = False
        """Whether it has ever answered."""
        self.silent = 0.0
        """Seconds of waiting since it answered last, or since this began."""

    def begin(self) -> None:
        """Ask from now on, in a thread."""
        threading.Thread(target=self._ask_on, daemon=True, name="liveness").start()

    def end(self) -> None:
        """Ask no more."""
        self._over.set()

    def _ask_on(self) -> None:
        while not self._over.is_set():
            self._ask()
            self._over.wait(ASK_EVERY)

    def _ask(self) -> None:
        began = time.monotonic()
        if self._answers():
            self.answered, self.silent = True, 0.0
        else:
            self.silent += min(time.monotonic() - began, WAIT) + ASK_EVERY

    def _answers(self) -> bool:
        """Whether there is an answer, whatever it says; one that closes the connection, at its bound of them, lives."""
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
    """Where a server that listens on an address can be asked from this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"
