"""The networks browser: LoRAs and embeddings as cards beside the prompts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, expect
from safetensors.torch import save_file
from tests.server.api.adapter_files import write_adapters
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page
from tests.ui.generation import fill_prompt, job_of, strip_job, wait_for_state
from tests.ui.test_accessibility import check

from safelight.models.adapters.packaged import FEW_STEPS

LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
METADATA = {
    "modelspec.trigger_phrase": "ink drawing",
    "ss_tag_frequency": json.dumps({"10_ink": {"black lines": 40, "paper": 2}}),
}
MANY = 2000


@pytest.fixture(scope="module")
def folder(studio: ServeProcess) -> Iterator[Path]:
    """The folder of a LoRA for the starter, with a preview; there are also two embeddings, one of them for SDXL."""
    write_adapters(studio.home)
    styles = studio.home / "loras" / "styles"
    weights = {f"{LAYER}.lora_down.weight": torch.ones(2, 256), f"{LAYER}.lora_up.weight": torch.ones(320, 2)}
    save_file(weights, styles / "ink.safetensors", METADATA)
    Image.new("RGB", (300, 200), (180, 40, 20)).save(styles / "ink.jpg")
    yield styles
    for file in (*styles.iterdir(), *(studio.home / "embeddings").iterdir()):
        file.unlink()


@pytest.fixture
def studio_page(folder: Path, open_studio: Page) -> Page:
    return open_studio


def open_networks(page: Page) -> Locator:
    page.locator("#sl-networks-button").click()
    shown = page.get_by_role("region", name="Networks")
    expect(shown.locator(".sl-net-card").first).to_be_visible()
    return shown


def card(networks: Locator, name: str) -> Locator:
    return networks.locator(".sl-net-card").filter(
        has=networks.page.locator(".sl-net-name", has_text=re.compile(rf"^{name}$"))
    )


def names(networks: Locator) -> Locator:
    return networks.locator(".sl-net-name")


def prompts(page: Page) -> tuple[str, str]:
    values = page.evaluate("window.safelight.form.values")
    return values["prompt"], values["negative_prompt"]


def test_cards_show_what_networks_are_and_are_found(studio_page: Page) -> None:
    page = studio_page
    networks = open_networks(page)
    expect(names(networks)).to_have_text(["glassy", "ink", "mossy", FEW_STEPS])
    ink, glassy = card(networks, "ink"), card(networks, "glassy")
    expect(ink).to_contain_text("LoRA · rank 2")
    expect(ink.locator("img")).to_have_js_property("naturalWidth", 256)
    expect(glassy).to_contain_text("for sdxl")
    expect(glassy).to_have_class(re.compile("sl-net-unfit"))
    check(page, "networks")
    search = networks.get_by_role("searchbox")
    search.fill("DRAWING styles")
    expect(names(networks)).to_have_text(["ink"])
    expect(networks.get_by_role("status")).to_have_text("1 network")
    search.fill("nothing like it")
    expect(networks.get_by_text("Nothing matches.")).to_be_visible()
    search.fill("")
    networks.get_by_role("button", name="Fits the checkpoint").click()
    expect(names(networks)).to_have_text(["ink", "mossy", FEW_STEPS])
    networks.get_by_label("Kind").select_option("embedding")
    expect(names(networks)).to_have_text(["mossy"])
    page.reload()
    page.wait_for_function("window.safelight?.form.ready")
    expect(names(open_networks(page))).to_have_text(["mossy"])
    page.keyboard.press("Escape")
    expect(networks).to_be_hidden()


def test_a_press_puts_a_network_into_the_prompt_and_another_takes_it_out(studio_page: Page) -> None:
    page = studio_page
    fill_prompt(page, "a red apple")
    networks = open_networks(page)
    ink = card(networks, "ink").locator(".sl-net-insert")
    ink.click()
    expect(ink).to_have_attribute("aria-pressed", "true")
    assert prompts(page) == ("a red apple <lora:ink:1>", "")
    card(networks, "ink").get_by_role("button", name="Put into the prompt: ink drawing").click()
    assert prompts(page) == ("a red apple <lora:ink:1>, ink drawing", "")
    page.locator("#sl-negative-prompt textarea").focus()
    mossy = card(networks, "mossy").locator(".sl-net-insert")
    mossy.click()
    ink.click()
    assert prompts(page) == ("a red apple, ink drawing", "mossy")
    expect(ink).to_have_attribute("aria-pressed", "false")
    expect(ink).to_be_focused()
    ink.click()
    assert prompts(page) == ("a red apple, ink drawing <lora:ink:1>", "mossy"), "a LoRA changes both prompts"
    prompt = page.locator("#sl-prompt textarea")
    prompt.press("Control+z")
    expect(prompt).to_have_value("a red apple, ink drawing")
    expect(ink).to_have_attribute("aria-pressed", "false")
    mossy.click()
    assert prompts(page)[1] == ""


def test_the_text_of_a_prompt_with_and_without_networks(studio_page: Page) -> None:
    ink = {"kind": "LoRA", "name": "ink", "place": "styles/ink", "alias": "Ink_v2"}
    moss = {"kind": "embedding", "name": "moss.v1", "place": "moss.v1", "alias": ""}
    without = [
        (ink, "<lora:ink:0.8>", ""),
        (ink, "a cat <lora:INK:te=0.5:unet=1> on a <lyco:ink_v2> mat", "a cat on a mat"),
        (ink, "<lora:styles/ink:1>, a cat", "a cat"),
        (ink, "a cat, <lora:ink:1>, a mat", "a cat, a mat"),
        (ink, "a cat (sitting <lora:ink:1>)", "a cat (sitting)"),
        (ink, "ink, <lora:ink2:1> <lora:oil:1>", None),
        (moss, "a cat, moss.v1", "a cat"),
        (moss, "Moss.V1, a cat", "a cat"),
        (moss, "a cat, (embedding:moss.v1:1.3), a mat", "a cat, a mat"),
        (moss, "a moss.v1 cat", "a cat"),
        (moss, r"a \moss.v1 cat, moss.v10, mossxv1", None),
    ]
    found = studio_page.evaluate(
        """async (rows) => {
            const { hasNetwork, withoutNetwork } = await import("/studio/safelight/networks/prompt_text.js");
            return rows.map(([network, text]) => hasNetwork(text, network) ? withoutNetwork(text, network) : null);
        }""",
        [[network, text] for network, text, _ in without],
    )
    assert found == [expected for *_, expected in without]


def test_a_picture_is_made_with_a_network_and_becomes_its_preview(
    studio_page: Page, studio: ServeProcess, folder: Path
) -> None:
    page = studio_page
    fill_prompt(page, "a red apple", steps=2, width=64, height=64, seed="9700")
    networks = open_networks(page)
    card(networks, "ink").locator(".sl-net-insert").click()
    with page.expect_response(lambda answer: answer.url.endswith("/v1/jobs")) as sent:
        page.locator("#sl-draw-button").click()
    shown = strip_job(page, sent.value.json()["id"])
    expect(networks).to_be_hidden()
    wait_for_state(shown, "succeeded")
    entry = job_of(studio, shown)["result"]["pictures"][0]["id"]
    record = studio.request("GET", f"/v1/gallery/{entry}").json()["record"]
    assert [(each["name"], each["layers"]) for each in record["adapters"]] == [("ink", {"unet": 1})]

    open_networks(page)
    ink = card(networks, "ink")
    ink.hover()
    ink.get_by_role("button", name="Favourite").click()
    expect(ink.get_by_role("button", name="Favourite")).to_have_attribute("aria-pressed", "true")
    before = ink.locator("img").get_attribute("src") or ""
    ink.get_by_role("button", name="About ink").click()
    about = page.get_by_role("dialog", name="ink", exact=True)
    expect(about.get_by_role("definition").filter(has_text=str(folder / "ink.safetensors"))).to_be_visible()
    expect(about.locator("dt", has_text="Pictures made with it").locator("+ dd")).to_have_text("1")
    about.get_by_role("button", name="black lines 40").click()
    assert prompts(page)[0] == "a red apple <lora:ink:1>, black lines"
    about.get_by_role("button", name="Preview from the gallery").click()
    choices = page.get_by_role("dialog", name="Preview from the gallery")
    choices.get_by_role("searchbox").fill("apple")
    choices.locator(f'button:has(img[src*="{entry}"])').click()
    expect(about.get_by_role("button", name="Remove the preview")).to_be_visible()
    with Image.open(folder / "ink.preview.png") as written:
        assert written.size == (64, 64)
    page.keyboard.press("Escape")
    expect(ink.locator("img")).not_to_have_attribute("src", before)
    expect(ink.locator("img")).to_have_js_property("naturalWidth", 64)

    open_page(page, studio.url)
    open_networks(page)
    expect(ink.locator("img")).to_have_js_property("naturalWidth", 64)
    networks.get_by_role("button", name="Favourites", exact=True).click()
    expect(names(networks)).to_have_text(["ink"])
    ink.hover()
    ink.get_by_role("button", name="About ink").click()
    about.get_by_role("button", name="Remove the preview").click()
    expect(about.get_by_role("button", name="Remove the preview")).to_have_count(0)
    assert not (folder / "ink.preview.png").exists()
    assert (folder / "ink.jpg").exists()


def test_thousands_are_shown_a_few_at_a_time(studio_page: Page) -> None:
    page = studio_page

    def answer(route: Route) -> None:
        found = route.fetch().json()["adapters"]
        ink: dict[str, Any] = next(each for each in found if each["name"] == "ink") | {"preview": None}
        many = [
            ink | {"id": f"id{number}", "name": f"net {number}", "pictures": number} for number in range(MANY)
        ]
        route.fulfill(json={"adapters": many})

    page.route("**/v1/adapters*", answer)
    networks = open_networks(page)
    expect(networks.get_by_role("status")).to_have_text("2,000 networks")
    cards = networks.locator(".sl-net-card")
    assert 10 < cards.count() < 80
    networks.locator(".sl-net-scroll").evaluate("list => (list.scrollTop = list.scrollHeight)")
    expect(card(networks, f"net {MANY - 1}")).to_be_in_viewport()
    assert 10 < cards.count() < 100
    networks.get_by_label("Order").select_option("used")
    expect(names(networks).first).to_have_text(f"net {MANY - 1}")


def test_a_telephone_inserts_networks(browser: Browser, studio: ServeProcess, folder: Path) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, locale="en-US", has_touch=True, is_mobile=True
    )
    context.set_default_timeout(60_000)
    page = open_page(context.new_page(), studio.url)
    fill_prompt(page, "a red apple")
    page.locator("#sl-networks-button").tap()
    networks = page.get_by_role("region", name="Networks")
    ink = card(networks, "ink")
    expect(ink.get_by_role("button", name="About ink")).to_be_in_viewport(ratio=1)
    ink.locator(".sl-net-insert").tap(position={"x": 40, "y": 120})
    expect(ink.locator(".sl-net-insert")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(ink).to_be_in_viewport(ratio=0.9)
    inner = "list => list.scrollWidth - list.clientWidth"
    assert networks.locator(".sl-net-scroll").evaluate(inner) == 0, "no card is cut off"
    page.get_by_role("button", name="Form").tap()
    expect(page.locator("#sl-prompt textarea")).to_have_value("a red apple <lora:ink:1>")
    context.close()
