from __future__ import annotations

import pytest

from safelight.errors import (
    BlockedError,
    BodyInvalidError,
    CheckpointMissingError,
    InternalError,
    KeyInvalidError,
    RateLimitError,
    RoleError,
    SafelightError,
    catalogue,
)
from safelight.server.families import ERROR_BODIES, Family, body_of, family_of, status_of


@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("/v1/images/generations", Family.OPENAI),
        ("/v1/moderations", Family.OPENAI),
        ("/v1/moderate", Family.OURS),
        ("/v1/models", Family.OURS),
        ("/sdapi/v1/txt2img", Family.A1111),
        ("/internal/ping", Family.A1111),
        ("/", Family.OURS),
    ],
)
def test_families_by_path(path: str, family: Family) -> None:
    assert family_of(path) is family


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("kind", catalogue())
def test_every_error_has_the_family_s_shape(kind: type[SafelightError], family: Family) -> None:
    body = body_of(kind("what"), family)
    ERROR_BODIES[family].model_validate(body)
    assert "what" in str(body)
    assert 400 <= status_of(kind(), family) < 600


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (KeyInvalidError(), 401, "authentication_error", "invalid_api_key"),
        (RoleError(), 403, "permission_error", "denied.role"),
        (RateLimitError(), 429, "rate_limit_error", "limit.rate"),
        (CheckpointMissingError(), 404, "invalid_request_error", "model_not_found"),
        (BlockedError(), 400, "invalid_request_error", "moderation_blocked"),
        (BodyInvalidError(), 400, "invalid_request_error", "request.invalid"),
        (InternalError(), 500, "server_error", "internal"),
    ],
)
def test_openai_s_words(error: SafelightError, status: int, kind: str, code: str) -> None:
    body = body_of(error, Family.OPENAI, "prompt")["error"]
    assert isinstance(body, dict)
    assert (status_of(error, Family.OPENAI), body["type"], body["code"], body["param"]) == (
        status,
        kind,
        code,
        "prompt",
    )
