"""A server that requires keys: a person signs in and sees their own jobs, and an administrator sees all."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.server.fake_worker import FakeWorker
from tests.server.serve_process import ServeProcess, run_serve

from safelight.database import open_database
from safelight.jobs.queue_service import prepare_database
from safelight.server.security.keys import SCHEMA, KeyStore
from safelight.server.security.principal import Role
from safelight.settings import Settings

PEOPLE = {"anna": Role.USER, "ben": Role.USER, "root": Role.ADMIN}


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> Iterator[tuple[ServeProcess, dict[str, str]]]:
    home = tmp_path_factory.mktemp("guarded")
    settings = Settings(home=home)
    prepare_database(settings, SCHEMA)
    engine = open_database(settings)
    keys = {name: KeyStore(engine).add(name, role) for name, role in PEOPLE.items()}
    engine.dispose()
    with run_serve(home, command="api", SAFELIGHT_WEB_UI="true") as studio:
        worker = FakeWorker(home)
        worker.start()
        studio.request("GET", "/studio/")  # waits until the web UI is loaded
        yield studio, keys
        worker.stop()


def sign_in(page: Page, url: str, key: str) -> None:
    page.goto(url)
    expect(page).to_have_url(re.compile(r"/sign-in\?next="))
    page.locator("#key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/studio/")
    page.wait_for_function("window.safelight?.form.ready")


def draw(studio: ServeProcess, key: str, prompt: str) -> str:
    fields = {"kind": "generate", "prompt": prompt, "steps": 2}
    answer = studio.request("POST", "/v1/jobs", json=fields, headers={"X-API-Key": key})
    return str(answer.json()["id"])


def test_sign_in_own_jobs_and_sign_out(page: Page, guarded: tuple[ServeProcess, dict[str, str]]) -> None:
    studio, keys = guarded
    jobs = {name: draw(studio, keys[name], f"a flower of {name}") for name in ("anna", "ben")}
    for name, seen in {"anna": {"anna"}, "root": {"anna", "ben"}}.items():
        sign_in(page, studio.url, keys[name])
        for owner, job in jobs.items():
            expect(page.locator(f'.sl-strip-job[data-job="{job}"]')).to_have_count(int(owner in seen))
            if owner in seen:
                state = page.locator(f'.sl-strip-job[data-job="{job}"]')
                expect(state).to_have_attribute("data-state", "succeeded", timeout=300_000)
        page.locator("#sl-tab-gallery-button").click()
        expect(page.locator("#sl-gallery img")).to_have_count(len(seen))
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(re.compile("/sign-in"))
        page.goto(f"{studio.url}/studio/")
        expect(page).to_have_url(re.compile("/sign-in"))
        page.evaluate("sessionStorage.clear()")  # another person has another tab


def test_a_wrong_key_is_reported(page: Page, guarded: tuple[ServeProcess, dict[str, str]]) -> None:
    studio, _ = guarded
    page.goto(studio.url)
    page.locator("#key").fill("not a key")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    expect(page).to_have_url(re.compile("/sign-in"))


def test_the_page_shows_nothing_without_a_key(guarded: tuple[ServeProcess, dict[str, str]]) -> None:
    studio, _ = guarded
    for path in ("/studio/config", "/studio/safelight/main.js", "/studio/theme.css", "/v1/session"):
        assert httpx2.get(f"{studio.url}{path}").status_code == 401, path
