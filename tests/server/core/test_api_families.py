from __future__ import annotations

import pytest

from safelight.errors import (
    BlockedError,
    BodyInvalidError,
    CheckpointMissingError,
    InternalError,
    KeyInvalidError,
    RateLimitError,
    RoleRequiredError,
    SafelightError,
    catalogue,
)
from safelight.server.core.api_families import API_FAMILIES, api_family_of


@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("/v1/images/generations", "openai"),
        ("/v1/moderations", "openai"),
        ("/v1/moderate", "native"),
        ("/v1/models", "native"),
        ("/sdapi/v1/txt2img", "a1111"),
        ("/internal/ping", "a1111"),
        ("/", "native"),
    ],
)
def test_families_by_path(path: str, family: str) -> None:
    assert api_family_of(path) is API_FAMILIES[family]


@pytest.mark.parametrize("name", API_FAMILIES)
@pytest.mark.parametrize("kind", catalogue())
def test_every_error_has_the_shape_of_its_api_family(kind: type[SafelightError], name: str) -> None:
    family = API_FAMILIES[name]
    body = family.error_body(kind("what"))
    family.error_model.model_validate(body)
    assert "what" in str(body)
    assert 400 <= family.http_status(kind()) < 600


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (KeyInvalidError(), 401, "authentication_error", "invalid_api_key"),
        (RoleRequiredError(), 403, "permission_error", "denied.role"),
        (RateLimitError(), 429, "rate_limit_error", "limit.rate"),
        (CheckpointMissingError(), 404, "invalid_request_error", "model_not_found"),
        (BlockedError(), 400, "invalid_request_error", "moderation_blocked"),
        (BodyInvalidError(), 400, "invalid_request_error", "request.invalid"),
        (InternalError(), 500, "server_error", "internal"),
    ],
)
def test_error_types_of_openai(error: SafelightError, status: int, kind: str, code: str) -> None:
    family = API_FAMILIES["openai"]
    body = family.error_body(error, "prompt")["error"]
    assert isinstance(body, dict)
    assert (family.http_status(error), body["type"], body["code"], body["param"]) == (
        status,
        kind,
        code,
        "prompt",
    )
