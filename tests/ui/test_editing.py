"""Editing on the stage: from a photograph or a generated image to a result in place, over reloads, also by touch."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Locator, Page, Route, expect
from tests.jobs.worker_processes import wait_for
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page
from tests.ui.generation import GENERATION_TIMEOUT, fill_prompt, on_stage, strip_job
from tests.ui.real_events import drop_files, paste_picture

SIZE = (1600, 1200)


def photograph(colour: str = "darkred") -> bytes:
    """A round thing on a grey ground, as large as a photograph."""
    image = Image.linear_gradient("L").resize(SIZE).convert("RGB")
    ImageDraw.Draw(image).ellipse((500, 300, 1100, 900), fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def generated(studio: ServeProcess) -> str:
    """The job of a generated image."""
    job = studio.submit(
        9300,
        prompt="a round window, flat style",
        negative_prompt="dark",
        steps=3,
        sampler="Euler",
        width=128,
        height=128,
    )
    wait_for(lambda: studio.have_ended(job))
    return job


@pytest.fixture
def desktop(page: Page, studio: ServeProcess, generated: str) -> Page:
    page.emulate_media(reduced_motion="reduce")
    return open_with_editor(page, studio)


@pytest.fixture(scope="module")
def phone(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, locale="en-US", has_touch=True, is_mobile=True
    )
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def open_with_editor(page: Page, studio: ServeProcess) -> Page:
    open_page(page, studio.url)
    page.wait_for_function("!!window.safelight.form.editor")
    return page


def drop_on_stage(page: Page, data: bytes, *, wait: bool = True) -> None:
    page.locator("#sl-stage").evaluate(
        """(stage, text) => {
            const data = new DataTransfer();
            const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
            data.items.add(new File([bytes], "photograph.jpg", { type: "image/jpeg" }));
            for (const kind of ["dragover", "drop"])
              stage.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        base64.b64encode(data).decode(),
    )
    if wait:
        wait_for_picture(page)


def printed(text: str) -> str:
    """A text with the signs of the page."""
    return text.replace(" x ", " \N{MULTIPLICATION SIGN} ").replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")


def wait_for_picture(page: Page, width: int = SIZE[0]) -> None:
    page.wait_for_function("width => window.safelight.form.editor?.size?.width === width", arg=width)
    page.wait_for_function("window.safelight.form.editor.scene.view.width > 0")


def value(page: Page, expression: str) -> Any:
    return page.evaluate(f"window.safelight.form.{expression}")


def canvas(page: Page) -> Locator:
    return page.locator("#sl-editor .sl-editor-stage")


def paint_with_lasso(page: Page) -> None:
    """Mark the middle of the picture."""
    box = canvas(page).bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    corners = [(-60, -60), (60, -60), (60, 60), (-60, 60)]
    page.keyboard.press("l")
    page.mouse.move(middle[0] + corners[0][0], middle[1] + corners[0][1])
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(middle[0] + x, middle[1] + y, steps=4)
    page.mouse.up()
    page.wait_for_function("window.safelight.form.editor.mode === 'inpaint'")


def mask_bytes(page: Page) -> str:
    text: str = page.evaluate(
        """async () => {
            const blob = await window.safelight.form.editor.mask();
            return blob && String.fromCharCode(...new Uint8Array(await blob.arrayBuffer()).slice(0, 40000));
        }"""
    )
    return text


def draw(page: Page, prompt: str) -> str:
    """Draw with the edited picture; returns the job."""
    fill_prompt(page, prompt, steps=2, count=1, strength=1)
    with page.expect_response(
        lambda answer: answer.url.endswith("/v1/jobs") and answer.status == 202
    ) as sent:
        page.locator("#sl-draw-button").click()
    job: str = sent.value.json()["id"]
    return job


def edit_button(page: Page, name: str) -> Locator:
    return page.locator(f'[data-edit="{name}"]')


