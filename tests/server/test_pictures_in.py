from __future__ import annotations

import asyncio
import base64
import tracemalloc
from pathlib import Path

import pytest
from tests.server.conftest import huge_png

from safelight.errors import (
    ImageNotRecognisedError,
    ImageTooManyBytesError,
    ImageTooManyPixelsError,
    PictureTextError,
    PictureUrlError,
    SafelightError,
)
from safelight.server.pictures_in import from_base64, picture_bytes
from safelight.settings import Settings

SETTINGS = Settings(home=Path("/nowhere"))


def taken(text: str, settings: Settings = SETTINGS) -> bytes:
    return asyncio.run(picture_bytes(text, settings))


@pytest.fixture
def photograph(photographs: list[Path]) -> bytes:
    return photographs[0].read_bytes()


def test_base64_as_it_is_and_in_lines(photograph: bytes) -> None:
    assert taken(base64.b64encode(photograph).decode()) == photograph
    assert taken(base64.encodebytes(photograph).decode()) == photograph


@pytest.mark.parametrize(
    "head", ["data:image/png;base64,", "data:;base64,", "DATA:image/jpeg;name=a;Base64,"]
)
def test_data_uris(photograph: bytes, head: str) -> None:
    assert taken(head + base64.b64encode(photograph).decode()) == photograph


@pytest.mark.parametrize(
    "text",
    [
        "",
        "====",
        "not base64!",
        "abc",
        "YWJj=",
        "YWJjZA==YWJjZA==",
        "data:image/png,abc",
        "data:image/png;base64",
        "data:" + ";" * 5000,
        "ä" * 8,
        "/etc/passwd",
        "file:///etc/passwd",
    ],
)
def test_text_that_is_no_picture(text: str) -> None:
    with pytest.raises(SafelightError) as caught:
        taken(text)
    assert isinstance(caught.value, PictureTextError | ImageNotRecognisedError)
    assert caught.value.http_status in (415, 422)


def test_a_bomb_is_known_by_its_header() -> None:
    text = base64.b64encode(huge_png(60_000)).decode()
    tracemalloc.start()
    with pytest.raises(ImageTooManyPixelsError):
        taken(text)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_too_long_is_not_even_decoded() -> None:
    text = "A" * 40_000_000
    tracemalloc.start()
    with pytest.raises(ImageTooManyBytesError):
        from_base64(text, 1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_the_limit_is_the_decoded_size() -> None:
    text = base64.b64encode(bytes(1000)).decode()
    assert len(from_base64(text, 1000)) == 1000
    with pytest.raises(ImageTooManyBytesError):
        from_base64(text, 999)


def test_addresses_are_off_unless_asked_for() -> None:
    with pytest.raises(PictureUrlError, match="fetches no pictures"):
        taken("http://127.0.0.1:9/picture.png")
    allowing = Settings(home=Path("/nowhere"), allow_image_urls=True)
    with pytest.raises(PictureUrlError, match="no public host"):
        taken("HTTP://127.0.0.1:9/picture.png", allowing)
