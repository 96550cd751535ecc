"""HTTP requests to a source of models: guarded redirects, bounded answers, errors that name no secret.

Each redirect is followed here, one by one: the token is sent to the source's own host only, and a source with https is
never left for plain http. Messages name hosts, never addresses, which may hold signatures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from safelight.errors import DownloadDeniedError, DownloadError, DownloadMissingError

MAX_REDIRECTS = 5
MAX_JSON = 16 * 1024 * 1024
"""Maximum bytes of a description in JSON."""
TIMEOUT = 30.0
"""Seconds to wait for a connection, and for the next bytes of an answer."""
MAX_ATTEMPTS = 5
"""How often a request is tried without progress."""
MAX_WAIT = 120.0
"""The longest time that a source may ask to wait, in seconds; beyond it the error says how long it is."""
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_HEADERS = {"User-Agent": "safelight", "Accept-Encoding": "identity"}


class TransientError(Exception):
    """A failure that another attempt may not meet.

    Args:
        message: What failed, as a sentence.
        wait: Seconds that the source asks to wait; None if it does not say.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.message, self.wait = message, wait


@dataclass(frozen=True)
class HttpSource:
    """A server of models.

    Args:
        base_url: Its address, without a slash at the end.
        token: Sent to this host only, as a bearer token.
        timeout: Seconds to wait for a connection, and for the next bytes.
        sleep: Waits between two attempts.
        attempts: How often a request is tried without progress.
        max_wait: The longest time that the source may ask to wait, in seconds.
    """

    base_url: str
    token: str | None = None
    timeout: float = TIMEOUT
    sleep: Callable[[float], object] = time.sleep
    attempts: int = MAX_ATTEMPTS
    max_wait: float = MAX_WAIT

    def __repr__(self) -> str:
        """Without the token."""
        return f"HttpSource({self.base_url!r})"

    def impatient(self) -> HttpSource:
        """The source for somebody who waits for the answer of a web page."""
        return replace(self, timeout=min(self.timeout, 10.0), attempts=2, max_wait=2.0)

    def patient(self, sleep: Callable[[float], object]) -> HttpSource:
        """The source for a download in the background, which waits with ``sleep``."""
        return replace(self, timeout=TIMEOUT, attempts=MAX_ATTEMPTS, max_wait=MAX_WAIT, sleep=sleep)

    @property
    def host(self) -> str:
        """The source's name in messages."""
        return httpx2.URL(self.base_url).host

    def get_json(self, path: str) -> Any:
        """A JSON document at a path.

        Raises:
            DownloadError: It cannot be had, or is no JSON.
        """

        def fetch() -> Any:
            with self.open(self.base_url + path, {"Accept": "application/json"}) as response:
                body = bytearray()
                for block in response.iter_raw():
                    body += block
                    if len(body) > MAX_JSON:
                        raise DownloadError(f"The answer of {self.host} is too long.")
            try:
                return json.loads(body)
            except (ValueError, RecursionError) as error:
                raise DownloadError(f"{self.host} does not answer with JSON.") from error

        return self.retry(fetch)

    def retry(self, attempt: Callable[[], Any]) -> Any:
        """The result of an attempt, repeated while it fails for reasons that may pass.

        Raises:
            DownloadError: It failed for good.
        """
        for number in range(1, self.attempts + 1):
            try:
                return attempt()
            except TransientError as error:
                self.wait(error, number)
        raise AssertionError  # ``wait`` raised

    def wait(self, error: TransientError, failures: int) -> None:
        """Wait after a failed attempt.

        Args:
            error: Why it failed.
            failures: How many attempts failed in a row, this one included.

        Raises:
            DownloadError: There were too many, or the source asks for more patience than we have.
        """
        if error.wait is not None and error.wait > self.max_wait:
            raise DownloadError(f"{error.message} It asks to wait {error.wait:.0f} seconds.") from error
        if failures >= self.attempts:
            raise DownloadError(f"{error.message} It was tried {failures} times.") from error
        self.sleep(2.0 ** (failures - 1) if error.wait is None else error.wait)

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """The successful response at a URL after all redirects, its body unread.

        Raises:
            TransientError: Another attempt may succeed.
            DownloadDeniedError, DownloadMissingError, DownloadError: The source refuses.
        """
        # The environment's proxies are used: unlike pictures that clients name, these addresses are the operator's.
        with httpx2.Client(follow_redirects=False, timeout=self.timeout) as client:
            try:
                response = self._follow(client, httpx2.URL(url), headers)
                try:
                    _check_status(response)
                    yield response
                finally:
                    response.close()
            except httpx2.InvalidURL as error:
                raise DownloadError(f"{self.host} redirects to an address that is none.") from error
            except httpx2.HTTPError as error:
                message = f"The connection to {self.host} failed: {_reason(error)}."
                raise TransientError(message) from error

    def _follow(self, client: httpx2.Client, url: httpx2.URL, headers: Mapping[str, str]) -> httpx2.Response:
        origin = _origin(httpx2.URL(self.base_url))
        for _ in range(MAX_REDIRECTS + 1):
            if url.scheme not in ("http", "https") or not url.host or url.userinfo:
                raise DownloadError(f"{self.host} redirects to an address that is not fetched from.")
            if url.scheme == "http" and origin[0] == "https":
                raise DownloadError(
                    f"{self.host} redirects to plain http, which anybody on the way can change."
                )
            secret = (
                {"Authorization": f"Bearer {self.token}"} if self.token and _origin(url) == origin else {}
            )
            request = client.build_request("GET", url, headers={**_HEADERS, **headers, **secret})
            response = client.send(request, stream=True)
            if not response.has_redirect_location:
                return response
            response.close()
            url = url.join(response.headers["Location"])
        raise DownloadError(f"{self.host} redirects too often.")


def _check_status(response: httpx2.Response) -> None:
    status, host = response.status_code, response.url.host
    if status in (200, 206, 416):
        return
    if status in (401, 403):
        raise DownloadDeniedError(
            f"{host} does not give it to everybody (status {status}).{_explanation(response)}"
        )
    if status in (404, 410, 451):
        raise DownloadMissingError(f"{host} has no such model, revision or file (status {status}).")
    if status in _TRANSIENT:
        raise TransientError(f"{host} answers with the status {status}.", _retry_after(response))
    raise DownloadError(f"{host} answers with the status {status}.")


def _explanation(response: httpx2.Response) -> str:
    """The sentence with which a source explains a refusal, where it sends one."""
    try:
        text = next(response.iter_raw(4096), b"")
        body = json.loads(text)
        message = body.get("message") or body.get("error") if isinstance(body, dict) else ""
    except (httpx2.HTTPError, ValueError, RecursionError):
        return ""
    words = " ".join(str(message or "").split())[:200]
    return f" It says: {words}" if words.isprintable() and words else ""


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds that a source asks to wait, given as a number or as a date."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):  # neither, or a date without a zone
        return None


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _reason(error: httpx2.HTTPError) -> str:
    """Why a connection failed, without the address."""
    if isinstance(error, httpx2.TimeoutException):
        return "nothing arrived in time"
    text = str(error).strip().rstrip(".")
    return text if text and "://" not in text else type(error).__name__
