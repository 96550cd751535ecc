from __future__ import annotations

import asyncio
import base64
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.server.conftest import huge_png

from safelight.errors import (
    ImageEncodingError,
    ImageNotRecognisedError,
    ImageTooManyBytesError,
    ImageTooManyPixelsError,
    ImageUrlError,
    SafelightError,
)
from safelight.server.core.executors.thread_pools import ThreadPools
from safelight.server.core.request_bodies.image_inputs import MAX_URLS, ImageInputs, decode_base64
from safelight.settings import Settings

SETTINGS = Settings(home=Path("/nowhere"))


def read_images(text: str, settings: Settings = SETTINGS) -> bytes:
    async def take() -> bytes:
        with closing(ThreadPools()) as threads:
            return await ImageInputs(settings, threads, asyncio.Semaphore(1)).read(text)

    return asyncio.run(take())


@pytest.fixture
def photograph(photographs: list[Path]) -> bytes:
    return photographs[0].read_bytes()


def test_base64_with_and_without_line_breaks(photograph: bytes) -> None:
    assert read_images(base64.b64encode(photograph).decode()) == photograph
    assert read_images(base64.encodebytes(photograph).decode()) == photograph


@pytest.mark.parametrize(
    "head", ["data:image/png;base64,", "data:;base64,", "DATA:image/jpeg;name=a;Base64,"]
)
def test_data_uris(photograph: bytes, head: str) -> None:
    assert read_images(head + base64.b64encode(photograph).decode()) == photograph


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
def test_text_that_is_no_image(text: str) -> None:
    with pytest.raises(SafelightError) as caught:
        read_images(text)
    assert isinstance(caught.value, ImageEncodingError | ImageNotRecognisedError)
    assert caught.value.http_status in (415, 422)


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    text = base64.b64encode(huge_png(60_000)).decode()
    tracemalloc.start()
    with pytest.raises(ImageTooManyPixelsError):
        read_images(text)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_base64_that_is_too_long_is_not_decoded() -> None:
    text = "A" * 40_000_000
    tracemalloc.start()
    with pytest.raises(ImageTooManyBytesError):
        decode_base64(text, 1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_the_limit_is_the_decoded_size() -> None:
    text = base64.b64encode(bytes(1000)).decode()
    assert len(decode_base64(text, 1000)) == 1000
    with pytest.raises(ImageTooManyBytesError):
        decode_base64(text, 999)


def test_urls_are_refused_unless_enabled() -> None:
    with pytest.raises(ImageUrlError, match="fetches no pictures"):
        read_images("http://127.0.0.1:9/picture.png")
    allowing = Settings(home=Path("/nowhere"), allow_image_urls=True)
    with pytest.raises(ImageUrlError, match="no public host"):
        read_images("HTTP://127.0.0.1:9/picture.png", allowing)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, photograph: bytes) -> dict[str, Any]:
    """Replaces the download of remote images; records the URLs and the largest number of concurrent downloads."""
    seen: dict[str, Any] = {"limits": [], "now": 0, "most": 0}

    async def fetch(_: str, max_bytes: int, *__: object) -> bytes:
        seen["limits"].append(max_bytes)
        seen["now"] += 1
        seen["most"] = max(seen["most"], seen["now"])
        await asyncio.sleep(0.01)
        seen["now"] -= 1
        return photograph

    monkeypatch.setattr("safelight.server.core.request_bodies.image_inputs.fetch_image", fetch)
    return seen


def test_the_urls_of_a_request_share_its_limit(elsewhere: dict[str, Any], photograph: bytes) -> None:
    settings = Settings(home=Path("/nowhere"), allow_image_urls=True, max_request_bytes=10**7)

    async def take() -> None:
        with closing(ThreadPools()) as threads:
            intake = ImageInputs(settings, threads, asyncio.Semaphore(1))
            for _ in range(MAX_URLS):
                await intake.read("https://example.org/a.jpg")
            with pytest.raises(ImageUrlError, match=f"name {MAX_URLS} pictures"):
                await intake.read("https://example.org/a.jpg")

    asyncio.run(take())
    assert elsewhere["limits"] == [10**7 - number * len(photograph) for number in range(MAX_URLS)]


def test_concurrent_downloads_are_limited(elsewhere: dict[str, Any]) -> None:
    settings = Settings(home=Path("/nowhere"), allow_image_urls=True)

    async def take() -> None:
        with closing(ThreadPools()) as threads:
            turns = asyncio.Semaphore(2)
            intakes = [ImageInputs(settings, threads, turns) for _ in range(10)]
            await asyncio.gather(*(intake.read("https://example.org/a.jpg") for intake in intakes))

    asyncio.run(take())
    assert elsewhere["most"] == 2
