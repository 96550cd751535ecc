"""Fairness between owners, through the whole application."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.server.conftest import app_client

from safelight.errors import UnsupportedFieldError
from safelight.jobs.queue_service import QueueService
from safelight.moderation.moderator import Moderator
from safelight.server.api.a1111.init_image import PreparedImages
from safelight.server.api.a1111.routes import generate
from safelight.server.api.native import prompts
from safelight.server.app import create_app
from safelight.server.core.executors import image_executor
from safelight.server.security.keys import KeyStore

Asks = Callable[..., Any]


def png(side: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def asks(service: QueueService) -> Iterator[Callable[[str], Asks]]:
    """Send requests as anna or as berta."""
    keys = {name: KeyStore(service.engine).add(name) for name in ("anna", "berta")}
    with app_client(create_app(service, service.settings)) as client:

        def of(name: str) -> Asks:
            given = {"Authorization": f"Bearer {keys[name]}"}
            return lambda path, headers=given, **body: client.post(path, headers=given | headers, **body)

        yield of


@contextmanager
def send_many(
    count: int, ask: Callable[[], Any], begun: threading.Event, over: threading.Event
) -> Iterator[None]:
    """Keep so many requests going at once until the block ends."""
    with ThreadPoolExecutor(count) as pool:
        many = [pool.submit(ask) for _ in range(count)]
        try:
            assert begun.wait(20)
            yield
        finally:
            over.set()
    assert {each.result().status_code for each in many} <= {200, 429}


def test_a_verdict_comes_while_another_owner_has_many_pictures_judged(
    asks: Callable[[str], Asks], photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, mine = png(64), photographs[1].read_bytes()
    begun, over, waited = threading.Event(), threading.Event(), []
    really = Moderator.judge_reduced

    def judge(moderator: Moderator, source: Any) -> Any:
        if source == theirs:
            begun.set()
            waited.append(over.wait(10))
        return really(moderator, source)

    monkeypatch.setattr(Moderator, "judge_reduced", judge)
    many = {"images": [base64.b64encode(theirs).decode()] * 40}
    with send_many(4, lambda: asks("anna")("/v1/moderate", json=many), begun, over):
        answer = asks("berta")("/v1/moderate", content=mine, headers={"Content-Type": "image/jpeg"})
        assert answer.status_code == 200
        assert not waited  # none of the other owner's has ended


def test_a_prompt_is_explained_while_another_owner_has_long_ones(
    asks: Callable[[str], Asks], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, over, waited = threading.Event(), threading.Event(), []
    really = prompts._explain

    def explained(body: Any, *given: Any) -> Any:
        if body.prompt == "long":
            begun.set()
            waited.append(over.wait(10))
        return really(body, *given)

    monkeypatch.setattr(prompts, "_explain", explained)
    with send_many(4, lambda: asks("anna")("/v1/prompts/explain", json={"prompt": "long"}), begun, over):
        assert asks("berta")("/v1/prompts/explain", json={"prompt": "short"}).status_code == 200
        assert not waited  # none of the other owner's has ended


def test_initial_pictures_are_prepared_by_few_threads(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen at once took thirteen gigabytes, when asyncio's default executor did it."""
    monkeypatch.setattr(image_executor, "SMALL_PIXELS", 0)
    now, most, lock = 0, 0, threading.Lock()

    def start(init: bytes, *_: Any, **__: Any) -> PreparedImages:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        raise UnsupportedFieldError("enough", field="mask")

    monkeypatch.setattr(generate, "prepare_images", start)
    body = {"prompt": "a", "init_images": [base64.b64encode(png(64)).decode()], "width": 128, "height": 128}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/sdapi/v1/img2img", json=body), range(8)))
    assert {answer.status_code for answer in answers} == {422}
    assert most <= 3
