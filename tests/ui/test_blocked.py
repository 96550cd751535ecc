"""A blocked image on Create: the reason is said, nothing of it is shown, and only what makes sense can be done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.generation import job_of, on_stage, submit_prompt, wait_for_state

from safelight.database.engine import open_database
from safelight.settings import Settings
from safelight.stored_settings.runtime import RuntimeSettings

TOUCHY_POLICY = """
name = "touchy"
version = "1"
abstain = 0.0
safe = ["sfw"]
[unsafe]
nsfw = { review = 0.0, block = 0.0 }
"""


@pytest.fixture
def touchy_studio(studio: ServeProcess) -> Iterator[ServeProcess]:
    """The installation with a policy that blocks every image."""
    path = studio.home / "touchy.toml"
    path.write_text(TOUCHY_POLICY)
    settings = Settings(home=studio.home)
    engine = open_database(settings)
    runtime = RuntimeSettings(engine, settings)
    runtime.change({"policy": str(path)}, "anna")  # the API takes presets only
    yield studio
    runtime.change({"policy": None}, "anna")
    engine.dispose()


def test_a_blocked_image_is_said_and_not_shown(touchy_studio: ServeProcess, open_studio: Page) -> None:
    page = open_studio
    shown = submit_prompt(page, "a harmless drum", steps=1, count=1, width=128, height=128)
    wait_for_state(shown, "succeeded")
    (image,) = job_of(touchy_studio, shown)["result"]["pictures"]
    assert (image["decision"], image["url"]) == ("block", None)
    stage = on_stage(shown)
    expect(stage.locator(".sl-withheld")).to_contain_text("Blocked by the safety policy")
    expect(stage.locator(".sl-withheld")).to_be_in_viewport(ratio=1)
    expect(stage.locator("img:visible")).to_have_count(0)
    box = stage.locator(".sl-slot").bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) > 100
    bar = stage.get_by_role("toolbar", name="Actions")
    expect(bar.get_by_role("button")).to_have_count(2)
    for name in ("Delete", "More"):
        expect(bar.get_by_role("button", name=name)).to_be_visible()
    expect(bar.get_by_role("link")).to_have_count(0)

    expect(shown.locator(".sl-strip-picture.sl-is-block")).to_be_visible()
    expect(shown.locator(".sl-strip-picture img:visible")).to_have_count(0)
    shown.locator(".sl-strip-picture").click(button="right")
    menu = page.get_by_role("menu")
    names = ["Copy parameters", "Open in the viewer", "Delete", "Remove from the film strip"]
    expect(menu.get_by_role("menuitem")).to_contain_text(names)
    menu.get_by_role("menuitem", name="Open in the viewer").click()
    viewer = page.get_by_role("dialog", name="Picture")
    expect(viewer).to_contain_text("The policy blocked this picture")
    expect(viewer).to_contain_text("policy touchy")
    expect(viewer.get_by_role("group", name="Actions").get_by_role("button")).to_have_text(
        ["Copy parameters"]
    )
    expect(viewer.locator("img:visible")).to_have_count(0)
    page.keyboard.press("Escape")

    page.get_by_role("tab", name="Gallery").click()
    tile = page.get_by_role("gridcell", name="a harmless drum").first
    expect(tile).to_contain_text("blocked")
    expect(tile.locator("img")).to_have_count(0)
