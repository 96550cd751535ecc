"""The image editor in a real browser: brush, lasso and fill by mouse, pen, fingers and keys, and handles."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, BrowserContext, Locator, Page

from safelight.ui.form_fields import controls_json

SIZE = (320, 240)
HARNESS = """<!doctype html><html lang="en"><title>Editor</title>
<link rel="stylesheet" href="style.css"><link rel="stylesheet" href="editor.css">
<textarea aria-label="elsewhere"></textarea>
<main id="editor" style="width: 700px; max-width: 100%; height: 700px"></main>
<script type="application/json" id="sl-fields">FIELDS</script>
<script type="module">
  import { base64 } from "./core/api.js";
  import { Editor } from "./editor.js";
  window.bytes = async (blob) => blob && base64(blob);
  window.blob = (text, type) => new Blob([Uint8Array.from(atob(text), (each) => each.charCodeAt(0))], { type });
  window.renew = () => {
    if (window.editor instanceof Editor) window.editor.destroy(); // at first it is the element with this id
    document.querySelectorAll(".sl-toast").forEach((toast) => toast.remove());
    document.querySelector("textarea").value = "";
    window.changes = 0;
    window.sizes = [];
    window.editor = new Editor(document.querySelector("#editor"), {
      onchange: () => window.changes++, onsize: ({ width, height }) => window.sizes.push([width, height]) });
  };
  window.renew();
</script></html>""".replace("FIELDS", controls_json())


@pytest.fixture(scope="module")
def opened(shared_context: BrowserContext, static_url: str) -> Iterator[Page]:
    """A page of all tests, for one editor after the other: to open it takes longer than most tests."""
    page = open_editor(shared_context.new_page(), static_url)
    yield page
    page.close()


@pytest.fixture
def editor(context: BrowserContext, opened: Page) -> Page:
    """A page with an empty editor."""
    opened.mouse.move(0, 0)
    opened.evaluate("renew()")
    return opened


@pytest.fixture
def shown(editor: Page) -> Page:
    """A page with an image in the editor."""
    put_image(editor, png())
    return editor


def open_editor(page: Page, static_url: str) -> Page:
    page.route("**/editor-harness.html", lambda route: route.fulfill(body=HARNESS, content_type="text/html"))
    page.goto(f"{static_url.rstrip('/')}/editor-harness.html")
    page.wait_for_function("!!window.editor?.setPicture")
    return page


def png(size: tuple[int, int] = SIZE, colour: str = "teal") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def put_image(page: Page, data: bytes) -> None:
    page.evaluate("text => editor.setPicture(blob(text, 'image/png'))", base64.b64encode(data).decode())
    wait_for_frame(page)


def wait_for_frame(page: Page) -> None:
    """Wait until the next frame has been rendered."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def mask(page: Page) -> Image.Image | None:
    text = page.evaluate("async () => bytes(await editor.mask())")
    return text and Image.open(io.BytesIO(base64.b64decode(text)))


def painted_fraction(page: Page) -> float:
    """The painted fraction of the image."""
    found = mask(page)
    return 0.0 if found is None else found.convert("L").histogram()[255] / (found.width * found.height)


