"""The Regions section of the form: rectangles and painted masks with prompts of their own."""

from __future__ import annotations

import io
from base64 import b64decode
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page

SIZE = (1024, 512)


def open_regions(page: Page, url: str) -> Locator:
    """Open the section with two regions, for a picture of twice its height."""
    open_page(page, url)
    page.evaluate("([width, height]) => window.safelight.form.fill({ width, height })", list(SIZE))
    page.locator("#sl-fold-regions > button").click()
    for prompt in ("a red fox", "a grey wolf"):
        page.locator("#sl-regions-add").click()
        page.keyboard.type(prompt)
    return page.locator(".sl-region")


def sent(page: Page) -> list[dict[str, Any]]:
    """The regions of the request, with masks as arrays."""
    regions: list[dict[str, Any]] = page.evaluate(
        "async () => (await window.safelight.form.request()).regions"
    )
    return [each | {"mask": read_mask(each["mask"])} for each in regions]


def read_mask(data: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(b64decode(data))).convert("L"))


def test_rectangles_are_moved_by_keys_and_pointer(page: Page, studio: ServeProcess) -> None:
    regions = open_regions(page, studio.url)
    expect(regions).to_have_count(2)
    expect(page.locator("#sl-fold-regions .sl-fold-count")).to_have_text("2 regions")
    left, right = sent(page)
    assert [left["prompt"], right["prompt"]] == ["a red fox", "a grey wolf"]
    assert "weight" not in left
    assert left["mask"].shape == SIZE[::-1]
    assert left["mask"][:, :512].min() == 255 == right["mask"][:, 512:].min()
    assert left["mask"][:, 512:].max() == 0 == right["mask"][:, :512].max()

    box = page.get_by_role("button", name="Region 2: 50% to 100% across")
    box.press("Shift+ArrowUp")
    box.press("Control+ArrowLeft")
    expect(page.get_by_role("button", name="Region 2: 45% to 95% across, 0% to 99% down")).to_be_focused()
    frame = page.locator(".sl-regions-frame").bounding_box()
    assert frame is not None
    assert abs(frame["width"] / frame["height"] - 2) < 0.05, "the frame has the picture's proportions"
    page.mouse.move(frame["x"] + 0.95 * frame["width"], frame["y"] + 0.99 * frame["height"])
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.75 * frame["width"], frame["y"] + 0.5 * frame["height"], steps=4)
    page.mouse.up()
    mask = sent(page)[1]["mask"]
    assert abs(mask.mean() / 255 - 0.3 * 0.5) < 0.02, "30 % of the width and half of the height"

    regions.first.locator("input[type=number]").fill("0.6")
    assert sent(page)[0]["weight"] == 0.6
    page.get_by_role("button", name="Show on the picture").click()
    expect(page.locator("#sl-stage.sl-shows-regions")).to_have_count(1)
    assert "blob:" in page.locator("#sl-stage").evaluate(
        "stage => stage.style.getPropertyValue('--sl-regions')"
    )


def test_a_region_is_painted_and_kept_in_view_on_a_phone(page: Page, studio: ServeProcess) -> None:
    regions = open_regions(page, studio.url)
    regions.last.get_by_role("button", name="Paint").click()
    dialog = page.get_by_role("dialog", name="Paint the region")
    stage = dialog.locator(".sl-editor-stage")
    expect(stage).to_be_focused()
    expect(dialog.get_by_role("button", name="Expand")).to_be_hidden()
    dialog.get_by_role("button", name="Invert the mask").click()
    dialog.get_by_role("button", name="Use this mask").click()
    expect(dialog).to_have_count(0)
    expect(regions.last.get_by_role("img", name="Mask")).to_be_visible()
    mask = sent(page)[1]["mask"]
    assert mask.shape == SIZE[::-1]
    assert (mask[:, :500].min(), mask[:, 520:].max()) == (255, 0), "the rectangle was there to begin with"
    page.set_viewport_size({"width": 390, "height": 844})
    form = page.locator("#sl-form-fields")
    assert form.evaluate("form => form.scrollWidth <= form.clientWidth")
    regions.last.get_by_role("button", name="Rectangle").click()
    expect(page.locator(".sl-region-box")).to_have_count(2)
