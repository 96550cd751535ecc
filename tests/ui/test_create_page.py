"""The web UI as a person uses it: a real browser with a complete Safelight installation and the starter model."""

from __future__ import annotations

import io
import re
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Request, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import choose_language, open_page
from tests.ui.generation import (
    GENERATION_TIMEOUT,
    fill_prompt,
    first_image_file,
    job_of,
    on_stage,
    strip_job,
    submit_prompt,
    wait_for_state,
)


def test_generate_and_watch_the_progress(open_studio: Page, studio: ServeProcess) -> None:
    page = open_studio
    shown = submit_prompt(page, "a (red apple:1.2), 3d style", steps=30, count=2, seed="7")
    stage = on_stage(shown)
    preview = stage.locator("img.sl-preview").first
    expect(preview).to_be_visible(timeout=GENERATION_TIMEOUT)
    first = preview.get_attribute("src")
    page.wait_for_function("([image, first]) => image.src !== first", arg=[preview.element_handle(), first])
    expect(stage.get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
    wait_for_state(shown, "succeeded")
    expect(stage.locator(".sl-frame img")).to_have_count(2)
    expect(stage.locator(".sl-badge")).to_have_text([re.compile("allowed")] * 2)
    seeds = [picture["seed"] for picture in job_of(studio, shown)["result"]["pictures"]]
    assert seeds == [7, 8]
    assert stage.locator(".sl-frame img").first.evaluate("image => image.naturalWidth") == 128


def test_weights_are_highlighted_and_tokens_counted(open_studio: Page) -> None:
    page = open_studio
    fill_prompt(page, "a (red apple:1.4), [table]")
    expect(page.locator("#sl-prompt mark.sl-more")).to_have_text("red apple")
    expect(page.locator("#sl-prompt mark.sl-less")).to_have_text("table")
    expect(page.locator("#sl-prompt-tokens")).to_contain_text(re.compile(r"\d+ of \d+ tokens"))
    fill_prompt(page, "a (red apple:oops")
    expect(page.locator("#sl-prompt mark")).to_have_count(0)


def test_stop(open_studio: Page) -> None:
    shown = submit_prompt(open_studio, "a dog, cartoon style", steps=100, count=8)
    wait_for_state(shown, "running")
    on_stage(shown).get_by_role("button", name="Stop").click()
    wait_for_state(shown, "cancelled")


def test_queue_three_and_cancel_the_middle_one(open_studio: Page, studio: ServeProcess) -> None:
    page = open_studio
    crowd = [studio.submit(5000 + seed, steps=1000) for seed in range(8)]  # as many as are batched
    first, second, third = (submit_prompt(page, f"a star {number}", steps=4, count=1) for number in range(3))
    stage = on_stage(second)
    expect(stage.locator(".sl-stage-status")).to_contain_text("in the queue")
    stage.get_by_role("button", name="Cancel").click()
    wait_for_state(second, "cancelled")
    for job_id in crowd:
        studio.request("DELETE", f"/v1/jobs/{job_id}")
    for other in (first, third):
        wait_for_state(other, "succeeded")
    assert job_of(studio, second)["started"] is None


def test_edit_with_a_painted_mask(open_studio: Page, studio: ServeProcess) -> None:
    page = open_studio
    before = Image.new("RGB", (128, 128), "white")
    before.paste("navy", (8, 8, 56, 120))
    buffer = io.BytesIO()
    before.save(buffer, "PNG")
    page.evaluate("dispatchEvent(new CustomEvent('sl:edit'))")
    page.locator("#sl-editor input[type=file]").set_input_files(
        {"name": "square.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    )
    stage = page.locator("#sl-editor .sl-editor-stage")
    box = stage.bounding_box()
    assert box is not None
    side = min(box["width"], box["height"]) - 24  # the image is square, and there is a margin
    across, middle = box["x"] + box["width"] / 2 + side * 0.25, box["y"] + box["height"] / 2
    page.locator("#sl-editor .sl-editor-slider input").first.fill("90")
    page.mouse.move(across, middle - side * 0.2)
    page.mouse.down()
    page.mouse.move(across, middle + side * 0.2, steps=8)
    page.mouse.up()
    shown = submit_prompt(page, "a red apple, 3d style", strength=1, steps=8, count=1, width=128, height=128)
    wait_for_state(shown, "succeeded")
    request = job_of(studio, shown)["request"]
    assert {"init_image", "mask", "inpaint"} <= set(request)
    after = np.asarray(Image.open(io.BytesIO(first_image_file(studio, shown))).convert("RGB")).astype(int)
    changed = np.abs(after - np.asarray(before).astype(int)).max(axis=-1) > 40
    assert changed[40:88, 80:112].mean() > 0.1, "what was painted is drawn anew"
    assert changed[:, :48].mean() < 0.02, "what was not painted stays"
    page.evaluate("window.safelight.form.reset({prompt: false})")


def test_recall_by_paste(open_studio: Page) -> None:
    page = open_studio
    page.locator("#sl-recall").click()
    page.get_by_role("dialog").get_by_role("textbox").fill(
        "a lighthouse (storm:1.2)\nNegative prompt: blurry\n"
        "Steps: 33, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 1234, Size: 192x128, Model: nowhere_v9"
    )
    page.get_by_role("button", name="Fill in").click()
    expect(page.locator("#sl-prompt textarea")).to_have_value("a lighthouse (storm:1.2)")
    values = page.evaluate("window.safelight.form.values")
    assert (values["prompt"], values["negative_prompt"]) == ("a lighthouse (storm:1.2)", "blurry")
    assert (values["steps"], values["guidance_scale"], values["seed"]) == (33, 6.5, "1234")
    assert (values["width"], values["height"]) == (192, 128)
    expect(page.locator("#sl-steps input[type=number]")).to_have_value("33")
    expect(page.locator(".sl-toast.sl-error")).to_contain_text("nowhere_v9")


def test_recall_sets_the_blur_of_the_mask(open_studio: Page) -> None:
    """Also before there is an editor, and undo and reset restore it."""
    page = open_studio
    recall = (
        "blur => window.safelight.form.recall({source: 'a1111', unfilled: [], fields: {inpaint: {blur}}})"
    )
    blur = "window.safelight.form.editor?.blur"
    page.evaluate(recall, 9)
    page.wait_for_function(f"{blur} === 9")
    page.evaluate("window.safelight.form.reset()")
    assert page.evaluate(blur) == 4
    page.get_by_role("button", name="Undo").last.click()
    page.wait_for_function(f"{blur} === 9")
    page.evaluate(recall, 100)
    expect(page.locator(".sl-toast.sl-error").last).to_contain_text(
        "inpaint.blur: 100 (its field goes from 0 to 64)"
    )
    assert page.evaluate(blur) == 4
    page.get_by_role("button", name="Undo").last.click()
    page.wait_for_function(f"{blur} === 9")
    page.evaluate(recall, None)
    assert page.evaluate(blur) == 4


def test_recall_by_drop(open_studio: Page, studio: ServeProcess) -> None:
    page = open_studio
    shown = submit_prompt(page, "a green pear, flat style", steps=3, seed="99", count=1)
    wait_for_state(shown, "succeeded")
    data = list(first_image_file(studio, shown))
    page.evaluate("window.safelight.form.reset({prompt: false})")
    page.locator("#sl-form").evaluate(
        """(form, data) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(data)], "pear.png", {type: "image/png"}));
            for (const kind of ["dragover", "drop"])
              form.firstElementChild.dispatchEvent(
                new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
        }""",
        data,
    )
    expect(page.locator("#sl-prompt textarea")).to_have_value("a green pear, flat style")
    values = page.evaluate("window.safelight.form.values")
    assert (values["steps"], values["seed"]) == (3, "99")
    expect(page.get_by_text("Every field was filled in.")).to_be_visible()


def test_the_worker_is_killed_during_a_job_with_a_reload_and_a_second_tab(
    open_studio: Page, studio: ServeProcess
) -> None:
    page = open_studio
    shown = submit_prompt(page, "a boat, sticker style", steps=20, count=2)
    job_id = shown.get_attribute("data-job") or ""
    expect(on_stage(shown).locator("img.sl-preview").first).to_be_visible(timeout=GENERATION_TIMEOUT)
    studio.kill("0")
    page.reload()  # the job goes on meanwhile: a worker takes longer to start
    again, other = strip_job(page, job_id), strip_job(open_page(page.context.new_page(), studio.url), job_id)
    for view in (again, other):
        expect(view).to_be_visible()
    expect(page.locator("#sl-prompt textarea")).to_have_value("a boat, sticker style")
    for view in (again, other):
        expect(on_stage(view).locator(".sl-stage-status")).to_contain_text(
            "begun again", timeout=GENERATION_TIMEOUT
        )
    for view in (again, other):
        wait_for_state(view, "succeeded")
        expect(on_stage(view).locator(".sl-frame img")).to_have_count(2)


def test_moderate_a_dropped_file(open_studio: Page, tmp_path: Path) -> None:
    page = open_studio
    path = tmp_path / "harmless.png"
    Image.linear_gradient("L").convert("RGB").save(path)
    page.get_by_role("tab", name="Moderate").click()
    page.locator("#sl-moderate input[type=file]").first.set_input_files(str(path))
    expect(page.locator("#sl-moderate .sl-badge").first).to_contain_text(
        "allowed", timeout=GENERATION_TIMEOUT
    )
    expect(page.locator("#sl-moderate")).to_contain_text("harmless.png")


def test_find_an_image_by_a_word_and_use_it(open_studio: Page) -> None:
    page = open_studio
    for prompt in ("a quinceberry, flat style", "a mountain, flat style"):
        wait_for_state(submit_prompt(page, prompt, steps=2, count=1), "succeeded")
    page.get_by_role("tab", name="Gallery").click()
    gallery = page.locator("#sl-gallery")
    expect(gallery.locator("img").first).to_be_visible()
    gallery.get_by_role("searchbox").fill("quinceb")
    expect(gallery.locator("img")).to_have_count(1)
    gallery.locator("img").click()
    viewer = page.get_by_role("dialog")
    expect(viewer).to_contain_text("a quinceberry, flat style")
    viewer.get_by_role("button", name="Use this").click()
    expect(page.locator("#sl-prompt textarea")).to_have_value("a quinceberry, flat style")
    expect(page.get_by_role("tab", name="Create")).to_have_attribute("aria-selected", "true")


def test_a_kept_seed_gives_the_same_image(open_studio: Page, studio: ServeProcess) -> None:
    page = open_studio
    first = submit_prompt(page, "a bell, 3d style", seed="", steps=3, count=1)
    wait_for_state(first, "succeeded")
    page.get_by_role("button", name="Keep the last picture").click()
    expect(page.locator("#sl-seed textarea, #sl-seed input")).not_to_have_value("")
    second = submit_prompt(page, "a bell, 3d style")
    wait_for_state(second, "succeeded")
    pixels = [
        np.asarray(Image.open(io.BytesIO(first_image_file(studio, shown)))) for shown in (first, second)
    ]
    assert np.array_equal(*pixels)


@pytest.mark.parametrize(("language", "draws"), [("de-DE", "Zeichnen"), ("fr-FR", "Dessiner")])
def test_other_languages(page: Page, studio: ServeProcess, language: str, draws: str) -> None:
    choose_language(page, studio.url, language[:2])
    open_page(page, studio.url)
    expect(page.locator("#sl-draw-button")).to_have_text(draws)
    expect(page.locator("html")).to_have_attribute("lang", language[:2])
    assert page.get_by_role("tab").first.inner_text() in ("Gestalten", "Créer")


def test_fields_edited_by_hand(open_studio: Page) -> None:
    page = open_studio
    steps = page.locator("#sl-steps input[type=number]")
    steps.fill("33")
    steps.press("Tab")
    page.wait_for_function("window.safelight.form.values.steps === 33")
    page.locator("#sl-sampler input").click()
    page.get_by_role("option", name="Euler a", exact=True).click()
    page.wait_for_function("window.safelight.form.values.sampler === 'Euler a'")
    page.locator("#sl-fold-hires > button").click()
    page.get_by_label("Second pass", exact=True).check()
    page.wait_for_function("window.safelight.form.values['hires.on'] === true")
    page.reload()
    page.wait_for_function("window.safelight?.form.ready")
    expect(page.locator("#sl-steps input[type=number]")).to_have_value("33")
    expect(page.locator("#sl-sampler input")).to_have_value("Euler a")
    page.get_by_role("button", name="Start afresh").click()
    expect(page.locator("#sl-steps input[type=number]")).to_have_value("20")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#sl-steps input[type=number]")).to_have_value("33")
    page.evaluate("window.safelight.form.reset()")


def test_a_prompt_that_starts_like_json_is_a_prompt(open_studio: Page) -> None:
    page = open_studio
    page.evaluate("window.safelight.form.reset()")
    page.locator("#sl-prompt textarea").evaluate(
        """(area) => {
            const transfer = new DataTransfer();
            transfer.setData("text", "{red|blue} apple");
            area.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true}));
        }"""
    )
    expect(page.locator(".sl-toast.sl-error")).to_have_count(0)


def test_large_seeds_are_exact(open_studio: Page, studio: ServeProcess) -> None:
    page = open_studio
    seed = "9007199254740995"  # more than 2**53: JavaScript's numbers would make it ...996
    shown = submit_prompt(page, "a pin, flat style", seed=seed, steps=2, count=1)
    wait_for_state(shown, "succeeded")
    assert job_of(studio, shown)["request"]["seed"] == int(seed)
    page.get_by_role("button", name="Keep the last picture").click()
    page.wait_for_function("seed => window.safelight.form.values.seed === seed", arg=seed)
    page.evaluate("window.safelight.form.reset()")


def test_delete_and_undo(open_studio: Page, studio: ServeProcess) -> None:
    page = open_studio
    shown = submit_prompt(page, "a drum, flat style", steps=2, count=1)
    wait_for_state(shown, "succeeded")
    entry = job_of(studio, shown)["result"]["pictures"][0]["id"]
    stage = on_stage(shown)
    for undo in (True, False):
        stage.locator(".sl-frame").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(stage.locator(".sl-frame")).to_have_count(0)
        if undo:
            page.get_by_role("button", name="Undo").click()
            expect(stage.locator(".sl-frame")).to_be_visible()
    page.evaluate("dispatchEvent(new Event('pagehide'))")  # as when the page is left
    page.wait_for_timeout(1000)
    assert studio.request("GET", f"/v1/gallery/{entry}").status_code == 404


def test_vary_and_upscale(open_studio: Page, studio: ServeProcess) -> None:
    page = open_studio
    shown = submit_prompt(page, "a kite, flat style", steps=2, count=1)
    wait_for_state(shown, "succeeded")
    stage = page.locator(".sl-stage-job")
    expect(stage.locator(".sl-frame img")).to_be_visible()
    stage.get_by_role("button", name="Vary").click()
    expect(stage).not_to_have_attribute("data-job", shown.get_attribute("data-job") or "")
    expect(stage).to_contain_text("a kite")
    wait_for_state(stage, "succeeded")
    expect(stage.locator(".sl-frame img")).to_have_count(4)
    on_stage(shown).get_by_role("button", name="Upscale").click()
    expect(stage).not_to_have_attribute("data-job", shown.get_attribute("data-job") or "")
    wait_for_state(stage, "succeeded")
    image = stage.locator(".sl-compare-over img").element_handle()
    page.wait_for_function("image => image.naturalWidth === 256", arg=image)


def test_keyboard_shortcuts(open_studio: Page) -> None:
    page = open_studio
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Keyboard shortcuts")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("2")
    expect(page.get_by_role("tab", name="Gallery")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("1")
    page.keyboard.press("p")
    expect(page.locator("#sl-prompt textarea")).to_be_focused()


def test_no_requests_to_other_hosts(page: Page, studio: ServeProcess) -> None:
    asked: list[str] = []

    def on_request(request: Request) -> None:
        asked.append(request.url)

    page.on("request", on_request)
    open_page(page, studio.url)
    page.remove_listener("request", on_request)
    assert asked
    foreign = [url for url in asked if not url.startswith((studio.url, "data:", "blob:"))]
    assert not foreign


def test_only_gradios_page_is_served(studio: ServeProcess) -> None:
    """Its uploads, files, queue and events are not used, so that they are not reachable."""
    paths = ("/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/call/x")
    for path in paths:
        assert httpx2.post(f"{studio.url}/studio{path}", json={}).status_code == 404
    for path in ("/gradio_api/file=/etc/passwd", "/gradio_api/info", "/monitoring"):
        assert httpx2.get(f"{studio.url}/studio{path}").status_code == 404


def test_the_seed_of_an_upscaled_image_generates_it_again(open_studio: Page, studio: ServeProcess) -> None:
    page = open_studio
    first = submit_prompt(page, "a shell, flat style", seed="", steps=2, count=1)
    wait_for_state(first, "succeeded")
    small = job_of(studio, first)["result"]["pictures"][0]
    data = {"request": '{"kind": "upscale", "by": 1.5, "upscaler": "lanczos"}'}
    sent = studio.request("POST", "/v1/jobs", data=data, files={"image": first_image_file(studio, first)})
    large = strip_job(page, sent.json()["id"])
    wait_for_state(large, "succeeded")
    on_stage(large).locator(".sl-frame").click()
    with page.expect_response(
        lambda answer: answer.url.endswith("/v1/jobs") and answer.status == 202
    ) as told:
        page.get_by_role("dialog").get_by_role("button", name="Same seed").click()
    again = strip_job(page, told.value.json()["id"])
    wait_for_state(again, "succeeded")
    assert job_of(studio, again)["request"]["seed"] == small["seed"]
    pixels = [np.asarray(Image.open(io.BytesIO(first_image_file(studio, shown)))) for shown in (first, again)]
    assert np.array_equal(*pixels)


def test_an_image_without_metadata_is_not_generated_again(open_studio: Page, studio: ServeProcess) -> None:
    page = open_studio
    data = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(data, "PNG")
    request = {"request": '{"kind": "upscale", "by": 1.5, "upscaler": "lanczos"}'}
    sent = studio.request("POST", "/v1/jobs", data=request, files={"image": data.getvalue()})
    shown = strip_job(page, sent.json()["id"])
    wait_for_state(shown, "succeeded")
    before = page.locator(".sl-strip-job").count()
    on_stage(shown).locator(".sl-frame").click()
    page.get_by_role("dialog").get_by_role("button", name="Same seed").click()
    expect(page.locator(".sl-toast.sl-error")).to_contain_text("No parameters were found there.")
    assert page.locator(".sl-strip-job").count() == before


def test_an_injected_script_does_not_run(open_studio: Page) -> None:
    ran = open_studio.evaluate(
        """() => new Promise((resolve) => {
          const place = document.createElement("div");
          place.innerHTML = "<img src='data:,' onerror='window.ran = true'>";
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.addEventListener("securitypolicyviolation", () => setTimeout(() => resolve(!!window.ran), 200));
          document.body.append(place, script);
        })"""
    )
    assert ran is False


def test_unsupported_parts_of_a_prompt_are_explained_and_refused(open_studio: Page) -> None:
    page = open_studio
    fill_prompt(page, "a leaf <hypernet:ink:1>")
    expect(page.locator("#sl-prompt-says")).to_contain_text("<hypernet:ink:1> at character 7")
    page.locator("#sl-draw-button").click()
    expect(page.locator("#sl-prompt .sl-form-refusal")).to_contain_text("a backslash before it")
    expect(page.locator(".sl-toast")).to_have_count(0)
    expect(page.locator("#sl-prompt textarea")).to_have_value("a leaf <hypernet:ink:1>")
    page.locator("#sl-recall").click()
    page.get_by_role("dialog").get_by_role("textbox").fill(
        "a <hypernet:ink:1> lighthouse\nSteps: 33, Sampler: Euler, CFG scale: 6.5, Seed: 1234, Size: 192x128"
    )
    page.get_by_role("button", name="Fill in").click()
    expect(page.locator("#sl-prompt textarea")).to_have_value("a  lighthouse")
    expect(page.locator(".sl-toast.sl-error").last).to_contain_text("<hypernet:ink:1>")
    page.evaluate("window.safelight.form.reset({prompt: false})")
