from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from safelight.audit import AuditLog
from safelight.database import migrate
from safelight.gallery import Gallery, NewEntry
from safelight.gallery import tables as gallery_tables
from safelight.jobs.work import Desk
from safelight.moderation.policy import Decision
from safelight.settings import Settings
from safelight.studio import Studio


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


def test_blocked_pictures_are_in_the_audit_log(database: Engine, tmp_path: Path) -> None:
    migrate(database, [gallery_tables.SCHEMA])
    log = AuditLog(tmp_path)
    desk = Desk(Studio(Settings(home=tmp_path)), Gallery(database, tmp_path), log)
    blocked = desk.enter(entry(0, Decision.BLOCK))
    (line,) = [json.loads(text) for text in log.path.read_text().splitlines()]
    assert (line["event"], line["owner"], line["job_id"], line["entry_id"]) == (
        "picture.blocked",
        "anna",
        "j",
        blocked.id,
    )