def test_the_editor_fills_the_stage_and_gives_way_without_loss(desktop: Page) -> None:
    page = desktop
    drop_on_stage(page, photograph())
    area, pane = canvas(page).bounding_box(), page.locator("#sl-stage").bounding_box()
    assert area is not None
    assert pane is not None
    assert area["width"] == pane["width"]
    assert area["height"] > 0.7 * pane["height"]
    expect(page.locator(".sl-strip")).to_be_in_viewport(ratio=1)
    expect(page.locator("#sl-strength")).to_be_visible()
    paint_with_lasso(page)
    before = mask_bytes(page)
    page.keyboard.press("Escape")
    expect(page.locator(".sl-editing")).to_be_hidden()
    expect(page.locator(".sl-stage-job")).to_be_visible()
    expect(page.locator("#sl-start-picture")).to_contain_text(printed("1,600 x 1,200"))
    page.locator("#sl-start-picture").get_by_role("button", name="Edit").click()
    expect(canvas(page)).to_be_visible()
    assert mask_bytes(page) == before
    page.locator(".sl-strip-picture").first.click()
    expect(page.locator(".sl-editing")).to_be_hidden()
    assert mask_bytes(page) == before


def test_the_button_in_the_form_starts_from_a_chosen_file(desktop: Page) -> None:
    page = desktop
    page.evaluate("window.safelight.form.openAccordion('edit')")
    page.locator("#sl-start-picture").get_by_role("button", name="Start from a picture").click()
    with page.expect_file_chooser() as chooser:
        page.locator("#sl-editor").get_by_role("button", name="Choose a file").click()
    chooser.value.set_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": photograph()})
    wait_for_picture(page)
    page.locator("#sl-start-picture").get_by_role("button", name="Remove the picture").click()
    expect(page.locator("#sl-editor .sl-editor-drop")).to_be_visible()
    assert value(page, "editor.picture") is None


def test_files_are_dropped_on_stage_and_form_and_pasted(
    desktop: Page, studio: ServeProcess, generated: str, tmp_path: Path
) -> None:
    page = desktop
    photo, drawn = tmp_path / "photo.jpg", tmp_path / "drawn.png"
    photo.write_bytes(photograph())
    [entry] = studio.job(generated)["result"]["pictures"]
    drawn.write_bytes(studio.request("GET", f"/v1/gallery/{entry['id']}/file").content)
    drop_files(page.locator("#sl-stage"), photo)
    wait_for_picture(page)
    expect(canvas(page)).to_be_in_viewport(ratio=0.9)
    drop_files(page.locator("#sl-form"), drawn)
    expect(page.locator("#sl-prompt textarea")).to_have_value("a round window, flat style")
    assert value(page, "editor.picture") is None, "its parameters start from nothing"
    page.locator("#sl-stage").click(position={"x": 5, "y": 5})
    paste_picture(page, drawn.read_bytes())
    wait_for_picture(page, 128)
    page.evaluate("window.safelight.form.reset()")


def test_the_size_is_said_and_chosen_and_sent(desktop: Page, studio: ServeProcess) -> None:
    page = desktop
    drop_on_stage(page, photograph())
    words, select = page.locator(".sl-editing-size"), page.get_by_label("Size to draw in")
    expect(words).to_have_text(printed("1,600 x 1,200 → 184 x 136: limited by the checkpoint's size"))
    assert (value(page, "values.width"), value(page, "values.height")) == (184, 136)
    select.select_option("own")
    expect(words).to_have_text(printed("1,600 x 1,200, the size stays"))
    assert (value(page, "values.width"), value(page, "values.height")) == (1600, 1200)
    select.select_option("0.25")
    expect(words).to_have_text(printed("1,600 x 1,200 → 400 x 304"))
    page.evaluate("window.safelight.form.fill({width: 128, height: 128})")
    expect(words).to_have_text(printed("1,600 x 1,200 → 128 x 128, cut to this shape"))
    expect(select).to_have_value("custom")
    job = draw(page, "a plum, flat style")
    sent = studio.job(job)["request"]
    assert (sent["width"], sent["height"]) == (128, 128)
    expect(edit_button(page, "keep")).to_be_visible(timeout=GENERATION_TIMEOUT)
    edit_button(page, "discard").click()
    paint_with_lasso(page)
    expect(words).to_have_text(printed("1,600 x 1,200 stays; drawn in 128 x 128 and scaled to fit"))
    page.evaluate("window.safelight.form.fill({'inpaint.only_masked': true})")
    expect(words).to_have_text(printed("1,600 x 1,200 stays; the painted part is drawn in 128 x 128"))
    page.evaluate("window.safelight.form.fill({'inpaint.only_masked': false})")
    page.evaluate("window.safelight.form.editor.setOutpaint({ right: 400 })")
    expect(words).to_contain_text(printed("1,600 x 1,200 → 2,000 x 1,200; drawn in"))
    page.evaluate("window.safelight.form.reset()")


