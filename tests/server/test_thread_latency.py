"""Large bodies are parsed without blocking other threads."""

from __future__ import annotations

import base64
import os

import pytest
from tests.thread_latency import assert_short_stalls

from safelight.server.core.request_bodies.image_inputs import decode_base64
from safelight.server.core.request_bodies.json_limits import json_error
from safelight.server.core.request_bodies.large_json import loads


def test_a_large_base64_image():
    text = base64.b64encode(os.urandom(1 << 20) * 48).decode()
    lines = "\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    assert decode_base64(lines, 1 << 28) == base64.b64decode(text)
    assert_short_stalls(lambda: decode_base64(text, 1 << 28))
    assert_short_stalls(lambda: decode_base64(lines, 1 << 28))


@pytest.fixture(scope="module", params=["", "\\n", "\\/"])
def text(request: pytest.FixtureRequest) -> str:
    """A string of 63 MB in JSON, with an escape in each line of it."""
    text = base64.b64encode(os.urandom(1 << 20) * 45).decode()
    if request.param:
        text = request.param.join(text[at : at + 64] for at in range(0, len(text), 64))
    return text


@pytest.mark.parametrize(
    "begin", ['{"image": "', '{"é": 1, "image": "', '{"a": [' + "{}," * 99 + '{}], "image": "']
)
def test_the_limits_of_large_json(begin, text):
    body = f'{begin}{text}"}}'.encode()
    errors = []
    assert_short_stalls(lambda: errors.append(json_error(body)))
    assert_short_stalls(lambda: loads(body))
    assert errors
    assert set(errors) == {None}
