"""The Models section of a complete installation: a download, and another program's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from playwright.sync_api import Page, expect
from safetensors.torch import save
from tests.models.hub.fake_source import FakeSource
from tests.server.serve_process import ServeProcess
from tests.tiny.original_layout import write_single_file


def open_models(page: Page) -> None:
    page.locator("#sl-tab-models-button").click()
    expect(page.get_by_role("heading", name="All files")).to_be_visible()


def test_a_model_is_downloaded(open_studio: Page, studio: ServeProcess, model_source: FakeSource) -> None:
    data = save({"lora_unet_x_attn2_to_k.lora_down.weight": torch.zeros(64, 2048)})
    model_source.add_civitai("ink wash.safetensors", data)
    open_models(open_studio)
    section = open_studio.get_by_role("region", name="Download a model")
    section.get_by_label("Model", exact=True).fill("civitai:7")
    section.get_by_role("button", name="Look up").click()
    expect(section.get_by_text("credit needed")).to_be_visible()
    section.get_by_role("button", name="Download 524 kB").click()
    expect(section.get_by_text("Downloaded and checked: ink wash, LoRA · 524 kB")).to_be_visible()
    assert (studio.home / "loras" / "ink wash.safetensors").read_bytes() == data
    row = open_studio.get_by_role("row").filter(has_text="ink wash.safetensors")
    expect(row).to_contain_text("sdxl")
    section.get_by_label("Model", exact=True).fill("owner/nothing")
    section.get_by_role("button", name="Look up").click()
    expect(section.get_by_text("has no model owner/nothing")).to_be_visible()


def test_a_folder_is_used_at_once_and_no_longer(
    open_studio: Page, tmp_path: Path, tiny: Callable[[str], Path]
) -> None:
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    write_single_file(tiny("sd1"), folder / "line.safetensors")
    open_models(open_studio)
    section = open_studio.get_by_role("region", name="Folders of other programs")
    section.get_by_role("textbox").fill(str(tmp_path))
    section.get_by_role("button", name="Add folder").click()
    checkpoints = open_studio.get_by_role("region", name="Checkpoints")
    expect(checkpoints.get_by_role("heading", name="line")).to_be_visible()
    expect(open_studio.get_by_role("row").filter(has_text="line.safetensors")).to_contain_text("usable")
    open_studio.locator("#sl-tab-create-button").click()
    open_studio.locator("#sl-checkpoint input").click()
    expect(open_studio.get_by_role("option", name="line")).to_be_visible()
    open_studio.keyboard.press("Escape")
    open_models(open_studio)
    section.get_by_role("button", name=f"No longer use: {tmp_path}").click()
    expect(checkpoints.get_by_role("heading", name="line")).to_have_count(0)
