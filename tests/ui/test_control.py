"""The Control section of the form: units with a picture, its preprocessor's map, a network, and how much it counts."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from playwright.sync_api import Locator, Page, Route, expect
from safetensors.torch import save_file
from tests.jobs.worker_processes import wait_for
from tests.server.serve_process import ServeProcess
from tests.tiny import controls
from tests.ui.conftest import open_page
from tests.ui.generation import job_of, on_stage, submit_prompt, wait_for_state
from tests.ui.real_events import drop_files, paste_picture

SIZE = (1024, 768)
MAP_SIZE = (171, 128)
"""What covers the starter's 128 x 128."""
STORED = """async () => {
    const finish = (request) => new Promise((then) => (request.onsuccess = () => then(request.result)));
    const database = await finish(indexedDB.open("safelight.control", 1));
    const found = await finish(database.transaction("units").objectStore("units").get("units"));
    database.close();
    return !!found?.list[0]?.picture;
}"""
"""Whether the browser has stored a unit with its picture."""

MASK_OF_UNIT = """async () => {
    const image = await createImageBitmap(window.safelight.form.units.list[0].mask);
    const canvas = new OffscreenCanvas(image.width, image.height), context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const red = (x, y) => context.getImageData(x, y, 1, 1).data[0];
    return [image.width, image.height, red(image.width / 2, image.height / 2), red(3, 3)];
}"""
"""Width and height of the first unit's mask, and how white it is in the middle and near a corner."""


@pytest.fixture(scope="module")
def networks(studio: ServeProcess) -> Iterator[None]:
    """A tiny ControlNet for the starter, and what looks like one for another family."""
    folder = studio.home / "controlnet"
    controls.controlnet(Path(str(files("safelight.models").joinpath("starter"))), folder / "tiny_canny")
    layer = "lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.up.0.weight"
    save_file({layer: torch.zeros(1)}, folder / "xl_depth.safetensors")
    yield
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = Image.new("RGB", SIZE, "lightblue")
    draw = ImageDraw.Draw(image)
    draw.ellipse((200, 150, 700, 650), fill="firebrick")
    draw.rectangle((600, 400, 960, 740), fill="darkgreen")
    path = tmp_path_factory.mktemp("control") / "shapes.png"
    image.save(path)
    return path


@pytest.fixture
def opened(page: Page, studio: ServeProcess, networks: None) -> Page:
    """The web UI with the section open."""
    open_page(page, studio.url)
    page.locator("#sl-fold-control > button").click()
    return page


def add_unit(page: Page, picture: Path | None = None) -> Locator:
    """Add a unit, with a picture if one is given."""
    before = page.locator(".sl-unit").count()
    page.locator("#sl-control-add").click()
    unit = page.locator(".sl-unit").nth(before)
    expect(unit.locator(".sl-unit-drop")).to_be_visible()
    if picture is not None:
        drop_files(unit.locator(".sl-unit-picture"), picture)
        expect(unit.locator(".sl-unit-image")).to_be_visible()
    return unit


def units(page: Page) -> list[dict[str, Any]]:
    """The units as the form holds them."""
    found: list[dict[str, Any]] = json.loads(
        page.evaluate("JSON.stringify(window.safelight.form.units.list)")
    )
    return found


def preview(unit: Locator) -> Locator:
    """Make the map, and return it."""
    unit.get_by_role("button", name="Preview", exact=True).click()
    made = unit.locator(".sl-unit-map")
    expect(made).to_be_visible()
    return made