def test_a_result_is_compared_discarded_made_again_and_kept(desktop: Page, studio: ServeProcess) -> None:
    page = desktop
    drop_on_stage(page, photograph())
    paint_with_lasso(page)
    painted = mask_bytes(page)
    first = draw(page, "a green pear, flat style")
    expect(edit_button(page, "keep")).to_be_visible(timeout=GENERATION_TIMEOUT)
    result = page.locator(".sl-editor-result-image")
    entry = studio.job(first)["result"]["pictures"][0]["id"]
    expect(result).to_have_attribute("src", f"/v1/gallery/{entry}/file")
    shown, scale = page.locator(".sl-editor-result").bounding_box(), value(page, "editor.scene.view.scale")
    assert shown is not None
    assert (shown["width"], shown["height"]) == pytest.approx((1600 * scale, 1200 * scale), abs=1)
    page.get_by_label("How much of the result is shown").fill("30")
    assert result.evaluate("image => getComputedStyle(image).clipPath").startswith("inset(0px 0px 0px 70%")

    edit_button(page, "discard").click()
    expect(page.locator(".sl-editor-result")).to_be_hidden()
    assert mask_bytes(page) == painted

    second = draw(page, "a green pear, flat style")
    expect(edit_button(page, "again")).to_be_visible(timeout=GENERATION_TIMEOUT)
    with page.expect_response(
        lambda answer: answer.url.endswith("/v1/jobs") and answer.status == 202
    ) as sent:
        edit_button(page, "again").click()
    third = sent.value.json()["id"]
    page.wait_for_function(
        "id => window.safelight.jobStore.jobs.get(id)?.state === 'succeeded'",
        arg=third,
        timeout=GENERATION_TIMEOUT,
    )
    assert (
        studio.job(second)["result"]["pictures"][0]["seed"]
        != studio.job(third)["result"]["pictures"][0]["seed"]
    )
    last = studio.job(third)["result"]["pictures"][0]["id"]
    expect(result).to_have_attribute("src", f"/v1/gallery/{last}/file")

    edit_button(page, "keep").click()
    page.wait_for_function("id => window.safelight.form.editor.parent === id", arg=last)
    assert value(page, "editor.mode") == "image"
    assert value(page, "editor.size") == {"width": 1600, "height": 1200}
    fourth = draw(page, "a green pear, flat style")
    expect(edit_button(page, "keep")).to_be_visible(timeout=GENERATION_TIMEOUT)
    child = studio.job(fourth)["result"]["pictures"][0]["id"]
    made = studio.request("GET", f"/v1/gallery/{child}").json()
    assert (made["parent_id"], made["relation"]) == (last, "edit")
    page.evaluate("window.safelight.form.reset()")


def test_a_stopped_job_gives_the_picture_and_its_mask_back(desktop: Page) -> None:
    page = desktop
    drop_on_stage(page, photograph())
    paint_with_lasso(page)
    fill_prompt(page, "a long job, flat style", steps=1000, count=1, strength=1)
    page.locator("#sl-draw-button").click()
    expect(edit_button(page, "go_on")).to_be_visible()
    expect(page.locator(".sl-editor-toolbar")).to_be_hidden()
    page.locator(".sl-edit-buttons").get_by_role("button", name="Stop").or_(
        page.locator(".sl-edit-buttons").get_by_role("button", name="Cancel")
    ).click()
    expect(page.locator(".sl-editor-toolbar")).to_be_visible(timeout=GENERATION_TIMEOUT)
    assert value(page, "editor.mode") == "inpaint"
    page.evaluate("window.safelight.form.reset()")


