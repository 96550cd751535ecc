"""One catalogue for each language, with every text that the page uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import safelight
from safelight.errors.fields import FieldError
from safelight.generation.progress import Stage
from safelight.moderation import PRESETS, Policy
from safelight.ui.paths import UiStaticFiles
from safelight.ui.texts import LANGUAGES, load_texts

FOLDER = UiStaticFiles().directory
PLACE = re.compile(r"\{(\w+)\}")
SERVERS_TEXT = "{message}"
"""The text of an error that is what the server says, in English."""
CATEGORIES = (".one", ".other", ".many")


def used_keys() -> set[str]:
    """Keys that scripts and page name in full."""
    assert FOLDER is not None
    sources = [*Path(FOLDER).rglob("*.js"), *Path(FOLDER).parent.glob("*.py")]
    text = "\n".join(path.read_text() for path in sources)
    return set(re.findall(r"""\b(?:t|says)\(\s*["']([a-z0-9_.]+)["']""", text))


def field_errors() -> list[type[FieldError]]:
    """The errors of a field's value, which a form shows at the field."""
    return [FieldError, *FieldError.__subclasses__()]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_error_of_a_field_has_a_text(language: str) -> None:
    texts = load_texts(language)
    missing = [kind.code for kind in field_errors() if f"error.{kind.code}" not in texts]
    assert not missing
    for kind in field_errors():
        for value in kind.keys.values():
            ways = [texts.get(f"error.{kind.code}.{value}", ""), texts[f"error.{kind.code}"]]
            assert any(f"{{{value}}}" in way for way in ways), f"{kind.code} does not say its {value}"


def test_every_stage_of_a_picture_has_a_text() -> None:
    texts = load_texts("en")
    assert {f"stage.{stage}" for stage in Stage} <= texts.keys()


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_language_has_the_same_keys(language: str) -> None:
    english, other = load_texts("en"), load_texts(language)
    assert set(english) == set(other)
    for key, text in english.items():
        if text != SERVERS_TEXT:
            assert set(PLACE.findall(text)) == set(PLACE.findall(other[key])), key
        assert other[key].strip(), key


def test_every_used_text_exists() -> None:
    there = {key.removesuffix(end) for key in load_texts("en") for end in ("", *CATEGORIES)}
    missing = used_keys() - there
    assert not missing
    assert len(used_keys()) > 100


def test_the_servers_sentences_are_what_it_says() -> None:
    sources = [path.read_text() for path in Path(safelight.__file__).parent.rglob("*.py")]
    policies = [Policy.load(name).description for name in PRESETS]
    said = "\n".join([*sources, *policies])
    sentences = {key: text for key, text in load_texts("en").items() if key.startswith("server.")}
    assert len(sentences) > 10
    wrong = [key for key, text in sentences.items() if PLACE.split(text)[-1] not in said]
    assert not wrong
