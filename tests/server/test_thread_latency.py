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


@pytest.mark.parametrize(
    "begin", ['{"image": "', '{"é": 1, "image": "', '{"a": [' + "{}," * 99 + '{}], "image": "']
)
@pytest.mark.parametrize("line", ["", "\\n", "\\/"])
def test_the_limits_of_large_json(begin, line):
    text = base64.b64encode(os.urandom(1 << 20) * 45).decode()
    if line:
        text = line.join(text[at : at + 64] for at in range(0, len(text), 64))
    body = f'{begin}{text}"}}'.encode()
    assert json_error(body) is None
    assert_short_stalls(lambda: json_error(body))
    assert_short_stalls(lambda: loads(body))
