from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from safelight.jobs.job import JobKind, Progress, Submission
from safelight.jobs.queue_service import QueueService
from safelight.server.core.app_state import AppState
from safelight.server.core.events.previews import load_preview
from safelight.server.core.executors.thread_pools import ThreadPools
from safelight.server.core.moderation_service import ModerationService
from safelight.studio import Studio

BLOCKING = 'name = "all"\nversion = "1"\nsafe = ["sfw"]\n[unsafe.nsfw]\nreview = 0.0\nblock = 0.0\n'


def webp() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "WEBP")
    return out.getvalue()


def read_preview(service: QueueService, data: bytes | None) -> bytes | None:
    """The preview of a job that clients get."""
    store = service.store
    store.submit(Submission(kind=JobKind.GENERATE, request={"prompt": "x", "seed": 1}))
    running = store.claim("worker")
    assert running is not None
    store.report(running, Progress(stage="first pass", fraction=0.5), data)
    studio = Studio(service.settings)
    behind = AppState(service, None, studio, None, None, None, ThreadPools(), *[None] * 9)  # type: ignore[arg-type]
    judge = ModerationService(lambda: studio, lambda: behind.threads)
    try:
        return asyncio.run(load_preview(behind, judge, running.id))
    finally:
        judge.close()


def test_a_preview_is_a_png(service: QueueService) -> None:
    data = read_preview(service, webp())
    assert data is not None
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.size) == ("PNG", (64, 64))


@pytest.mark.parametrize("data", [None, b"damaged"])
def test_a_job_without_a_preview(service: QueueService, data: bytes | None) -> None:
    assert read_preview(service, data) is None


def test_previews_pass_the_policy(open_service: Callable[..., QueueService], tmp_path: Path) -> None:
    (tmp_path / "all.toml").write_text(BLOCKING)
    assert read_preview(open_service(policy=str(tmp_path / "all.toml")), webp()) is None