def test_a_unit_from_its_picture_to_what_it_steers(
    opened: Page, studio: ServeProcess, photograph: Path
) -> None:
    page = opened
    unit = add_unit(page, photograph)
    expect(page.locator("#sl-fold-control .sl-fold-count")).to_have_text("1 unit")
    expect(unit.get_by_label("It shows", exact=True)).to_have_value("canny")
    made = preview(unit)
    expect(made).to_have_js_property("naturalWidth", MAP_SIZE[0])
    expect(made).to_have_js_property("naturalHeight", MAP_SIZE[1])
    first = made.get_attribute("src")
    unit.get_by_label("Low threshold").last.fill("20")
    expect(made).not_to_have_attribute("src", first or "")  # fast ones follow the parameters
    unit.get_by_label("Opacity of the map").fill("0.3")
    expect(made).to_have_css("opacity", "0.3")
    unit.get_by_role("button", name="Show the map").click()
    expect(made).to_be_hidden()

    unit.locator(".sl-form-row", has_text="Weight").locator("input[type=number]").fill("0.65")
    unit.get_by_role("slider", name="Begins").press("PageUp")
    unit.get_by_role("slider", name="Ends").press("ArrowLeft")
    unit.get_by_label("Mode", exact=True).select_option("guess")
    unit.get_by_label("Choose a mask").set_input_files(photograph)
    expect(unit.get_by_role("img", name="Mask")).to_be_visible()
    shown = submit_prompt(page, "a red apple, 3d style", steps=4, count=1, seed="7")
    wait_for_state(shown, "succeeded")
    (sent,) = job_of(studio, shown)["request"]["control"]
    assert sent.pop("image") == sent.pop("mask") != {}
    assert sent == {
        "kind": "canny",
        "preprocessor": {"name": "canny", "parameters": {"low": 20}},
        "weight": 0.65,
        "start": 0.1,
        "end": 0.99,
        "mode": "guess",
    }
    picture = job_of(studio, shown)["result"]["pictures"][0]
    assert 'ControlNet 0: "Module: canny, Model: starter-canny' in picture["infotext"]

    unit.get_by_role("button", name="Remove this unit").click()
    expect(page.locator(".sl-unit")).to_have_count(0)
    on_stage(shown)
    page.locator(".sl-stage-actions").get_by_role("button", name="Use this").click()
    expect(unit.locator(".sl-unit-image")).to_be_visible()  # this browser has kept the picture
    (recalled,) = units(page)
    assert (recalled["weight"], recalled["start"], recalled["mode"]) == (0.65, 0.1, "guess")
    assert recalled["parameters"] == {"canny": {"low": 20}}
    with page.expect_request(lambda each: each.url.endswith("/v1/jobs") and each.method == "POST") as again:
        page.locator(".sl-stage-actions").get_by_role("button", name="Same seed").click()
    (repeated,) = (again.value.post_data_json or {})["control"]
    assert len(repeated["image"]) > 1000
    assert repeated["mask"] == repeated["image"]
    unit.get_by_role("button", name="From the gallery").click()
    page.locator(".sl-picker .sl-frame").first.click()
    expect(unit.locator(".sl-unit-caption")).to_contain_text("128")
    assert re.fullmatch(r"\w{10,}", units(page)[0]["picture"]["entry"])


def test_networks_for_other_checkpoints_are_shown_with_the_reason(opened: Page) -> None:
    page = opened
    unit = add_unit(page)
    kind = unit.get_by_label("It shows", exact=True)
    expect(kind.locator("option[value=depth]")).to_be_disabled()
    expect(kind.locator("option[value=depth]")).to_have_text("Depth (no network here)")
    expect(kind.locator("option[value=reference]")).to_be_enabled()
    soft = unit.get_by_label("Preprocessor", exact=True).locator("option[value=depth]")
    expect(soft).to_have_text("Depth (needs a model)")
    network = unit.get_by_role("combobox", name="Network")
    network.press("ArrowDown")
    other = unit.get_by_role("option", name=re.compile("xl_depth"))
    expect(other).to_have_text("xl_depthfor Stable Diffusion XL")
    expect(other).to_be_disabled()
    other.click(force=True)
    assert units(page)[0]["model"] == ""
    unit.get_by_role("option", name=re.compile("tiny_canny")).click()
    assert units(page)[0]["model"] == "tiny_canny"
    kind.select_option("reference")
    expect(network).to_be_hidden()
    assert (units(page)[0]["model"], units(page)[0]["preprocessor"]) == ("", "")
    fits = page.evaluate("""async () => {
        const { Catalogue } = await import("/studio/safelight/control/catalogue.js");
        const found = Object.assign(new Catalogue(), { family: "sd1", checkpoint: "other" });
        return ["starter", "other", null].map((checkpoint) => found.fits({ family: "sd1", checkpoint }));
    }""")
    assert fits == [False, True, True]