def test_a_gallery_picture_brings_its_prompt(desktop: Page, studio: ServeProcess, generated: str) -> None:
    page = desktop
    fill_prompt(page, "what I typed", seed="77", steps=9)
    on_stage(strip_job(page, generated)).locator('[data-action="edit"]').click()
    wait_for_picture(page, 128)
    page.wait_for_function("window.safelight.form.values.prompt === 'a round window, flat style'")
    values = value(page, "values")
    assert (values["negative_prompt"], values["sampler"], values["steps"]) == ("dark", "Euler", 3)
    assert values["seed"] == "77", "not its seed"
    entry = studio.job(generated)["result"]["pictures"][0]["id"]
    assert value(page, "editor.parent") == entry
    page.locator(".sl-toast").get_by_role("button", name="Undo").click()
    assert (value(page, "values.prompt"), value(page, "values.steps")) == ("what I typed", 9)
    assert value(page, "editor.size") == {"width": 128, "height": 128}
    page.evaluate("window.safelight.form.reset()")


def test_a_dropped_picture_offers_its_prompt_if_one_was_typed(
    desktop: Page, studio: ServeProcess, generated: str
) -> None:
    page = desktop
    entry = studio.job(generated)["result"]["pictures"][0]["id"]
    data = studio.request("GET", f"/v1/gallery/{entry}/file").content
    fill_prompt(page, "what I typed")
    page.locator("#sl-editor input[type=file]").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": data}
    )
    page.get_by_role("button", name="Use it").click()
    page.wait_for_function("window.safelight.form.values.prompt === 'a round window, flat style'")
    page.evaluate("window.safelight.form.reset()")


def test_picture_mask_and_result_survive_a_reload(desktop: Page, studio: ServeProcess) -> None:
    page = desktop
    drop_on_stage(page, photograph())
    paint_with_lasso(page)
    page.evaluate("window.safelight.form.editor.blur = 11")
    painted = mask_bytes(page)
    size = value(page, "values.width"), value(page, "values.height")
    wait_until_stored(page, "edits => edits?.mask && edits.blur === 11")
    reload(page)
    wait_for_picture(page)
    expect(canvas(page)).to_be_visible()
    assert mask_bytes(page) == painted
    assert value(page, "editor.blur") == 11
    assert (value(page, "values.width"), value(page, "values.height")) == size
    job = draw(page, "a blue cup, flat style")
    wait_until_stored(page, f"edits => edits?.job === '{job}'")
    reload(page)
    expect(edit_button(page, "keep")).to_be_visible(timeout=GENERATION_TIMEOUT)
    edit_button(page, "discard").click()
    page.locator("[data-name=clear]").click()
    page.evaluate("window.safelight.form.editor.setOutpaint({ left: 64 })")
    wait_until_stored(page, "edits => edits?.sides.left === 64")
    reload(page)
    wait_for_picture(page)
    assert value(page, "editor.outpaint") == {"left": 64, "right": 0, "top": 0, "bottom": 0}
    page.locator("[data-name=remove]").click()
    wait_until_stored(page, "edits => edits === undefined")
    reload(page)
    page.wait_for_function("!!window.safelight.form.editor")
    assert value(page, "editor.picture") is None


def test_a_browser_without_a_database_says_so_and_works(page: Page, studio: ServeProcess) -> None:
    private = page.context.new_page()
    private.add_init_script(
        "IDBFactory.prototype.open = () => { throw new DOMException('none', 'SecurityError'); }"
    )
    open_with_editor(private, studio)
    drop_on_stage(private, photograph())
    expect(private.locator(".sl-editing-note")).to_have_text(
        "This browser cannot keep the picture over a reload."
    )
    paint_with_lasso(private)
    expect(private.locator(".sl-toast.sl-error")).to_have_count(0)
    private.close()


