"""Shared fixtures of the web UI's tests: a real browser, and a complete Safelight installation."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Response,
    WebError,
    expect,
    sync_playwright,
)
from tests.server.serve_process import ServeProcess, run_serve

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu"]

expect.set_options(timeout=30_000)  # other tests keep the machine busy; 5 s is Playwright's default


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; without one the tests are skipped, unless it is required."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        assert not os.environ.get("SAFELIGHT_NEED_BROWSER"), "there is no Chromium"
        pytest.skip(f"no browser is installed ({', '.join(NAMES)})")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=FLAGS)


@pytest.fixture(scope="session")
def shared_context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser context for all tests: it keeps the files that the page loads, compiled."""
    context = browser.new_context(
        viewport={"width": 1360, "height": 900}, locale="en-US", accept_downloads=True
    )
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def context(shared_context: BrowserContext) -> Iterator[BrowserContext]:
    """A browser context without stored data; a script error in one of its pages fails the test."""
    problems: list[str] = []
    visited: set[str] = set()

    def on_error(error: WebError) -> None:
        problems.append(error.error.stack or str(error.error))

    def on_response(response: Response) -> None:
        visited.add("{0.scheme}://{0.netloc}".format(urlsplit(response.url)))

    shared_context.on("weberror", on_error)
    shared_context.on("response", on_response)
    yield shared_context
    shared_context.remove_listener("weberror", on_error)
    shared_context.remove_listener("response", on_response)
    clear_stored_data(shared_context, visited)
    assert not problems


def clear_stored_data(context: BrowserContext, origins: set[str]) -> None:
    """Close all pages, and delete cookies and whatever else pages of these origins have stored."""
    for page in context.pages:
        page.close()
    context.clear_cookies()
    context.clear_permissions()
    page = context.new_page()
    session = context.new_cdp_session(page)
    for origin in origins:
        session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
    page.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """An empty page."""
    return context.new_page()


@pytest.fixture(scope="session")
def static_url() -> Iterator[str]:
    """The URL of a server of the web UI's static files only."""
    folder = str(files("safelight.ui").joinpath("static"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    """A handler that serves files and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[ServeProcess]:
    """A complete Safelight installation with the web UI; its jobs and images are those of all earlier tests."""
    with run_serve(tmp_path_factory.mktemp("studio"), SAFELIGHT_WEB_UI="true") as running:
        running.request("GET", "/studio/")  # waits until the web UI is loaded
        yield running


@pytest.fixture
def open_studio(studio: ServeProcess, page: Page) -> Page:
    """The web UI in a page, ready to be used."""
    return open_page(page, studio.url)


def open_page(page: Page, url: str) -> Page:
    """Open the web UI, and wait until its form is filled in."""
    page.goto(f"{url}/studio/")
    page.wait_for_function("window.safelight?.form.ready")
    return page