def test_a_mask_is_painted_and_an_ip_adapter_needs_no_preprocessor(opened: Page, photograph: Path) -> None:
    page = opened

    def with_adapter(route: Route) -> None:
        listed = route.fetch().json()
        adapter = {"name": "tiny_ip_adapter", "title": "IP-Adapter", "family": "sd1", "kinds": ["ip-adapter"]}
        listed["controls"].append(adapter | {"family_title": "Stable Diffusion 1", "several": False})
        if not any(kind["name"] == "ip-adapter" for kind in listed["kinds"]):
            listed["kinds"].append({"name": "ip-adapter", "preprocessors": [], "families": []})
        route.fulfill(json=listed)

    page.route("**/v1/controls", with_adapter)
    page.reload()
    unit = add_unit(page, photograph)
    unit.get_by_role("button", name="Paint", exact=True).click()
    dialog = page.get_by_role("dialog", name="Mask")
    stage = dialog.locator(".sl-editor-stage")
    expect(stage).to_be_focused()
    page.keyboard.press("ArrowLeft")  # the brush appears in the middle
    page.keyboard.press("Enter")
    page.keyboard.press("Control+z")
    expect(dialog.get_by_role("button", name="Undo")).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Control+Shift+z")
    dialog.get_by_role("button", name="Use this mask").click()
    expect(unit.get_by_role("img", name="Mask")).to_be_visible()
    assert page.evaluate(MASK_OF_UNIT) == [*SIZE, 255, 0]
    unit.get_by_label("It shows", exact=True).select_option("ip-adapter")
    for hidden in ("Preprocessor", "Mode", "Other shape"):
        expect(unit.get_by_label(hidden, exact=True)).to_be_hidden()
    unit.get_by_role("combobox", name="Network").press("ArrowDown")
    unit.get_by_role("option", name=re.compile("tiny_ip_adapter")).click()
    (fields,) = page.evaluate("window.safelight.form.units.requestFields()")
    assert set(fields) == {"kind", "model", "image", "mask"}
    assert (fields["kind"], fields["model"]) == ("ip-adapter", "tiny_ip_adapter")


def test_what_is_wrong_is_said_at_the_unit(opened: Page, photograph: Path) -> None:
    page = opened
    empty = page.locator(".sl-unit").first
    add_unit(page)
    add_unit(page, photograph)
    page.locator("#sl-prompt textarea").fill("a leaf")
    page.locator("#sl-draw-button").click()
    expect(empty.get_by_role("alert")).to_have_text("This unit has no picture yet.")
    expect(empty.get_by_role("button", name="Choose a file")).to_be_focused()
    empty.get_by_role("button", name="The initial picture").click()
    expect(empty.get_by_role("alert")).to_have_count(0)
    page.locator("#sl-draw-button").click()
    expect(empty.get_by_role("alert")).to_have_text("This needs a picture to start from.")
    initial = page.evaluate(
        """async () => {
            const canvas = Object.assign(document.createElement("canvas"), { width: 96, height: 64 });
            canvas.getContext("2d").fillRect(0, 0, 9, 9);
            const { form } = window.safelight;
            await form.editPicture(await new Promise((then) => canvas.toBlob(then)));
            return (await form.request()).control.map((unit) => Object.keys(unit).sort());
        }"""
    )
    assert initial == [["kind", "preprocessor"], ["image", "kind", "preprocessor"]]
    expect(empty.locator(".sl-unit-caption")).to_contain_text("96 × 64, the initial picture")  # noqa: RUF001
    page.evaluate("window.safelight.form.editor.setPicture(null)")
    empty.get_by_role("button", name="Remove this unit").click()
    (unit,) = units(page)
    full = page.locator(".sl-unit")
    page.evaluate("id => window.safelight.form.units.change(id, {model: 'gone'})", unit["id"])
    page.locator("#sl-draw-button").click()
    expect(full.locator("[id$=-model-refusal]")).to_contain_text("no control 'gone'")
    full.get_by_label("Preprocessor", exact=True).select_option("pose")
    full.get_by_role("button", name="Preview", exact=True).click()
    expect(full.locator(".sl-unit-preview .sl-form-refusal")).to_contain_text("No person was found")


