"""Shared fixtures of the web UI's tests: a real browser, and a complete Safelight installation."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    CDPSession,
    Page,
    ViewportSize,
    WebError,
    expect,
    sync_playwright,
)
from playwright.sync_api import Error as PlaywrightError
from tests.models.hub.fake_source import FakeSource, run_fake_source
from tests.server.serve_process import ServeProcess, run_serve

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu"]
WINDOW: ViewportSize = {"width": 1360, "height": 900}

expect.set_options(timeout=30_000)  # other tests keep the machine busy; 5 s is Playwright's default


LAST_REQUESTS = """() => [
    `${Math.round(performance.now())} ms after its start, ${document.visibilityState}`,
    ...performance.getEntriesByType("resource").slice(-30).map((each) =>
        `${Math.round(each.startTime)} to ${Math.round(each.responseEnd)} ms: ${each.responseStatus} ${each.name}`),
]"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print the page's last requests with a test that failed."""
    report = yield
    page = getattr(item, "funcargs", {}).get("page")
    if report.when == "call" and report.failed and isinstance(page, Page):
        with suppress(PlaywrightError):  # the page may be gone
            report.sections.append((f"Requests of {page.url}", "\n".join(page.evaluate(LAST_REQUESTS))))
    return report


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium, that without windows if it is here; without any, tests are skipped unless it is required."""
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
        viewport=WINDOW, locale="en-US", accept_downloads=True, reduced_motion="reduce"
    )
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture(scope="session")
def shared_page(shared_context: BrowserContext) -> Page:
    """A page for all tests: to start a page's process takes more of a core than most tests do."""
    return shared_context.new_page()


@pytest.fixture(scope="session")
def shared_session(shared_page: Page) -> CDPSession:
    """A connection to the shared page's debugger."""
    return shared_page.context.new_cdp_session(shared_page)


@pytest.fixture
def context(shared_context: BrowserContext) -> Iterator[BrowserContext]:
    """A browser context in which a script error of a page fails the test."""
    problems: list[str] = []

    def on_error(error: WebError) -> None:
        problems.append(error.error.stack or str(error.error))

    shared_context.on("weberror", on_error)
    yield shared_context
    shared_context.remove_listener("weberror", on_error)
    assert not problems


@pytest.fixture
def page(context: BrowserContext, shared_page: Page, shared_session: CDPSession) -> Iterator[Page]:
    """An empty page without stored data."""
    yield shared_page
    origins = {url_origin(page.url) for page in context.pages}
    for other in context.pages:
        if other is not shared_page:
            other.close()
    reset_page(shared_page)
    context.clear_cookies()
    context.clear_permissions()
    for origin in origins:
        shared_session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})


def url_origin(url: str) -> str:
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


def reset_page(page: Page) -> None:
    """Leave what is shown, and undo what a test can have changed about the page: routes, window, media, pointer."""
    page.unroute_all(behavior="ignoreErrors")
    if page.url.startswith("http"):
        page.evaluate("sessionStorage.clear()")
    page.goto("about:blank")
    page.set_viewport_size(WINDOW)
    # Animations take processor time, and clicks wait for their end.
    page.emulate_media(reduced_motion="reduce", color_scheme="null")
    page.mouse.move(0, 0)


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
def model_source() -> Iterator[FakeSource]:
    """A server that answers as the hub and CivitAI do, from which the installation pulls models."""
    with run_fake_source() as source:
        yield source


@pytest.fixture(scope="session")
def studio(
    tmp_path_factory: pytest.TempPathFactory, browser: Browser, model_source: FakeSource
) -> Iterator[ServeProcess]:
    """A complete Safelight installation with the web UI; its jobs and images are those of all earlier tests."""
    sources = {f"SAFELIGHT_{name}_URL": model_source.url for name in ("HUB", "CIVITAI")}
    with run_serve(tmp_path_factory.mktemp("studio"), SAFELIGHT_WEB_UI="true", **sources) as running:
        running.request("GET", "/studio/")  # waits until the web UI is loaded
        yield running


@pytest.fixture
def open_studio(studio: ServeProcess, page: Page) -> Page:
    """The web UI in a page, ready to be used."""
    return open_page(page, studio.url)


def open_page(page: Page, url: str) -> Page:
    """Open the web UI, and wait until its form is filled in."""
    page.goto(f"{url}/studio/")
    # The browser keeps 250 requests, of which the page needs most.
    page.wait_for_function("performance.setResourceTimingBufferSize(2000), window.safelight?.form.ready")
    return page


def choose_language(page: Page, url: str, language: str) -> None:
    """Store a language in the page's origin, for when the web UI is opened."""
    page.goto(f"{url}/favicon.svg")
    page.evaluate("language => localStorage.setItem('safelight.language', language)", language)
