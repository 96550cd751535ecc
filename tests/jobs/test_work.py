from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine
from tests.jobs.book import begun, submission
from tests.jobs.running import wait_for

from safelight.audit import AuditLog
from safelight.database import migrate
from safelight.errors import DatabaseBusyError
from safelight.gallery import Entry, Gallery, NewEntry
from safelight.gallery import tables as gallery_tables
from safelight.generation.request import GenerationRequest
from safelight.jobs import patience
from safelight.jobs.job import PAUSED, JobKind, Progress, Signal
from safelight.jobs.ledger import Ledger
from safelight.jobs.requests import ScanRequest, UpscaleRequest
from safelight.jobs.running import Running
from safelight.jobs.work import Desk, generate, scan, upscale
from safelight.moderation.policy import Decision
from safelight.settings import Settings
from safelight.studio import Studio
from safelight.studio.enlarging import Enlarged


@pytest.fixture
def desk(database: Engine, tmp_path: Path) -> Desk:
    migrate(database, [gallery_tables.SCHEMA])
    settings = Settings(home=tmp_path, backend="onnxruntime", precision="fp32")
    return Desk(Studio(settings), Gallery(database, tmp_path), AuditLog(tmp_path))


def entry(index: int, decision: Decision) -> NewEntry:
    return NewEntry(
        job_id="j",
        index=index,
        owner="anna",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        data=None,
        width=8,
        height=8,
        decision=decision,
        unsafe=1.0,
        scores={"nsfw": 1.0},
        policy="strict",
    )


def test_blocked_pictures_are_in_the_audit_log(desk: Desk) -> None:
    blocked = desk.enter(entry(0, Decision.BLOCK))
    (line,) = [json.loads(text) for text in desk.audit.path.read_text().splitlines()]
    assert (line["event"], line["owner"], line["job_id"], line["entry_id"]) == (
        "picture.blocked",
        "anna",
        "j",
        blocked.id,
    )


@pytest.fixture
def running(ledger: Ledger) -> Running:
    ledger.submit(submission(kind=JobKind.UPSCALE))
    return Running(begun(ledger), ledger)


@pytest.fixture
def picture() -> UpscaleRequest:
    buffer = BytesIO()
    Image.new("RGB", (32, 32), "green").save(buffer, "PNG")
    return UpscaleRequest(image=buffer.getvalue())


def made(desk: Desk, running: Running) -> bool:
    return desk.gallery.find(running.job.id, 0) is not None


def test_enlarging(desk: Desk, running: Running, picture: UpscaleRequest) -> None:
    assert upscale(desk, running, picture)["pictures"]
    assert made(desk, running)
    assert not running.cut_short
    assert not running.partial
    assert upscale(desk, running, picture)["pictures"]
    assert running.partial  # it was there


def test_its_embedding_is_kept_with_the_classifier_that_made_it(
    desk: Desk, running: Running, picture: UpscaleRequest
) -> None:
    upscale(desk, running, picture)
    classifier = desk.studio.moderator().classifier.info
    (stored,) = desk.gallery.embeddings(classifier.digest)
    assert stored.embedding.classifier == classifier.name
    assert stored.embedding.vector.shape == (classifier.embedding_dim,)
    assert desk.gallery.find(running.job.id, 0) == desk.gallery.get(stored.entry_id)


@pytest.mark.parametrize("how", ["told", "leaving", "late"])
def test_enlarging_stops(desk: Desk, ledger: Ledger, picture: UpscaleRequest, how: str) -> None:
    ledger.submit(submission(kind=JobKind.UPSCALE, timeout=1e-9))
    running = Running(begun(ledger), ledger)
    if how == "told":
        running.hear(Signal.CANCEL, 0)
    running.leaving = how == "leaving"
    assert upscale(desk, running, picture) == {"pictures": []}
    assert running.cut_short
    assert not made(desk, running)


def paused(ledger: Ledger, job_id: str) -> bool:
    progress = ledger.get(job_id).progress
    return progress is not None and progress.stage == PAUSED


def test_enlarging_pauses_between_two_tiles(
    desk: Desk, ledger: Ledger, running: Running, picture: UpscaleRequest
) -> None:
    running.paused = True
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(upscale, desk, running, picture)
        wait_for(lambda: paused(ledger, running.job.id))
        assert not made(desk, running)
        running.paused = False
        assert working.result(60)["pictures"]


def test_judging_pauses_between_two_pictures(desk: Desk, ledger: Ledger, picture: UpscaleRequest) -> None:
    ledger.submit(submission(kind=JobKind.SCAN))
    running = Running(begun(ledger), ledger, paused=True)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(scan, desk, running, ScanRequest(images=(picture.image,) * 3))
        wait_for(lambda: paused(ledger, running.job.id))
        assert not working.done()
        running.paused = False
        verdicts = working.result(60)["verdicts"]
    assert isinstance(verdicts, list)
    assert len(verdicts) == 3


def test_drawing_pauses_between_two_pictures(
    desk: Desk, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is begun meanwhile, and who is told to stop begins nothing any more."""
    drawn: list[int] = []

    def draw(_desk: Desk, running: Running, _request: object, index: int) -> None:
        drawn.append(index)
        running.report(Progress(stage="first pass"))
        running.paused = True

    monkeypatch.setattr("safelight.jobs.work._draw", draw)
    ledger.submit(submission())
    running = Running(begun(ledger), ledger)
    with ThreadPoolExecutor(1) as pool:
        request = GenerationRequest(prompt="x", seed=1, count=3)
        working = pool.submit(generate, desk, running, request)
        for number in (1, 2):
            wait_for(lambda: paused(ledger, running.job.id))
            assert len(drawn) == number
            if number == 1:
                ledger.report(running.job, Progress(stage="gone on"))
                running.paused = False
        running.hear(Signal.CANCEL, 0)
        assert working.result(60) == {"pictures": []}
    assert drawn == [0, 1]
    assert running.cut_short


def test_enlarging_that_was_cancelled_at_its_end_leaves_nothing(
    desk: Desk, running: Running, picture: UpscaleRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Studio.upscale

    def told_meanwhile(*args: Any, **options: Any) -> Enlarged:
        enlarged = whole(*args, **options)
        running.hear(Signal.CANCEL, 0)
        return enlarged

    monkeypatch.setattr(Studio, "upscale", told_meanwhile)
    assert upscale(desk, running, picture) == {"pictures": []}
    assert running.cut_short
    assert not made(desk, running)


def test_a_finished_picture_waits_for_the_database(
    desk: Desk, running: Running, picture: UpscaleRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RETRY_EVERY", 0.0)
    whole, failures = Gallery.add, [DatabaseBusyError(), DatabaseBusyError()]

    def add(gallery: Gallery, new: NewEntry) -> Entry:
        if failures:
            raise failures.pop()
        return whole(gallery, new)

    monkeypatch.setattr(Gallery, "add", add)
    assert upscale(desk, running, picture)["pictures"]
    assert not failures