def test_touch_paints_and_the_result_is_in_the_pane_of_pictures(phone: Page, studio: ServeProcess) -> None:
    page = open_with_editor(phone, studio)
    page.locator('.sl-pane-switch [data-pane="stage"]').tap()
    drop_on_stage(page, photograph())
    for button in page.locator(".sl-editor-toolbar .sl-button:visible, .sl-editing-done").all():
        box = button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44, button.get_attribute("data-name")
    box = canvas(page).bounding_box()
    assert box is not None
    assert box["height"] > 240
    fingers = page.context.new_cdp_session(page)
    at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for kind, by in (("touchStart", 0), ("touchMove", 20), ("touchMove", 40)):
        fingers.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": at[0] + by, "y": at[1]}]}
        )
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function("window.safelight.form.editor.mode === 'inpaint'")
    page.locator('.sl-pane-switch [data-pane="form"]').click()
    fill_prompt(page, "a red star, flat style", steps=2, count=1, strength=1)
    page.locator("#sl-draw-button").click()
    expect(edit_button(page, "keep")).to_be_in_viewport(ratio=1, timeout=GENERATION_TIMEOUT)
    edit_button(page, "discard").click()
    expect(canvas(page)).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Done").click()
    expect(canvas(page)).to_be_hidden()
    page.evaluate("window.safelight.form.reset()")


def reload(page: Page) -> None:
    page.reload()
    page.wait_for_function("window.safelight?.form.ready && !!window.safelight.form.editor")


def wait_until_stored(page: Page, condition: str) -> None:
    """Wait until what the browser keeps of the edits meets a condition."""
    wait_for(
        lambda: page.evaluate(
            """async (condition) => {
                const database = await new Promise((resolve, reject) => {
                    const request = indexedDB.open("safelight.editor", 1);
                    request.onupgradeneeded = () => request.result.createObjectStore("edited");
                    request.onsuccess = () => resolve(request.result);
                    request.onerror = () => reject(request.error);
                });
                const edits = await new Promise((resolve) => {
                    const request = database.transaction("edited").objectStore("edited").get("edits");
                    request.onsuccess = () => resolve(request.result);
                });
                database.close();
                return !!window.eval(`(${condition})`)(edits);
            }""",
            condition,
        )
    )


def test_a_file_that_is_dropped_before_the_editor_is_loaded_is_edited(
    page: Page, studio: ServeProcess
) -> None:
    page = page.context.new_page()  # the route stays for as long as its page
    waiting: list[Route] = []
    page.route("**/stage/editing.js", lambda route: waiting.append(route))
    open_page(page, studio.url)
    drop_on_stage(page, photograph(), wait=False)
    assert page.evaluate("!window.safelight.form.editor")
    page.wait_for_timeout(0)
    waiting[0].continue_()
    wait_for_picture(page)
    expect(canvas(page)).to_be_visible()


def generate_again(page: Page, job: str, key: str) -> str:
    """Press a key that submits a job on the image of another one; returns the new job."""
    expect(on_stage(strip_job(page, job)).get_by_role("toolbar", name="Actions")).to_be_visible()
    with page.expect_response(
        lambda answer: answer.url.endswith("/v1/jobs") and answer.status == 202
    ) as sent:
        page.keyboard.press(key)
    found: str = sent.value.json()["id"]
    return found