def test_a_slow_preview_shows_its_time_and_can_be_cancelled(opened: Page, photograph: Path) -> None:
    page = opened
    held: list[Route] = []
    page.route("**/v1/preprocess", lambda route: held.append(route))
    unit = add_unit(page, photograph)
    unit.get_by_role("button", name="Preview", exact=True).click()
    expect(unit.get_by_role("progressbar")).to_be_visible()
    with page.expect_event("requestfailed"):
        unit.get_by_role("button", name="Cancel").click()
    expect(unit.get_by_role("progressbar")).to_be_hidden()
    expect(unit.get_by_role("button", name="Preview", exact=True)).to_be_focused()
    expect(unit.get_by_role("alert")).to_have_count(0)


def test_a_preprocessor_that_runs_in_a_worker_is_a_job(opened: Page, photograph: Path) -> None:
    page = opened

    def run_in_worker(route: Route) -> None:
        listed = route.fetch().json()
        listed["preprocessors"][0]["runs_in_worker"] = True  # as depth does, whose weights are not here
        route.fulfill(json=listed)

    page.route("**/v1/preprocessors", run_in_worker)
    page.reload()
    unit = add_unit(page, photograph)
    made = preview(unit)
    expect(made).to_have_attribute("src", re.compile("^/v1/gallery/.*/file$"))
    expect(made).to_have_js_property("naturalWidth", MAP_SIZE[0])


def test_an_infotext_fills_what_it_says(opened: Page) -> None:
    page = opened
    page.locator("#sl-recall").click()
    text = (
        "a leaf\nSteps: 7, Sampler: Euler, CFG scale: 4, Seed: 5, Size: 128x128, "
        'ControlNet 0: "Module: canny, Model: tiny_canny [d14c016b], Weight: 0.5, Resize Mode: Just Resize, '
        "Processor Res: 256, Threshold A: 30, Guidance Start: 0.1, Guidance End: 0.8, Pixel Perfect: False, "
        'Control Mode: My prompt is more important"'
    )
    page.get_by_role("dialog").get_by_role("textbox").fill(text)
    page.get_by_role("button", name="Fill in").click()
    unit = page.locator(".sl-unit")
    expect(unit.locator(".sl-unit-drop")).to_be_visible()
    expect(unit.locator(".sl-range-text")).to_have_text(re.compile("10%.*80%"))
    expect(unit.get_by_role("combobox", name="Network")).to_have_value("tiny_canny")
    (values,) = units(page)
    assert (values["resize"], values["mode"], values["resolution"]) == ("stretch", "prompt", 256)
    assert values["parameters"] == {"canny": {"low": 30}}
    page.locator(".sl-toast").last.get_by_role("button", name="Undo").click()
    expect(unit).to_have_count(0)


def test_a_picture_is_pasted_kept_over_a_reload_and_works_on_a_phone(
    opened: Page, studio: ServeProcess, photograph: Path
) -> None:
    page = opened
    unit = add_unit(page)
    unit.hover()
    paste_picture(page, photograph.read_bytes())
    expect(unit.locator(".sl-unit-image")).to_be_visible()
    wait_for(lambda: page.evaluate(STORED))
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, studio.url)
    expect(unit.locator(".sl-unit-caption")).to_contain_text("1,024")
    preview(unit)
    form = page.locator("#sl-form-fields")
    assert form.evaluate("form => form.scrollWidth <= form.clientWidth")
    for part in (".sl-range", ".sl-unit-opacity", ".sl-unit-frame", ".sl-combobox"):
        box = unit.locator(part).first.bounding_box()
        assert box is not None
        assert box["x"] >= 0, part
        assert box["x"] + box["width"] <= 390, part
