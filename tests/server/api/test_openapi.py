from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient


def test_the_documentation_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(parts) == 3
    for part in parts:
        assert part.startswith("/docs/")
        assert client.get(part).status_code == 200
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    assert "<script>" not in page.text
    assert '"/openapi.json"' in client.get("/docs/start.js").text


def test_the_document_has_the_security_schemes(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["components"]["securitySchemes"]) == {"bearer", "basic", "header", "cookie"}
    assert {} in document["security"]
    assert document["paths"]["/health/live"]["get"]["security"] == []
    assert document["paths"]["/v1/session"]["post"]["security"] == []
    assert "security" not in document["paths"]["/v1/session"]["get"]
    assert "security" not in document["paths"]["/v1/jobs"]["get"]


def test_every_operation_has_a_unique_id_and_its_familys_errors(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operations = [
        (path, operation)
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if isinstance(operation, dict)
    ]
    names = [operation["operationId"] for _, operation in operations]
    assert len(set(names)) == len(names)
    for path, operation in operations:
        assert operation.get("summary"), path
        assert "default" in operation["responses"], path
        assert "HTTPValidationError" not in str(operation), path


def test_the_document_is_rendered_once_and_has_an_etag(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.get("/openapi.json")
    monkeypatch.setattr(client.app, "openapi", None)
    assert first.headers["Cache-Control"] == "private, no-cache"
    again = client.get("/openapi.json")
    assert again.content == first.content
    assert again.headers["ETag"] == first.headers["ETag"]
    same = client.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert client.get("/openapi.json", headers={"If-None-Match": '"other"'}).status_code == 200
