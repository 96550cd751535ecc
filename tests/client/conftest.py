"""The client with an application within this process."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from starlette.testclient import TestClient
from tests.server.api.conftest import JobDriver, bench  # noqa: F401
from tests.server.conftest import client, open_service, prepared, server_home, service  # noqa: F401

from safelight.client import Client

URL = "http://127.0.0.1:7860"


class InProcessTransport(httpx2.BaseTransport):
    """A transport that passes requests to an application instead of the network."""

    def __init__(self, application: TestClient) -> None:
        self._application = application

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = self._application.request(
            request.method, str(request.url), content=request.read(), headers=list(request.headers.items())
        )
        return httpx2.Response(
            answer.status_code, headers=list(answer.headers.items()), content=answer.content
        )


@pytest.fixture
def safelight(client: TestClient) -> Iterator[Client]:  # noqa: F811
    with Client(URL, transport=InProcessTransport(client)) as found:
        yield found