def test_an_edited_image_is_generated_again_from_the_same_picture_and_mask(
    desktop: Page, studio: ServeProcess, generated: str
) -> None:
    page = desktop
    source = studio.job(generated)["result"]["pictures"][0]["id"]
    expect(on_stage(strip_job(page, generated)).get_by_role("toolbar", name="Actions")).to_be_visible()
    page.keyboard.press("e")
    wait_for_picture(page, 128)
    first = draw(page, "a round door, flat style")
    expect(edit_button(page, "keep")).to_be_visible(timeout=GENERATION_TIMEOUT)
    edit_button(page, "discard").click()
    paint_with_lasso(page)
    masked = draw(page, "a round gate, flat style")
    expect(edit_button(page, "keep")).to_be_visible(timeout=GENERATION_TIMEOUT)
    page.keyboard.press("Escape")
    open_page(page, studio.url)  # nothing of it is in the page's memory
    for job in (first, masked):
        asked = studio.job(job)
        again = generate_again(page, job, "s")
        wait_for(lambda: studio.have_ended(again))  # noqa: B023
        found = studio.job(again)
        assert (found["state"], found["parent"]) == ("succeeded", source), found["error"]
        for name in ("init_image", "mask", "seed", "strength"):
            assert found["request"].get(name) == asked["request"].get(name), name
        one, other = (
            Image.open(
                io.BytesIO(
                    studio.request("GET", f"/v1/gallery/{each['result']['pictures'][0]['id']}/file").content
                )
            )
            for each in (asked, found)
        )
        assert one.tobytes() == other.tobytes()
    varied = studio.job(generate_again(page, again, "v"))["request"]
    assert varied["variation"]["same_seed"] is True
    assert varied["mask"] == studio.job(masked)["request"]["mask"]
    page.evaluate(
        "() => new Promise((then) => (indexedDB.deleteDatabase('safelight.inputs').onsuccess = then))"
    )
    expect(on_stage(strip_job(page, masked)).get_by_role("toolbar", name="Actions")).to_be_visible()
    page.keyboard.press("s")
    expect(page.locator(".sl-toast.sl-error")).to_contain_text("This was drawn with a mask")


def with_segmentation(route: Route) -> None:
    """The server's preprocessors, with a model for masks of objects."""
    listed = route.fetch().json()
    others = [each for each in listed["preprocessors"] if each["name"] != "object_mask"]
    model = {"name": "object_mask", "title": "Mask of an object", "description": "", "extra": ""}
    there = model | {"available": True, "runs_in_worker": True, "parameters": []}
    route.fulfill(json={"preprocessors": [*others, there]})


def test_a_press_picks_out_what_is_there(page: Page, studio: ServeProcess) -> None:
    asked: list[list[dict[str, Any]]] = []

    def segment(route: Route) -> None:
        body = (route.request.post_data_buffer or b"").rpartition(b'{"points":')[2]
        points = json.JSONDecoder().raw_decode(body.decode("latin-1"))[0]
        asked.append(points)
        mask = Image.new("L", SIZE)
        for point in points:
            x, y = point["x"], point["y"]
            fill = 255 if point["inside"] else 0
            ImageDraw.Draw(mask).ellipse((x - 100, y - 100, x + 100, y + 100), fill=fill)
        buffer = io.BytesIO()
        mask.save(buffer, "PNG")
        route.fulfill(body=buffer.getvalue(), content_type="image/png")

    page.route("**/v1/preprocessors", with_segmentation)
    page.route("**/v1/segment", segment)
    open_with_editor(page, studio)
    drop_on_stage(page, photograph())
    tool = page.get_by_role("button", name="Pick out")
    expect(tool).to_be_visible()
    page.keyboard.press("w")
    expect(tool).to_have_attribute("aria-pressed", "true")
    box = canvas(page).bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.click(*middle)
    page.wait_for_function("window.safelight.form.editor.mode === 'inpaint'")
    first = mask_bytes(page)
    with page.expect_response("**/v1/segment"):
        page.keyboard.down("Shift")
        page.mouse.click(middle[0] + 30, middle[1])
        page.keyboard.up("Shift")
    expect(page.locator(".sl-segmenting")).to_have_count(0)
    assert [point["inside"] for point in asked[-1]] == [True, False]
    assert abs(asked[-1][0]["x"] - SIZE[0] / 2) < 4
    assert mask_bytes(page) != first
    page.keyboard.press("Control+z")
    assert mask_bytes(page) == first
    with page.expect_response("**/v1/segment"):
        page.mouse.click(middle[0], middle[1] + 60)
    assert len(asked[-1]) == 1, "what was painted or undone since begins anew"
