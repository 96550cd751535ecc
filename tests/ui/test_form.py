"""The form of the Create tab: dense, exact, searchable, and each refusal at its field."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import choose_language, open_page
from tests.ui.generation import fill_prompt, submit_prompt, wait_for_state

from safelight.generation.taken_fields import fields_not_taken
from safelight.models.families import FAMILIES
from safelight.ui.form_fields import form_controls

FIRST_FIELDS = (
    "prompt",
    "negative-prompt",
    "checkpoint",
    "sampler",
    "size",
    "steps",
    "guidance-scale",
    "seed",
    "count",
)
DENSE_HEIGHT = 480
"""CSS pixels below the form's top in which all of them lie, in a window of 1360 x 880."""
MAX_SCRIPT_BYTES = 295_000
"""Size of our scripts that the page loads when it is opened."""


def values(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate("window.safelight.form.values")
    return found


def number(page: Page, name: str) -> Locator:
    return page.locator(f"#sl-{name} input[type=number]")


def refusal(page: Page, name: str) -> Locator:
    """Why a field's value was refused."""
    return page.locator(f"#sl-{name} .sl-form-refusal")


def press_draw(page: Page) -> None:
    page.locator("#sl-draw-button").click()


def test_every_control_has_a_field_with_label_and_help(open_studio: Page) -> None:
    page = open_studio
    for fold in ("edit", "regions", "hires", "fine"):
        page.locator(f"#sl-fold-{fold} > button").click()
    for control in form_controls():
        if control.control == "editor":
            continue
        field = page.locator(f"#sl-{control.name.replace('_', '-').replace('.', '-')}")
        if control.name in fields_not_taken(FAMILIES["sd1"]):  # the starter's family
            expect(field).to_be_hidden()
            continue
        expect(field).to_be_visible()
        entry = field.locator("input:not([type=range]), select, textarea").first
        expect(entry).to_have_accessible_name(re.compile(r"\w"))
        expect(entry).to_have_accessible_description(re.compile(r"\w{3}"))


def test_fields_that_the_checkpoint_does_not_take_are_shown_only_with_a_value(
    page: Page, studio: ServeProcess
) -> None:
    def refuse_clip_skip(route: Route) -> None:
        listed = route.fetch().json()
        for model in listed["data"]:
            if model["kind"] == "checkpoint":
                model["draws"]["not_taken"] = ["clip_skip"]
        route.fulfill(json=listed)

    page.route("**/v1/models", refuse_clip_skip)
    open_page(page, studio.url)
    page.locator("#sl-fold-fine > button").click()
    expect(page.locator("#sl-eta")).to_be_visible()
    expect(page.locator("#sl-clip-skip")).to_be_hidden()
    page.evaluate("window.safelight.form.fill({clip_skip: 2})")
    expect(page.locator("#sl-clip-skip")).to_be_visible()


def test_the_second_pass_and_the_refiner_in_the_request(open_studio: Page) -> None:
    page = open_studio
    page.locator("#sl-fold-hires > button").click()
    page.locator("#sl-hires-on input").check()
    page.locator("#sl-hires-prompt textarea").fill("sharp details")
    number(page, "hires-guidance-scale").fill("7.5")
    fields = page.evaluate("window.safelight.form.request()")
    assert fields["hires"] == {"prompt": "sharp details", "guidance_scale": 7.5}
    assert "refiner" not in fields
    assert "true_cfg_scale" not in fields
    (chosen,) = page.evaluate(
        """() => {
            const { form } = window.safelight;
            form.fill({ "refiner.checkpoint": "starter", "refiner.switch_at": 0.6, seamless: "both" });
            return [form.choices["refiner.checkpoint"].map(({ value }) => value)];
        }"""
    )
    assert chosen == ["", "starter"]
    fields = page.evaluate("window.safelight.form.request()")
    assert fields["refiner"] == {"checkpoint": "starter", "switch_at": 0.6}
    assert fields["seamless"] == "both"


def test_everything_up_to_seed_and_count_fits_on_the_first_screen(open_studio: Page) -> None:
    page = open_studio
    page.set_viewport_size({"width": 1360, "height": 880})
    top = page.locator("#sl-form").evaluate("form => form.getBoundingClientRect().top")
    for name in FIRST_FIELDS:
        bottom = page.locator(f"#sl-{name}").evaluate("field => field.getBoundingClientRect().bottom")
        assert bottom - top <= DENSE_HEIGHT, name
    expect(page.locator("#sl-draw-button")).to_be_in_viewport(ratio=1)


def test_the_page_needs_few_scripts_until_it_can_be_used(page: Page, studio: ServeProcess) -> None:
    open_page(page, studio.url)
    page.wait_for_function("performance.getEntriesByName('usable').length")
    sizes = page.evaluate(
        """performance.getEntriesByType("resource")
          .filter(({name}) => /\\/studio\\/safelight\\/.*\\.js(\\?|$)/.test(name))
          .filter(({startTime}) => startTime < performance.getEntriesByName("usable")[0].startTime)
          .map(({decodedBodySize}) => decodedBodySize)"""
    )
    assert len(sizes) > 10
    assert sum(sizes) <= MAX_SCRIPT_BYTES


@pytest.mark.parametrize(
    ("typed", "held"), [("0", 1), ("-3", 1), ("5000", 1000), ("33", 33), ("12.6", 13), ("", 20)]
)
def test_the_form_holds_what_the_field_shows(open_studio: Page, typed: str, held: int) -> None:
    page = open_studio
    steps = number(page, "steps")
    steps.click()
    steps.fill(typed)
    assert values(page)["steps"] == held, "at once"
    expect(steps).to_have_value(typed)
    steps.press("Tab")
    expect(steps).to_have_value(str(held))
    note = page.locator("#sl-steps .sl-form-note")
    if typed in ("", "33"):
        expect(note).to_have_text("")
    else:
        expect(note).to_contain_text(f"became {held:,}: 1 to 1,000" if typed != "12.6" else "became 13")


def test_keys_and_wheel_step_a_number(open_studio: Page) -> None:
    page = open_studio
    guidance = number(page, "guidance-scale")
    guidance.fill("6.3")
    for key, expected in (("ArrowUp", 6.5), ("ArrowUp", 7), ("Shift+ArrowUp", 12), ("ArrowDown", 11.5)):
        guidance.press(key)
        assert values(page)["guidance_scale"] == expected
    steps = number(page, "steps")
    steps.hover()
    page.mouse.wheel(0, -100)
    page.mouse.wheel(0, 100)
    assert values(page)["steps"] == 20, "the wheel does nothing where the focus is not"
    steps.focus()
    page.mouse.wheel(0, -100)
    page.wait_for_function("window.safelight.form.values.steps === 21")


def test_a_slider_and_its_number_agree(open_studio: Page) -> None:
    page = open_studio
    slider = page.locator("#sl-steps input[type=range]")
    slider.fill("44")
    expect(number(page, "steps")).to_have_value("44")
    number(page, "steps").fill("60")
    expect(slider).to_have_value("60")


def test_a_sampler_is_found_by_typing(open_studio: Page) -> None:
    page = open_studio
    sampler = page.locator("#sl-sampler input")
    own = sampler.input_value()
    sampler.click()
    page.keyboard.type("unip")
    options = page.get_by_role("listbox", name="Sampler").get_by_role("option")
    expect(options).to_have_text([re.compile("^UniPC")] * 3)
    expect(options.first).to_have_class(re.compile("sl-active"))
    page.keyboard.press("Escape")
    expect(sampler).to_have_value(own)
    expect(page.get_by_role("listbox")).to_have_count(0)
    page.keyboard.type("kdpm2 a")  # an alias
    page.keyboard.press("Enter")
    expect(sampler).to_have_value("DPM2 a")
    assert values(page)["sampler"] == "DPM2 a"
    page.keyboard.press("ArrowDown")
    expect(options.and_(page.locator("[aria-selected=true]"))).to_have_text("DPM2 a2 runs per step")
    page.keyboard.press("Tab")
    expect(page.get_by_role("listbox")).to_have_count(0)
    expect(page.locator("#sl-width input")).to_be_focused()
    sampler.click()
    page.keyboard.type("no such sampler")
    expect(page.get_by_text("Nothing matches.")).to_be_visible()
    page.locator("h1").click()
    expect(sampler).to_have_value("DPM2 a")


def test_sizes_snap_swap_and_follow_ratios(open_studio: Page) -> None:
    page = open_studio
    width = number(page, "width")
    width.fill("129")
    width.press("Tab")
    expect(width).to_have_value("128")
    expect(page.locator("#sl-size .sl-form-note")).to_contain_text("129 became 128: multiples of 8")
    page.get_by_role("button", name="3:2", exact=True).click()
    wide = values(page)
    assert (wide["width"], wide["height"]) == (160, 104)
    expect(page.get_by_role("button", name="3:2", exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Swap width and height").click()
    swapped = values(page)
    assert (swapped["width"], swapped["height"]) == (104, 160)
    expect(page.get_by_role("button", name="2:3", exact=True)).to_have_attribute("aria-pressed", "true")
    page.evaluate("window.safelight.form.fill({width: 512, height: 512})")
    expect(page.locator("#sl-size .sl-form-note")).to_contain_text("own 128 \u00d7 128")


@pytest.mark.parametrize(
    ("language", "whole_number", "steps", "strength"),
    [
        ("en", "Only a whole number.", "At most 1,000.", "At most 1."),
        ("de", "Nur eine ganze Zahl.", "Höchstens 1.000.", "Höchstens 1."),
        ("fr", "Un nombre entier seulement.", "Au plus 1\u202f000.", "Au plus 1."),
    ],
)
def test_refusals_are_at_their_fields_in_every_language(
    page: Page, studio: ServeProcess, language: str, whole_number: str, steps: str, strength: str
) -> None:
    choose_language(page, studio.url, language)
    open_page(page, studio.url)
    fill_prompt(page, "a leaf", seed="not a number")
    press_draw(page)
    expect(refusal(page, "seed")).to_have_text(whole_number)
    seed = page.locator("#sl-seed input")
    expect(seed).to_be_focused()
    expect(seed).to_have_attribute("aria-invalid", "true")
    expect(seed).to_have_attribute("aria-errormessage", "sl-seed-refusal")
    seed.fill("7")
    expect(refusal(page, "seed")).to_be_hidden()
    fill_prompt(page, "a leaf", **{"steps": 5000, "hires.on": True, "hires.strength": 3})
    press_draw(page)
    expect(refusal(page, "steps")).to_have_text(steps)
    expect(refusal(page, "hires-strength")).to_have_text(strength)
    expect(number(page, "steps")).to_be_focused()
    expect(page.locator(".sl-toast")).to_have_count(0)
    expect(page.locator("#sl-prompt-says")).to_have_text("")
    number(page, "steps").fill("5")
    expect(refusal(page, "steps")).to_be_hidden()
    press_draw(page)
    expect(number(page, "hires-strength")).to_be_focused()
    expect(page.locator("#sl-fold-hires > button")).to_have_attribute("aria-expanded", "true")


def test_a_failed_job_says_why_at_its_field(open_studio: Page) -> None:
    page = open_studio
    shown = submit_prompt(page, "a leaf", eta=0.5, sampler="DPM++ 2M", steps=2, count=1)
    wait_for_state(shown, "failed")
    expect(refusal(page, "eta")).to_contain_text("does not take eta")
    expect(page.locator("#sl-fold-fine > button")).to_have_attribute("aria-expanded", "true")


def test_an_empty_prompt_is_refused_at_the_prompt(open_studio: Page) -> None:
    page = open_studio
    press_draw(page)
    expect(refusal(page, "prompt")).to_have_text("Say what to draw.")
    expect(page.locator("#sl-prompt textarea")).to_be_focused()


def test_folds_remember_and_count(open_studio: Page) -> None:
    page = open_studio
    fold = page.locator("#sl-fold-fine > button")
    fold.click()
    number(page, "clip-skip").fill("2")
    number(page, "guidance-end").fill("0.8")
    expect(fold).to_contain_text("2 changed")
    page.reload()
    page.wait_for_function("window.safelight?.form.ready")
    expect(fold).to_have_attribute("aria-expanded", "true")
    expect(fold).to_contain_text("2 changed")
    expect(number(page, "clip-skip")).to_have_value("2")
    fold.click()
    expect(number(page, "clip-skip")).to_be_hidden()


def test_help_opens_by_mouse_and_key(open_studio: Page) -> None:
    page = open_studio
    page.locator("#sl-guidance-scale").get_by_role("button", name="Explain").click()
    text = page.locator("#sl-guidance-scale-help")
    expect(text).to_be_visible()
    expect(text).to_contain_text("Elsewhere: CFG scale, CFG")
    page.keyboard.press("Escape")
    expect(text).to_be_hidden()
    number(page, "steps").focus()
    page.keyboard.press("F1")
    expect(page.locator("#sl-steps-help")).to_be_visible()


@pytest.mark.parametrize(
    ("text", "selected", "keys", "expected"),
    [
        ("a red apple", "red", "Control+ArrowUp", "a (red:1.1) apple"),
        ("a red apple", "red", "Control+ArrowUp Control+ArrowUp", "a (red:1.2) apple"),
        ("a (red apple:1.3)", "apple", "Control+ArrowDown", "a (red apple:1.2)"),
        ("a (red:1.1) apple", "", "Control+ArrowDown", "a (red:1.1) (apple:0.9)"),
        ("a (red:1.1) apple", "red", "Control+ArrowDown", "a red apple"),
        ("a (red) apple", "red", "Control+ArrowUp", "a (red:1.2) apple"),
        (r"a \(red\) apple", "red", "Control+ArrowUp", r"a \((red:1.1)\) apple"),
    ],
)
def test_keys_change_the_weight_of_words(
    open_studio: Page, text: str, selected: str, keys: str, expected: str
) -> None:
    page = open_studio
    prompt = page.locator("#sl-prompt textarea")
    prompt.fill(text)
    start = text.index(selected) if selected else len(text)
    prompt.evaluate(f"area => area.setSelectionRange({start}, {start + len(selected)})")
    for key in keys.split():
        page.keyboard.press(key)
    expect(prompt).to_have_value(expected if text != "a (red apple:1.3)" else "a (red (apple:0.9):1.3)")
    assert values(page)["prompt"] == prompt.input_value()
    page.keyboard.press("Control+z")
    expect(prompt).not_to_have_value(expected)


def test_earlier_prompts_come_back(open_studio: Page) -> None:
    page = open_studio
    for word in ("first", "second"):
        submit_prompt(page, f"a {word} leaf", negative_prompt=f"no {word}", steps=1, count=1)
    prompt = page.locator("#sl-prompt textarea")
    prompt.fill("a draft")
    for key, expected in (
        ("Alt+ArrowUp", "a second leaf"),
        ("Alt+ArrowUp", "a first leaf"),
        ("Alt+ArrowDown", "a second leaf"),
        ("Alt+ArrowDown", "a draft"),
    ):
        prompt.press(key)
        expect(prompt).to_have_value(expected)
    page.get_by_role("button", name="Earlier prompts").click()
    page.locator("#sl-prompt-history").get_by_role("button", name="a first leaf").click()
    expect(prompt).to_have_value("a first leaf")
    expect(page.locator("#sl-negative-prompt textarea")).to_have_value("no first")
    page.get_by_role("button", name="Earlier prompts").click()
    page.get_by_role("button", name="Forget them").click()
    assert page.evaluate("localStorage.getItem('safelight.prompts')") is None


def test_a_wildcard_that_does_not_exist_is_named(open_studio: Page) -> None:
    page = open_studio
    fill_prompt(page, "a __nosuch__ leaf")
    expect(page.locator("#sl-prompt-says")).to_have_text("no such wildcard: __nosuch__")


def test_a_dropped_text_file_is_read_as_an_infotext(open_studio: Page) -> None:
    page = open_studio
    drop = """([name, type, text]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([text], name, {type}));
        document.querySelector("#sl-steps").dispatchEvent(
          new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }"""
    page.evaluate(drop, ["leaf.txt", "text/plain", "a leaf\nSteps: 7, Seed: 5, Size: 128x128"])
    expect(page.locator("#sl-prompt textarea")).to_have_value("a leaf")
    expect(number(page, "steps")).to_have_value("7")
    page.evaluate(drop, ["leaf.pdf", "application/pdf", "%PDF"])
    expect(page.locator(".sl-toast.sl-error").last).to_contain_text("“leaf.pdf” is no picture.")


@pytest.mark.parametrize(
    ("name", "focused"),
    [
        ("CFG", "#sl-guidance-scale input[type=number]"),
        ("hires fix", "#sl-hires-scale input[type=number]"),
        ("img2img", "#sl-strength input[type=number]"),
        ("ControlNet", "#sl-fold-control > button"),
        ("PNG info", "dialog textarea"),
    ],
)
def test_fields_and_actions_are_found_under_the_names_that_people_know(
    open_studio: Page, name: str, focused: str
) -> None:
    page = open_studio
    page.locator("#sl-tab-gallery-button").click()
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox", name="Find")).to_be_focused()
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.locator(focused)).to_be_focused()