def position_of(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the image is on the page, while all of it is shown."""
    box = page.locator(".sl-editor-stage").bounding_box()
    size = page.evaluate("editor.size")
    scale = min((box["width"] - 24) / size["width"], (box["height"] - 24) / size["height"])
    left = box["x"] + (box["width"] - size["width"] * scale) / 2
    top = box["y"] + (box["height"] - size["height"] * scale) / 2
    return left + x * scale, top + y * scale


def stroke(page: Page, *points: tuple[float, float]) -> None:
    page.mouse.move(*position_of(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*position_of(page, *point), steps=8)
    page.mouse.up()
    wait_for_frame(page)


def tool(page: Page, name: str) -> None:
    page.locator(f"[data-name={name}]").click(force=True)  # also where it is disabled
    wait_for_frame(page)


def state(page: Page, expression: str) -> object:
    return page.evaluate(f"editor.{expression}")


def test_it_is_empty_at_first(editor: Page) -> None:
    assert state(editor, "mode") == "none"
    assert [state(editor, name) for name in ("picture", "size", "outpaint", "blur")] == [None, None, None, 4]
    assert mask(editor) is None
    assert editor.locator(".sl-editor-drop").is_visible()
    assert not editor.locator(".sl-editor-work").is_visible()


def test_the_files_bytes_are_unchanged(shown: Page) -> None:
    assert base64.b64decode(shown.evaluate("bytes(editor.picture)")) == png()
    assert state(shown, "size") == {"width": 320, "height": 240}
    assert state(shown, "mode") == "image"
    assert shown.evaluate("changes") == 1


def test_a_chosen_file_is_shown(editor: Page, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(png((64, 32)))
    editor.locator("input[type=file]").set_input_files(tmp_path / "picture.png")
    editor.wait_for_function("editor.size?.width === 64")
    assert editor.locator(".sl-editor-stage").is_visible()


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(editor: Page, way: str) -> None:
    editor.evaluate(
        """([way, text]) => {
            const data = new DataTransfer();
            data.items.add(new File([blob(text)], "picture.png", { type: "image/png" }));
            const init = { bubbles: true, cancelable: true };
            const event = way === "drop" ? new DragEvent("drop", { ...init, dataTransfer: data })
              : new ClipboardEvent("paste", { ...init, clipboardData: data });
            (way === "drop" ? document.querySelector("#editor") : document.body).dispatchEvent(event);
        }""",
        [way, base64.b64encode(png((48, 48))).decode()],
    )
    editor.wait_for_function("editor.size?.width === 48")


def test_an_unreadable_file_changes_nothing_and_shows_an_error(shown: Page) -> None:
    stroke(shown, (100, 100), (200, 100))
    before = painted_fraction(shown)
    shown.evaluate("editor.setPicture(new Blob(['no picture'], { type: 'image/png' }))")
    assert shown.locator(".sl-toast.sl-error").is_visible()
    assert state(shown, "size") == {"width": 320, "height": 240}
    assert painted_fraction(shown) == before > 0


def test_the_last_of_two_pictures_wins(editor: Page) -> None:
    editor.evaluate(
        "([one, other]) => Promise.all([editor.setPicture(blob(one)), editor.setPicture(blob(other))])",
        [base64.b64encode(png(size)).decode() for size in ((3000, 2000), (40, 30))],
    )
    assert state(editor, "size") == {"width": 40, "height": 30}


def test_a_stroke_is_white_where_it_went_and_black_elsewhere(shown: Page) -> None:
    stroke(shown, (80, 120), (240, 120))
    found = mask(shown)
    assert found is not None
    assert found.size == SIZE
    grey = found.convert("RGBA")
    assert grey.getchannel("A").getextrema() == (255, 255)
    assert {grey.getpixel((x, 120)) for x in range(80, 241, 20)} == {(255, 255, 255, 255)}
    assert {grey.getpixel(point) for point in ((10, 10), (310, 230), (160, 60), (160, 180), (20, 120))} == {
        (0, 0, 0, 255)
    }
    assert state(shown, "mode") == "inpaint"


def test_the_mask_is_shown_over_the_image(shown: Page) -> None:
    before = Image.open(io.BytesIO(shown.screenshot()))
    stroke(shown, (80, 120), (240, 120))
    after = Image.open(io.BytesIO(shown.screenshot()))
    inside, outside = position_of(shown, 160, 120), position_of(shown, 160, 40)
    assert after.getpixel(tuple(map(round, inside))) != before.getpixel(tuple(map(round, inside)))
    assert after.getpixel(tuple(map(round, outside))) == before.getpixel(tuple(map(round, outside)))
    tool(shown, "hide")
    shown.mouse.move(0, 0)
    hidden = Image.open(io.BytesIO(shown.screenshot()))
    assert hidden.getpixel(tuple(map(round, inside))) == before.getpixel(tuple(map(round, inside)))


def test_shift_click_draws_a_straight_line(shown: Page) -> None:
    stroke(shown, (40, 40), (41, 40))
    shown.keyboard.down("Shift")
    stroke(shown, (280, 200))
    shown.keyboard.up("Shift")
    found = mask(shown)
    assert {found.getpixel((40 + 12 * step, 40 + 8 * step))[:1] for step in range(20)} == {(255,)}


def test_the_eraser_removes_paint(shown: Page) -> None:
    stroke(shown, (80, 120), (240, 120))
    shown.keyboard.press("e")
    stroke(shown, (160, 60), (160, 180))
    found = mask(shown).convert("L")
    assert (found.getpixel((160, 120)), found.getpixel((90, 120))) == (0, 255)


def test_undo_and_redo(shown: Page) -> None:
    shares = [0.0]
    for y in (60, 120, 180):
        stroke(shown, (80, y), (240, y))
        shares.append(painted_fraction(shown))
    assert shares == sorted(set(shares))
    for share in reversed(shares[:-1]):
        shown.keyboard.press("Control+z")
        assert painted_fraction(shown) == share
    assert state(shown, "mode") == "image"
    assert shown.locator("[data-name=undo]").get_attribute("aria-disabled") == "true"
    for share in shares[1:]:
        shown.keyboard.press("Control+Shift+z")
        assert painted_fraction(shown) == share
    shown.keyboard.press("Control+z")
    stroke(shown, (20, 20), (40, 20))
    assert shown.locator("[data-name=redo]").get_attribute("aria-disabled") == "true"


def test_the_undo_history_is_bounded_and_small(shown: Page) -> None:
    kept = shown.evaluate("""async () => {
        const { Mask } = await import("./editor/mask.js");
        const mask = new Mask({ width: 2048, height: 2048 });
        for (let step = 0; step < 70; step++) {
            mask.begin({ x: 100, y: 20 + step * 25, width: 200 }, false);
            mask.extend({ x: 1900, y: 20 + step * 25, width: 200 });
            mask.end();
        }
        let steps = 0;
        for (; mask.canUndo; steps++) mask.undo();
        return [steps, mask.empty];
    }""")
    assert kept == [50, False]


def test_the_mask_is_inverted_and_cleared(shown: Page) -> None:
    stroke(shown, (80, 120), (240, 120))
    before = painted_fraction(shown)
    tool(shown, "invert")
    found = mask(shown).convert("L")
    assert (found.getpixel((160, 120)), found.getpixel((5, 5))) == (0, 255)
    tool(shown, "invert")
    assert painted_fraction(shown) == before
    tool(shown, "clear")
    assert mask(shown) is None
    tool(shown, "undo")
    assert painted_fraction(shown) == before


def test_the_brush_size_is_set_by_keys_and_slider(shown: Page) -> None:
    stroke(shown, (80, 120), (240, 120))
    usual = painted_fraction(shown)
    tool(shown, "clear")
    for _ in range(4):
        shown.keyboard.press("]")
    stroke(shown, (80, 120), (240, 120))
    assert painted_fraction(shown) > usual * 1.8
    tool(shown, "clear")
    shown.locator(".sl-editor-slider input").first.fill("0")
    stroke(shown, (80, 120), (240, 120))
    assert 0 < painted_fraction(shown) < usual / 4


def test_softness_is_a_number_of_pixels(shown: Page) -> None:
    shown.locator(".sl-editor-slider input").nth(1).fill("17")
    assert state(shown, "blur") == 17
    assert shown.evaluate("changes") == 2


def test_a_pen_paints_by_pressure_and_erases_with_its_other_end(shown: Page) -> None:
    tablet = shown.context.new_cdp_session(shown)

    def drawn(force: float, buttons: int = 1, button: str = "left") -> None:
        for kind, x in (
            ("mousePressed", 80),
            ("mouseMoved", 160),
            ("mouseMoved", 240),
            ("mouseReleased", 240),
        ):
            across, down = position_of(shown, x, 120)
            tablet.send(
                "Input.dispatchMouseEvent",
                {"type": kind, "x": across, "y": down, "button": button, "buttons": buttons, "clickCount": 1}
                | {"pointerType": "pen", "force": force},
            )
        wait_for_frame(shown)

    drawn(0.1)
    light = painted_fraction(shown)
    tool(shown, "clear")
    drawn(1)
    assert painted_fraction(shown) > 1.8 * light > 0


def test_one_finger_paints_and_two_pan_and_zoom(browser: Browser, static_url: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 800}, has_touch=True)
    problems: list[str] = []
    context.on("weberror", lambda error: problems.append(str(error.error)))
    phone = open_editor(context.new_page(), static_url)
    put_image(phone, png())
    fingers = context.new_cdp_session(phone)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        touched = [{"x": x, "y": y, "id": place} for place, (x, y) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})

    touch("touchStart", position_of(phone, 80, 120))
    for x in range(90, 241, 10):
        touch("touchMove", position_of(phone, x, 120))
    touch("touchEnd")
    found = mask(phone).convert("L")
    assert (found.getpixel((160, 120)), found.getpixel((160, 30))) == (255, 0)
    before = painted_fraction(phone)

    one, other = position_of(phone, 120, 60), position_of(phone, 200, 60)
    touch("touchStart", one)
    touch("touchStart", one, other)
    for step in range(1, 9):
        touch("touchMove", (one[0] - 5 * step, one[1]), (other[0] + 5 * step, other[1]))
    touch("touchEnd")
    wait_for_frame(phone)
    assert painted_fraction(phone) == before
    assert phone.evaluate("editor.scene.view.fitted") is False
    context.close()
    assert not problems


def test_painting_by_keyboard(shown: Page) -> None:
    stage = shown.locator(".sl-editor-stage")
    stage.focus()
    shown.keyboard.press("Space")
    assert state(shown, "mode") == "image", "the cursor is not there yet"
    shown.keyboard.press("ArrowRight")
    assert shown.locator(".sl-editor-ring.sl-keyed").is_visible()
    shown.keyboard.press("Space")
    found = mask(shown).convert("L")
    assert (found.getpixel((160, 120)), found.getpixel((220, 120))) == (255, 0)
    for _ in range(4):
        shown.keyboard.press("Shift+ArrowRight")
    shown.keyboard.press("Enter")
    assert mask(shown).convert("L").getpixel((160 + round(160 / (676 / 320)), 120)) == 255
    shown.keyboard.press("e")
    shown.keyboard.press("Enter")
    shown.keyboard.press("Control+z")
    shown.keyboard.press("Control+z")
    assert mask(shown).convert("L").getpixel((220, 120)) == 0


def lasso(page: Page, *corners: tuple[float, float], alt: bool = False) -> None:
    """Draw around an area; the way back to the first corner is left out."""
    page.keyboard.press("l")
    if alt:
        page.keyboard.down("Alt")
    stroke(page, *corners)
    if alt:
        page.keyboard.up("Alt")


def test_the_lasso_closes_itself_and_subtracts_with_alt_or_the_eraser(shown: Page) -> None:
    lasso(shown, (60, 40), (260, 40), (260, 200), (60, 200))
    found = mask(shown).convert("L")
    assert [found.getpixel(point) for point in ((160, 120), (65, 120), (55, 120), (160, 35))] == [
        255,
        255,
        0,
        0,
    ]
    assert painted_fraction(shown) == pytest.approx(200 * 160 / (320 * 240), abs=0.02)
    assert shown.locator(".sl-editor-outline path").first.get_attribute("d") == ""
    lasso(shown, (60, 40), (160, 40), (160, 200), (60, 200), alt=True)
    found = mask(shown).convert("L")
    assert (found.getpixel((110, 120)), found.getpixel((210, 120))) == (0, 255)
    shown.keyboard.press("e")
    lasso(shown, (160, 40), (260, 40), (260, 120), (160, 120))
    found = mask(shown).convert("L")
    assert (found.getpixel((210, 80)), found.getpixel((210, 160))) == (0, 255)
    for _ in range(3):
        shown.keyboard.press("Control+z")
    assert mask(shown) is None
    assert state(shown, "mode") == "image"


def test_an_unfinished_lasso_is_discarded(shown: Page) -> None:
    shown.keyboard.press("l")
    shown.mouse.move(*position_of(shown, 60, 40))
    shown.mouse.down()
    shown.mouse.move(*position_of(shown, 260, 40), steps=4)
    shown.mouse.move(*position_of(shown, 260, 200), steps=4)
    assert shown.locator(".sl-editor-outline path").first.get_attribute("d") != ""
    shown.keyboard.press("Escape")
    shown.mouse.up()
    assert mask(shown) is None


def test_the_lasso_by_keyboard(shown: Page) -> None:
    shown.locator(".sl-editor-stage").focus()
    shown.keyboard.press("l")
    shown.keyboard.press("ArrowRight")  # the cursor appears in the centre
    for direction in ("ArrowRight", "ArrowDown", "ArrowLeft"):
        shown.keyboard.press("Enter")
        for _ in range(2):
            shown.keyboard.press(f"Shift+{direction}")
    shown.keyboard.press("Enter")
    shown.keyboard.press("Enter")  # the same corner again
    found = mask(shown).convert("L")
    assert (found.getpixel((170, 130)), found.getpixel((150, 110))) == (255, 0)


def two_colours() -> bytes:
    """A red square on a background of two similar blues."""
    image = Image.new("RGB", SIZE, (20, 40, 120))
    draw = ImageDraw.Draw(image)
    draw.rectangle((160, 0, 320, 240), fill=(20, 40, 140))
    draw.rectangle((40, 40, 119, 119), fill="red")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def click(page: Page, x: float, y: float) -> None:
    page.mouse.click(*position_of(page, x, y))
    wait_for_frame(page)


def set_tolerance(page: Page, percent: int) -> None:
    page.get_by_label("Tolerance").fill(str(percent))


def test_fill_marks_connected_similar_colours(editor: Page) -> None:
    put_image(editor, two_colours())
    editor.keyboard.press("g")
    click(editor, 80, 80)
    assert painted_fraction(editor) == 80 * 80 / (320 * 240), "only the red square"
    click(editor, 20, 20)
    assert painted_fraction(editor) == 1, "with the usual tolerance both blues"
    editor.keyboard.press("Control+z")
    set_tolerance(editor, 2)
    click(editor, 20, 20)
    assert painted_fraction(editor) == 0.5
    editor.keyboard.press("e")
    click(editor, 80, 80)
    found = mask(editor).convert("L")
    assert (found.getpixel((80, 80)), found.getpixel((20, 20))) == (0, 255)


def test_fill_with_full_tolerance_fills_what_the_mask_encloses(editor: Page) -> None:
    put_image(editor, two_colours())
    editor.locator(".sl-editor-slider input").first.fill("30")
    stroke(editor, (20, 20), (200, 20), (200, 200), (20, 200), (20, 20))
    editor.keyboard.press("g")
    set_tolerance(editor, 100)
    click(editor, 150, 150)
    found = mask(editor).convert("L")
    assert [found.getpixel(point) for point in ((150, 150), (80, 80), (190, 30))] == [255] * 3
    assert [found.getpixel(point) for point in ((250, 150), (10, 10))] == [0, 0]
    editor.keyboard.press("Control+z")
    assert mask(editor).convert("L").getpixel((150, 150)) == 0


def test_fill_by_keyboard(editor: Page) -> None:
    put_image(editor, two_colours())
    editor.locator(".sl-editor-stage").focus()
    editor.keyboard.press("g")
    editor.keyboard.press("ArrowLeft")
    editor.keyboard.press("Enter")
    assert painted_fraction(editor) == pytest.approx(1 - 80 * 80 / (320 * 240)), "all but the red square"


def test_the_wheel_zooms_while_painting(shown: Page) -> None:
    shown.mouse.move(*position_of(shown, 160, 120))
    shown.mouse.wheel(0, -300)
    wait_for_frame(shown)
    assert shown.evaluate("editor.scene.view.scale") > 1.5 * 676 / 320
    assert mask(shown) is None


def test_a_covered_picture_is_moved_but_not_painted_on(shown: Page) -> None:
    url = "data:image/png;base64," + base64.b64encode(png((32, 32), "red")).decode()
    shown.evaluate(
        """source => editor.showResult(
            { source, size: { width: 32, height: 32 }, fitted: true, blurred: false, name: "result" })""",
        url,
    )
    wait_for_frame(shown)
    box = shown.locator(".sl-editor-result").bounding_box()
    scale = shown.evaluate("editor.scene.view.scale")
    assert (box["width"], box["height"]) == pytest.approx((240 * scale, 240 * scale)), (
        "the centre that the server cuts out"
    )
    for key in ("g", "b"):
        shown.keyboard.press(key)
        stroke(shown, (80, 120), (240, 120))
    assert mask(shown) is None
    assert shown.evaluate("editor.scene.view.fitted") is False
    shown.evaluate("editor.showResult(null)")
    shown.locator("[data-name=fit]").click()
    stroke(shown, (80, 120), (240, 120))
    assert state(shown, "mode") == "inpaint"


def test_keys_outside_the_editor_are_ignored(shown: Page) -> None:
    shown.locator("textarea").press_sequentially("be []")
    assert shown.locator("textarea").input_value() == "be []"
    assert shown.locator("[data-name=brush]").get_attribute("aria-pressed") == "true"


def test_the_toolbar_is_one_tab_stop_with_arrow_keys_inside(shown: Page) -> None:
    assert shown.locator(".sl-editor-toolbar [tabindex='0']").count() == 1
    shown.locator("[data-name=brush]").focus()
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("Enter")
    assert shown.locator("[data-name=eraser]").get_attribute("aria-pressed") == "true"
    shown.keyboard.press("End")
    assert shown.evaluate("document.activeElement.dataset.name") == "remove"
    shown.keyboard.press("ArrowRight")
    assert shown.evaluate("document.activeElement.dataset.name") == "brush"


def test_space_and_drag_pans_and_paints_nothing(shown: Page) -> None:
    stroke(shown, (20, 20), (30, 20))
    before = painted_fraction(shown)
    shown.locator(".sl-editor-stage").focus()
    shown.keyboard.down("Space")
    stroke(shown, (160, 120), (200, 160))
    shown.keyboard.up("Space")
    assert painted_fraction(shown) == before
    assert shown.evaluate("editor.scene.view.fitted") is False


def test_the_brush_hits_the_pixels_below_it_when_zoomed_in(shown: Page) -> None:
    x, y = position_of(shown, 160, 120)
    shown.mouse.move(x, y)
    shown.keyboard.down("Control")
    shown.mouse.wheel(0, -700)
    shown.keyboard.up("Control")
    wait_for_frame(shown)
    assert shown.evaluate("editor.scene.view.scale") > 2.5 * 676 / 320
    shown.mouse.down()
    shown.mouse.up()
    found = mask(shown).convert("L")
    assert found.getpixel((160, 120)) == 255
    assert found.getbbox()[2] - found.getbbox()[0] < 40
    tool(shown, "fit")
    assert shown.evaluate("editor.scene.view.fitted") is True


def handle(page: Page, side: str) -> Locator:
    return page.locator(f".sl-editor-handle.sl-{side}")


def drag(page: Page, side: str, x: float, y: float) -> None:
    """Drag an edge by so many screen pixels."""
    box = handle(page, side).bounding_box()
    start = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + x, start[1] + y, steps=10)
    page.mouse.up()
    wait_for_frame(page)


def test_an_edge_is_dragged_outwards_in_steps_of_eight(shown: Page) -> None:
    tool(shown, "expand")
    scale = shown.evaluate("editor.scene.view.scale")
    drag(shown, "right", 50 * scale, 0)
    assert state(shown, "outpaint") == {"left": 0, "right": 48, "top": 0, "bottom": 0}
    assert state(shown, "mode") == "outpaint"
    assert shown.locator(".sl-editor-area").is_visible()
    assert handle(shown, "right").get_attribute("aria-valuenow") == "48"
    assert "48" in handle(shown, "right").inner_text()
    drag(shown, "right", -500, 0)
    assert state(shown, "outpaint") is None


def test_an_edge_goes_no_farther_than_twice_the_images_side(shown: Page) -> None:
    tool(shown, "expand")
    drag(shown, "top", 0, -5000)
    assert state(shown, "outpaint") == {"left": 0, "right": 0, "top": 480, "bottom": 0}
    area, stage = (shown.locator(each).bounding_box() for each in (".sl-editor-area", ".sl-editor-stage"))
    assert area["y"] >= stage["y"]
    assert area["y"] + area["height"] <= stage["y"] + stage["height"]


@pytest.mark.parametrize(
    ("side", "out", "back"),
    [
        ("left", "ArrowLeft", "ArrowRight"),
        ("right", "ArrowRight", "ArrowLeft"),
        ("top", "ArrowUp", "ArrowDown"),
        ("bottom", "ArrowDown", "ArrowUp"),
    ],
)
def test_edges_move_by_keys(shown: Page, side: str, out: str, back: str) -> None:
    tool(shown, "expand")
    handle(shown, side).focus()
    for key in (out, out, out, back):
        shown.keyboard.press(key)
    assert state(shown, f"outpaint.{side}") == 16
    shown.keyboard.press("Home")
    assert state(shown, "outpaint") is None


def test_a_mask_and_outpainting_exclude_each_other(shown: Page) -> None:
    stroke(shown, (80, 120), (240, 120))
    tool(shown, "expand")
    assert shown.locator("[data-name=expand]").get_attribute("aria-pressed") == "false"
    assert shown.locator("[data-name=expand]").get_attribute("aria-disabled") == "true"
    tool(shown, "clear")
    tool(shown, "expand")
    handle(shown, "left").press("ArrowLeft")
    tool(shown, "brush")
    assert shown.locator("[data-name=brush]").get_attribute("aria-pressed") == "false"
    tool(shown, "reset")
    assert state(shown, "outpaint") is None
    tool(shown, "brush")
    stroke(shown, (80, 120), (240, 120))
    assert state(shown, "mode") == "inpaint"


def test_mask_and_edges_are_restored(shown: Page) -> None:
    given = Image.new("L", SIZE, 0)
    given.paste(255, (40, 40, 120, 120))
    buffer = io.BytesIO()
    given.save(buffer, "PNG")
    shown.evaluate("text => editor.setMask(blob(text))", base64.b64encode(buffer.getvalue()).decode())
    assert mask(shown).convert("L").tobytes() == given.tobytes()
    shown.evaluate("editor.setOutpaint({ left: 30, top: 8 })")
    assert state(shown, "mode") == "outpaint"
    assert state(shown, "outpaint") == {"left": 32, "right": 0, "top": 8, "bottom": 0}
    assert mask(shown) is None
    shown.evaluate("text => editor.setMask(blob(text))", base64.b64encode(buffer.getvalue()).decode())
    assert (state(shown, "mode"), state(shown, "outpaint")) == ("inpaint", None)
    shown.evaluate("editor.setMask(null)")
    assert state(shown, "mode") == "image"


def test_the_size_to_generate_is_reported_for_a_new_image_and_moved_edges(shown: Page) -> None:
    def told() -> object:
        return shown.evaluate("sizes.splice(0)")

    assert told() == [[320, 240]]
    stroke(shown, (80, 120), (240, 120))
    tool(shown, "clear")
    tool(shown, "expand")
    assert told() == []
    drag(shown, "right", 50 * shown.evaluate("editor.scene.view.scale"), 0)
    assert told() == [[368, 240]]
    handle(shown, "top").press("ArrowUp")
    tool(shown, "reset")
    assert told() == [[368, 248], [320, 240]]
    shown.evaluate("editor.setPicture(null)")
    assert told() == []
    put_image(shown, png())
    put_image(shown, png())
    assert told() == [[320, 240], [320, 240]], "as often as a picture comes"


def test_a_mask_of_another_shape_shows_an_error(shown: Page) -> None:
    shown.evaluate("text => editor.setMask(blob(text))", base64.b64encode(png((64, 64), "white")).decode())
    assert shown.locator(".sl-toast.sl-error").is_visible()
    assert state(shown, "mode") == "image"


def test_the_mask_of_a_large_image_has_its_size(editor: Page) -> None:
    put_image(editor, png((6000, 4000)))
    stroke(editor, (1500, 2000), (4500, 2000))
    found = mask(editor)
    assert found.size == (6000, 4000)
    grey = found.convert("L")
    assert (grey.getpixel((3000, 2000)), grey.getpixel((3000, 500))) == (255, 0)
    assert editor.evaluate("Math.max(editor.scene.stage.querySelectorAll('canvas')[0].width)") <= 1400


def test_a_removed_image_can_be_restored_with_its_mask(shown: Page) -> None:
    stroke(shown, (80, 120), (240, 120))
    before = painted_fraction(shown)
    tool(shown, "remove")
    assert state(shown, "mode") == "none"
    assert shown.locator(".sl-editor-drop").is_visible()
    shown.locator(".sl-toast .sl-quiet").click()
    assert painted_fraction(shown) == before


def test_destroying_it_removes_everything(shown: Page) -> None:
    stroke(shown, (80, 120), (240, 120))
    shown.evaluate("editor.destroy()")
    wait_for_frame(shown)
    assert shown.evaluate("document.querySelector('#editor').outerHTML.length") < 120
