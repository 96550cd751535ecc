"""HTTP connection to one server: requests, responses, and the server's errors as exceptions of this process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from safelight.client.models import Event, NativeErrorBody
from safelight.errors import SafelightError, ServerError, SettingsError, error_of
from safelight.validation import first_problem

ModelT = TypeVar("ModelT", bound=BaseModel)
FINAL_STATES = ("succeeded", "failed", "cancelled")
"""States that a job does not leave."""

STREAM_TIMEOUT = 60.0
"""Seconds without data after which an event stream counts as broken; the server sends a comment every 15."""
MAX_RETRIES, FIRST_DELAY, MAX_DELAY = 10, 0.2, 5.0
"""Maximum number of consecutive retries of a broken stream, and the first and longest delay in seconds."""
RETRY_STATUSES, MAX_RETRY_AFTER = (429, 503), 60.0
"""Statuses of temporary unavailability, and the longest delay in seconds that Retry-After may set."""


class Connection:
    """An HTTP connection to a server.

    Args:
        url: The server's address, as http://127.0.0.1:7860.
        key: An API key, where the server requires one.
        timeout: Seconds to wait for a response.
        transport: Another HTTP transport, for tests.

    Raises:
        SettingsError: The address is invalid.
    """

    def __init__(
        self, url: str, key: str | None, timeout: float, transport: httpx2.BaseTransport | None = None
    ) -> None:
        try:
            address = httpx2.URL(url)
        except httpx2.InvalidURL as error:
            raise SettingsError(f"{url!r} is no address of a server.") from error
        if address.scheme not in ("http", "https") or not address.host:
            raise SettingsError(f"{url!r} is no address of a server: give one as http://127.0.0.1:7860.")
        self.url = url.rstrip("/")
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout,
            transport=transport,
            trust_env=not _is_loopback(address.host),  # never through a proxy to this machine itself
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def get(self, path: str, model: type[ModelT], query: Mapping[str, Any] | None = None) -> ModelT:
        """Send a GET request."""
        return self.send("GET", path, model, params=_without_none(query or {}))

    def get_with_retry(self, path: str, model: type[ModelT]) -> ModelT:
        """Send a GET request, and retry it while the server is temporarily unavailable."""
        return self.send("GET", path, model, retry=True)

    def send(self, method: str, path: str, model: type[ModelT], **request: Any) -> ModelT:
        """Send a request and parse its response.

        Args:
            method: GET, POST …
            path: Absolute path, with a leading slash.
            model: The model of the response.
            request: Arguments of httpx2: json, params, headers, files, data.

        Raises:
            ServerError: The server cannot be reached, or its response does not fit the model.
            SafelightError: The server's error.
        """
        answer = self.request(method, path, **request)
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            message = first_problem(error).message
            raise ServerError(f"{self.url}{path} answers what cannot be understood: {message}.") from error

    def get_bytes(self, path: str, query: Mapping[str, Any] | None = None, accept: str = "*/*") -> bytes:
        """Get a file; raises the same errors as ``send``."""
        return self.request(
            "GET", path, params=_without_none(query or {}), headers={"Accept": accept}
        ).content

    def stream(self, method: str, path: str, **request: Any) -> Iterator[bytes]:
        """Send a request and yield its response in parts; raises the same errors as ``send``."""
        try:
            with self._http.stream(method, path, **request) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _parse_error(answer)
                yield from answer.iter_bytes()
        except httpx2.HTTPError as error:
            raise ServerError(f"{self.url} cannot be reached: {error or type(error).__name__}.") from error

    def request(self, method: str, path: str, *, retry: bool = False, **request: Any) -> httpx2.Response:
        """Send a request, with retries where ``retry``; raises the same errors as ``send``."""
        for tries in range(MAX_RETRIES + 1):
            try:
                answer = self._http.request(method, path, **request)
            except httpx2.HTTPError as error:
                raise ServerError(
                    f"{self.url} cannot be reached: {error or type(error).__name__}."
                ) from error
            if answer.is_success:
                return answer
            if not retry or answer.status_code not in RETRY_STATUSES or tries == MAX_RETRIES:
                break
            time.sleep(_retry_delay(tries, _retry_after(answer)))
        raise _parse_error(answer)

    def events(self, path: str, after: int) -> Iterator[Event]:
        """A job's events until its last; a broken stream is reopened after the last received event.

        Args:
            path: Path of the stream.
            after: Id of the last event that is known.

        Raises:
            ServerError: It broke too often without a new event.
            SafelightError: The server's error.
        """
        tries = 0
        while True:
            reason, seconds = "the stream ends before the job does", 0.0
            try:
                for event in self._stream(path, after):
                    if event.id <= after:
                        continue
                    after, tries = event.id, 0
                    yield event
                    if event.kind == "state" and event.data["state"] in FINAL_STATES:
                        return
            except _RetryLaterError as error:
                reason, seconds = str(error), error.seconds
            except httpx2.HTTPError as error:
                reason = str(error) or type(error).__name__
            tries += 1
            if tries > MAX_RETRIES:
                raise ServerError(f"{self.url} cannot be followed: {reason}.")
            time.sleep(_retry_delay(tries, seconds))

    def _stream(self, path: str, after: int) -> Iterator[Event]:
        limits = httpx2.Timeout(STREAM_TIMEOUT)
        with self._http.stream("GET", path, headers={"Last-Event-ID": str(after)}, timeout=limits) as answer:
            if not answer.is_success:
                answer.read()
                error = _parse_error(answer)
                if answer.status_code in RETRY_STATUSES:
                    raise _RetryLaterError(error.message, _retry_after(answer))
                raise error
            yield from _parse_events(answer.iter_lines(), path)


class _RetryLaterError(Exception):
    """The server is temporarily unavailable and says when to retry."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


def _retry_delay(attempt: int, retry_after: float) -> float:
    """Seconds until the next attempt: exponential backoff, and at least the server's Retry-After."""
    return max(min(MAX_DELAY, FIRST_DELAY * 2.0**attempt), min(MAX_RETRY_AFTER, retry_after))


def _retry_after(response: httpx2.Response) -> float:
    """The seconds of Retry-After; it may also be a date, which our server never sends."""
    given: str = response.headers.get("Retry-After", "")
    return float(given) if given.isascii() and given.isdigit() else 0.0


def _parse_events(lines: Iterable[str], path: str) -> Iterator[Event]:
    """Parse events of a stream (WHATWG, server-sent events); a truncated event is dropped."""
    data = ""
    for line in lines:
        if line.startswith("data:"):
            data += line[5:]
        elif not line and data:
            try:
                yield Event.model_validate_json(data)
            except ValidationError as error:
                raise ServerError(f"{path} sends an event that cannot be understood.") from error
            data = ""


def _parse_error(response: httpx2.Response) -> SafelightError:
    try:
        said = NativeErrorBody.model_validate_json(response.content).error
    except ValidationError:
        return ServerError(
            f"{response.url.host} answers with the status {response.status_code} and no reason."
        )
    return error_of(said.code, said.message, said.hint or "", said.field, said.context)


def _without_none(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
