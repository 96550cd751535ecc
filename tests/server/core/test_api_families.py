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
from safelight.server.core.api_families import ERROR_BODIES, ApiFamily, api_family_of, error_body, http_status


@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("/v1/images/generations", ApiFamily.OPENAI),
        ("/v1/moderations", ApiFamily.OPENAI),
        ("/v1/moderate", ApiFamily.NATIVE),
        ("/v1/models", ApiFamily.NATIVE),
        ("/sdapi/v1/txt2img", ApiFamily.A1111),
        ("/internal/ping", ApiFamily.A1111),
        ("/", ApiFamily.NATIVE),
    ],
)
def test_families_by_path(path: str, family: ApiFamily) -> None:
    assert api_family_of(path) is family


@pytest.mark.parametrize("family", ApiFamily)
@pytest.mark.parametrize("kind", catalogue())
def test_every_error_has_the_shape_of_its_api_family(kind: type[SafelightError], family: ApiFamily) -> None:
    body = error_body(kind("what"), family)
    ERROR_BODIES[family].model_validate(body)
    assert "what" in str(body)
    assert 400 <= http_status(kind(), family) < 600


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
    body = error_body(error, ApiFamily.OPENAI, "prompt")["error"]
    assert isinstance(body, dict)
    assert (http_status(error, ApiFamily.OPENAI), body["type"], body["code"], body["param"]) == (
        status,
        kind,
        code,
        "prompt",
    )
