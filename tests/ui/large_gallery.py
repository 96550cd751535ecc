"""A server with a large gallery, and what the tests of the gallery's page have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Locator, Page, expect
from tests.gallery.conftest import make_image_file, make_record, new_entry
from tests.server.serve_process import ServeProcess, run_serve
from tests.ui.conftest import open_page

from safelight.database import migrate, open_database, write_transaction
from safelight.gallery import SCHEMA
from safelight.gallery.entry_ids import make_entry_id, make_entry_key
from safelight.gallery.mapping import insert_entry
from safelight.moderation.policy import Decision
from safelight.settings import Settings

MANY = 1200
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@contextmanager
def run_large_gallery(home: Path) -> Iterator[ServeProcess]:
    """A server with a gallery: "number 0" is the oldest, and the last three are for review, blocked, and missing."""
    settings = Settings(home=home)
    engine = open_database(settings)
    migrate(engine, [SCHEMA])
    data = make_image_file(make_record("a boat"))
    special = {MANY - 3: Decision.REVIEW, MANY - 2: Decision.BLOCK}
    with write_transaction(engine) as connection:  # one for all: a tenth of the time of Gallery.add for each
        for number in range(MANY):
            decision = special.get(number, Decision.ALLOW)
            new = new_entry(
                number,
                f"number {number} {'lighthouse' if number % 100 == 0 else 'boat'}",
                owner=None,
                created=NOON + timedelta(minutes=number),
                decision=decision,
                sampler="Heun" if number % 3 == 0 else "Euler a",
                data=None if decision is Decision.BLOCK else data,
            )
            key = make_entry_key(str(new.job_id), new.index)
            entry = insert_entry(connection, make_entry_id(new.created, key), new)
            assert entry is not None
            if entry.path is not None and number < MANY - 1:
                file = home / "gallery" / entry.path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
    engine.dispose()
    with run_serve(home, command="api", SAFELIGHT_WEB_UI="true") as running:
        running.request("GET", "/studio/")
        yield running


def open_gallery(page: Page, url: str) -> Locator:
    """The gallery tab, with its first images."""
    open_page(page, url)
    page.get_by_role("tab", name="Gallery").click()
    shown = page.locator("#sl-gallery")
    expect(shown.locator(".sl-tile img").first).to_be_visible()
    return shown


def tile(gallery: Locator, number: int) -> Locator:
    """The tile of a picture by its number."""
    return gallery.get_by_role("gridcell", name=re.compile(rf"^number {number} "))


def expect_count(gallery: Locator, words: str) -> None:
    """Wait until the gallery says how many pictures there are."""
    expect(gallery.locator(".sl-gallery-number")).to_have_text(words)
