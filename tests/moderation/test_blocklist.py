from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import BlocklistError
from safelight.moderation.blocklist import Blocklist, normalize_text


def read(folder: Path, text: str) -> Blocklist:
    path = folder / "words.txt"
    path.write_text(text, encoding="utf-8")
    return Blocklist.load(path)


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("a lemon", True),
        ("LEMON!", True),
        ("(lemon)", True),
        ("lemonade", False),
        ("under_lemon", False),
        ("\uff2c\uff25\uff2d\uff2f\uff2e", True),  # full width
        ("two  green\napples", True),
        ("two green pears, apples", False),
        ("a STRASSE", True),
        ("c++ is", True),
        ("c is", False),
        ("\u0301lemon", True),
        ("# lemons", False),
        ("", False),
    ],
)
def test_whole_words_in_any_case_and_normal_form(tmp_path: Path, text: str, hit: bool) -> None:
    words = read(tmp_path, "\ufeff# a comment\n\n  Lemon \nGREEN   apples\nstraße\nc++\n")
    assert words.judge([text]).hit is hit
    assert words.judge(["nothing", text, ""]).hit is hit


def test_a_verdict_names_the_list(tmp_path: Path) -> None:
    words = read(tmp_path, "lemon")
    digest = hashlib.sha256(b"lemon").hexdigest()
    assert words.judge(["x"]).to_dict() == {"list": "words.txt", "digest": digest, "hit": False}


@given(st.text())
def test_normalising_is_idempotent(text: str) -> None:
    assert normalize_text(normalize_text(text)) == normalize_text(text)


@pytest.mark.parametrize("data", [b"", b"# only a comment\n\n", b"\xff\xfe", None])
def test_invalid_lists(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "words.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(BlocklistError, match=r"words\.txt"):
        Blocklist.load(path)


@given(
    phrases=st.lists(st.text("ab c+#\u0301", min_size=1, max_size=6), min_size=1, max_size=5),
    text=st.text("ab c+#_\u0301", max_size=30),
)
def test_it_equals_a_pattern_of_all_phrases(
    phrases: list[str], text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = [line for phrase in phrases if (line := normalize_text(phrase)) and not line.startswith("#")]
    if not lines:
        return
    words = read(tmp_path_factory.getbasetemp(), "\n".join(lines))
    pattern = "|".join(map(re.escape, lines))
    expected = re.search(rf"(?<!\w)(?:{pattern})(?!\w)", normalize_text(text)) is not None
    assert words.judge([text]).hit is expected
