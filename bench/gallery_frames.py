"""Scroll through a gallery of 10,000 pictures in a headless Chromium, and measure its frames in milliseconds.

A frame of 16.7 ms is one of 60 a second. The page scrolls at three speeds, in visible heights per second, without and
with all pictures selected; "scripts" is the time per frame that the page's scripts and layout take, which does not
depend on how fast the machine paints. The pictures are thumbnails of a few colours.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import httpx2
from PIL import Image
from playwright.sync_api import CDPSession, Page, sync_playwright

from safelight.database import migrate, open_database, write_transaction
from safelight.gallery import SCHEMA, NewEntry
from safelight.gallery.entry_ids import make_entry_id, make_entry_key
from safelight.gallery.mapping import insert_entry
from safelight.moderation.policy import Decision
from safelight.settings import Settings

SPEEDS = (1, 5, 40)
SECONDS = 4
COLOURS = 24
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
SCROLL = """
([speed, seconds]) => new Promise((resolve) => {
  const grid = document.querySelector(".sl-grid"), frames = [], started = performance.now();
  grid.scrollTop = 0;
  let last = started;
  requestAnimationFrame(function step(now) {
    frames.push(now - last);
    last = now;
    grid.scrollTop = ((now - started) / 1000) * speed * grid.clientHeight;
    if (now - started < seconds * 1000) requestAnimationFrame(step);
    else resolve(frames.slice(2));
  });
})
"""


def fill(home: Path, amount: int) -> None:
    """Fill the gallery of a home folder."""
    settings = Settings(home=home)
    engine = open_database(settings)
    migrate(engine, [SCHEMA])
    files = []
    for number in range(COLOURS):
        buffer = BytesIO()
        Image.new("HSV", (64, 64), (number * 10, 120, 220)).convert("RGB").save(buffer, "png")
        files.append(buffer.getvalue())
    with write_transaction(engine) as connection:
        for number in range(amount):
            new = NewEntry(
                job_id=f"job-{number}",
                index=0,
                owner=None,
                created=FIRST + timedelta(minutes=number),
                width=64,
                height=64,
                decision=Decision.ALLOW,
                unsafe=0.1,
                scores={"sfw": 0.9, "nsfw": 0.1},
                policy="standard",
                prompt=f"picture {number} of a boat",
                negative_prompt="",
                data=files[number % COLOURS],
            )
            entry = insert_entry(
                connection, make_entry_id(new.created, make_entry_key(new.job_id or "", 0)), new
            )
            assert entry is not None
            assert entry.path is not None
            file = home / "gallery" / entry.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(files[number % COLOURS])
    engine.dispose()


@contextmanager
def start_server(home: Path) -> Iterator[str]:
    """Start an API process on a free port, and wait until it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"SAFELIGHT_HOME": str(home), "SAFELIGHT_WEB_UI": "true"}
    command = [sys.executable, "-m", "safelight", "api", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 300
    try:
        while not responds(f"{url}/studio/"):
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def responds(url: str) -> bool:
    """Whether a GET request succeeds with status 200."""
    try:
        return httpx2.get(url, timeout=60).status_code == 200
    except httpx2.TransportError:
        return False


def script_seconds(session: CDPSession) -> float:
    """Seconds that the page's scripts, styles and layout have taken so far."""
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return float(sum(metrics[name] for name in ("ScriptDuration", "RecalcStyleDuration", "LayoutDuration")))


def measure(page: Page, session: CDPSession, speed: int) -> dict[str, float]:
    """Scroll at one speed."""
    before = script_seconds(session)
    frames = sorted(page.evaluate(SCROLL, [speed, SECONDS]))
    scripts = (script_seconds(session) - before) * 1000 / len(frames)
    late = sum(frame > 25 for frame in frames) / len(frames)
    return {
        "median": statistics.median(frames),
        "p95": frames[int(len(frames) * 0.95)],
        "late": late,
        "scripts": scripts,
    }


def main() -> None:
    """Fill a gallery, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    entries = parser.parse_args().entries
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if program is None:
        raise SystemExit("This needs Chromium.")
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        fill(Path(scratch), entries)
        with start_server(Path(scratch)) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=program, args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1360, "height": 900}, locale="en-US")
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable")
            page.goto(f"{url}/studio/")
            page.wait_for_function("window.safelight?.form.ready")
            page.get_by_role("tab", name="Gallery").click()
            page.get_by_text(f"{entries:,} pictures", exact=True).wait_for(timeout=60_000)
            page.wait_for_timeout(5000)  # all entries are loaded
            for selected in (False, True):
                if selected:
                    page.locator(".sl-tile").first.focus()
                    page.keyboard.press("Control+a")
                    page.get_by_text(f"{entries:,} selected").wait_for()
                for speed in SPEEDS:
                    name = f"{speed} heights per second{', all selected' if selected else ''}"
                    rows[name] = measure(page, session, speed)
            browser.close()
    print("| | median ms | p95 ms | over 25 ms | scripts ms |\n|---|---|---|---|---|")
    for name, row in rows.items():
        print(
            f"| {name} | {row['median']:.1f} | {row['p95']:.1f} | {row['late']:.1%} | {row['scripts']:.1f} |"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
