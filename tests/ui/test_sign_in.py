"""A server that requires keys: a person signs in and sees their own jobs, and an administrator sees all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.server.serve_process import ServeProcess, run_serve

PEOPLE = {"anna": "user", "ben": "user", "root": "admin"}


def key_for(home: Path, name: str, role: str) -> str:
    command = [sys.executable, "-m", "safelight", "keys", "add", name, "--role", role, "--json"]
    answer = subprocess.run(
        command, env=os.environ | {"SAFELIGHT_HOME": str(home)}, capture_output=True, check=True
    )
    return str(json.loads(answer.stdout)["key"])


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> Iterator[tuple[ServeProcess, dict[str, str]]]:
    home = tmp_path_factory.mktemp("guarded")
    keys = {name: key_for(home, name, role) for name, role in PEOPLE.items()}
    with run_serve(home, SAFELIGHT_WEB_UI="true") as studio:
        studio.request("GET", "/health/ready")
        yield studio, keys


def signed_in(page: Page, url: str, key: str) -> Page:
    page.goto(url)
    expect(page).to_have_url(re.compile(r"/sign-in\?next="))
    page.locator("#key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/studio/")
    page.wait_for_function("window.safelight?.form.ready")
    return page


def draw(studio: ServeProcess, key: str, prompt: str) -> str:
    fields = {"kind": "generate", "prompt": prompt, "steps": 2}
    answer = studio.request("POST", "/v1/jobs", json=fields, headers={"X-API-Key": key})
    return str(answer.json()["id"])


def test_sign_in_own_jobs_and_sign_out(
    browser: Browser, guarded: tuple[ServeProcess, dict[str, str]]
) -> None:
    studio, keys = guarded
    jobs = {name: draw(studio, keys[name], f"a flower of {name}") for name in ("anna", "ben")}
    for name, seen in {"anna": {"anna"}, "root": {"anna", "ben"}}.items():
        with browser.new_context(locale="en-US") as context:
            context.set_default_timeout(60_000)
            page = signed_in(context.new_page(), studio.url, keys[name])
            for owner, job in jobs.items():
                expect(page.locator(f'[data-job="{job}"]')).to_have_count(int(owner in seen))
                if owner in seen:
                    state = page.locator(f'[data-job="{job}"]')
                    expect(state).to_have_attribute("data-state", "succeeded", timeout=300_000)
            page.locator("#sl-tab-gallery-button").click()
            expect(page.locator("#sl-gallery img")).to_have_count(len(seen))
            page.get_by_role("button", name="Sign out").click()
            expect(page).to_have_url(re.compile("/sign-in"))
            page.goto(f"{studio.url}/studio/")
            expect(page).to_have_url(re.compile("/sign-in"))


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
