"""Large JSON is parsed to the same value as by Python's own parser."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.server.core.request_bodies import large_json
from safelight.server.core.request_bodies.large_json import loads

JSON = st.recursive(
    st.none() | st.integers() | st.text('"\\/\n\u00e9{}[],:a1 ', max_size=30),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('"\\a', max_size=20), inner),
    max_leaves=30,
)


@given(JSON, st.booleans(), st.integers(0, 3))
def test_it_equals_pythons_parser(value: object, plain: bool, damage: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_json, "LARGE", 0)
        patch.setattr(large_json, "_LONG", 3)
        patch.setattr(large_json, "_PIECE", 4)
        data = json.dumps(value, ensure_ascii=plain).encode()
        data = data[: len(data) - damage]
        assert outcome(loads, data) == outcome(json.loads, data)


def outcome(parse: Callable[[bytes], object], data: bytes) -> object:
    try:
        return parse(data)
    except json.JSONDecodeError:
        return "wrong"


def test_long_keys_are_kept_and_errors_are_located():
    text = base64.b64encode(os.urandom(1 << 20)).decode()
    lines = "\\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    body = f'{{"{text}": "{lines}", "b": ["{text}", 1]}}'.encode()
    assert loads(body) == json.loads(body)
    for wrong in (
        body.replace(b"1]", b"1,]"),
        body.replace(b": ", b"; "),
        b'["' + b"a" * (1 << 20) + b'\n"]',
    ):
        with pytest.raises(json.JSONDecodeError):
            loads(wrong)
    with pytest.raises(json.JSONDecodeError) as raised:
        loads(body.replace(b"1]", b"x]"))
    assert raised.value.pos == body.index(b"1]")
