from __future__ import annotations

import json
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine
from tests.jobs.book import begun, submission

from safelight.audit import AuditLog
from safelight.database import migrate
from safelight.errors import DatabaseBusyError
from safelight.gallery import Entry, Gallery, NewEntry
from safelight.gallery import tables as gallery_tables
from safelight.jobs import patience
from safelight.jobs.job import JobKind, Signal
from safelight.jobs.ledger import Ledger
from safelight.jobs.requests import UpscaleRequest
from safelight.jobs.running import Running
from safelight.jobs.work import Desk, upscale
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
