from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.server.core.request_bodies import json_limits
from safelight.server.core.request_bodies.json_limits import MAX_DEPTH, json_error

JSON = st.recursive(
    st.none() | st.text('[]{}"\\,a', max_size=8),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('[{"\\'), inner),
    max_leaves=60,
)


def depth_of(value: object) -> int:
    if not isinstance(value, list | dict):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max((depth_of(part) for part in inner), default=0)


@given(JSON, st.integers(1, 6))
def test_depth_is_computed_exactly(value: object, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_limits, "MAX_DEPTH", limit)
        complaint = json_error(json.dumps(value).encode())
    assert (complaint is not None) == (depth_of(value) > limit)


def test_brackets_in_strings_add_no_depth() -> None:
    prompt = json.dumps({"prompt": "((" + "[" * 500 + '\\"{' * 500}).encode()
    assert json_error(prompt) is None
    assert json_error(b'"' + b"\\" * 100_001) is None
    assert json_error(b"[" * MAX_DEPTH) is None


def test_many_megabytes_are_checked_quickly() -> None:
    data = b'{"a":[' + b'["' + b"A" * 60_000_000 + b'"]' + b",[]" * 100 + b"]}"
    began = time.process_time()
    assert json_error(data) is None
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":' + b"[]" * 1_000_000 + b"}",
        b'{"a":' + b"]" * 2_000_000,
        b"{}" * 1_000_000,
        b'""' * 1_000_000,
        b'"' + b"\\/" * 10_000_000 + b'"',
        b'"' + b"\\ud83d\\ude00" * 1_000_000 + b'"',
    ],
    ids=["lists", "ends", "objects", "strings", "escapes", "pairs"],
)
def test_too_many_values_are_refused(data: bytes) -> None:
    began = time.process_time()
    assert json_error(data) is not None
    assert time.process_time() - began < 0.2


TEXTS = st.text(st.sampled_from('a"\\ud8c0\ud83d\ude00\U0001f600é/'), max_size=12)


@given(TEXTS, st.booleans())
def test_unpaired_surrogates_are_found(text: str, ascii_only: bool) -> None:
    """In escapes and in bytes; pairs are characters, and an escaped backslash starts no escape."""
    data = json.dumps({text: [text]}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    read = json.loads(data)
    lone = any("\ud800" <= sign <= "\udfff" for part in read for sign in part)
    assert (json_error(data) is not None) == lone


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_only_utf_8_is_accepted(encoding: str) -> None:
    """Python's parser accepts other encodings too, in which brackets cannot be counted."""
    assert json_error('{"a": "é"}'.encode(encoding)) is not None
