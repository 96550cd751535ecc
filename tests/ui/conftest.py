"""What the tests of the studio share: a real browser, and the whole of Safelight behind it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from tests.server.whole import Studio, serving

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; the tests are skipped where there is none, unless there has to be one."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        assert not os.environ.get("SAFELIGHT_NEED_BROWSER"), "there is no Chromium"
        pytest.skip(f"no browser is installed ({', '.join(NAMES)})")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=FLAGS)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser's window with nothing kept from before; no page in it may fail."""
    problems: list[str] = []
    context = browser.new_context(
        viewport={"width": 1360, "height": 900}, locale="en-US", accept_downloads=True
    )
    context.set_default_timeout(60_000)
    context.on("weberror", lambda error: problems.append(str(error.error)))
    yield context
    context.close()
    assert not problems


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """An empty page."""
    return context.new_page()


@pytest.fixture(scope="session")
def static_url() -> Iterator[str]:
    """Where the studio's scripts are served, without anything else."""
    folder = str(files("safelight.ui").joinpath("static"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Studio]:
    """The whole of Safelight, with its page; its jobs and pictures are those of all tests before."""
    with serving(tmp_path_factory.mktemp("studio"), SAFELIGHT_WEB_UI="true") as running:
        running.call("GET", "/studio/")  # waits until the page is loaded
        yield running


@pytest.fixture
def open_studio(studio: Studio, page: Page) -> Page:
    """The studio's page, ready to be used."""
    return opened(page, studio.url)


def opened(page: Page, url: str) -> Page:
    """Go to the studio, and wait until its form is filled in."""
    page.goto(f"{url}/studio/")
    page.wait_for_function("window.safelight?.form.ready")
    return page
