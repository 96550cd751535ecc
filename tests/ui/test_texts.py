"""One catalogue for each language, with every text that the page uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from safelight.ui.paths import UiStaticFiles
from safelight.ui.texts import LANGUAGES, load_texts

FOLDER = UiStaticFiles().directory
PLACE = re.compile(r"\{(\w+)\}")
CATEGORIES = (".one", ".other", ".many")


def used_keys() -> set[str]:
    """Keys that scripts and page name in full."""
    assert FOLDER is not None
    sources = [*Path(FOLDER).rglob("*.js"), *Path(FOLDER).parent.glob("*.py")]
    text = "\n".join(path.read_text() for path in sources)
    return set(re.findall(r"""\b(?:t|says)\(\s*["']([a-z0-9_.]+)["']""", text))


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_language_has_the_same_keys(language: str) -> None:
    english, other = load_texts("en"), load_texts(language)
    assert set(english) == set(other)
    for key, text in english.items():
        assert set(PLACE.findall(text)) == set(PLACE.findall(other[key])), key
        assert other[key].strip(), key


def test_every_used_text_exists() -> None:
    there = {key.removesuffix(end) for key in load_texts("en") for end in ("", *CATEGORIES)}
    missing = used_keys() - there
    assert not missing
    assert len(used_keys()) > 100
