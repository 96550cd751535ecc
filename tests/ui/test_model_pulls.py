"""The Models section of a complete installation: a download, an upload, and another program's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import torch
from playwright.sync_api import APIResponse, Page, Route, expect
from safetensors.torch import save
from tests.models.hub.fake_source import FakeSource
from tests.server.serve_process import ServeProcess
from tests.tiny.original_layout import write_single_file


@pytest.fixture(autouse=True)
def same_models_afterwards(studio: ServeProcess) -> Iterator[None]:
    """Delete the models that a test added: the server is shared, and other tests count its models."""
    folders = (studio.home / "checkpoints", studio.home / "loras")
    before = {file for folder in folders for file in folder.rglob("*.safetensors")}
    yield
    for folder in folders:
        for file in set(folder.rglob("*.safetensors")) - before:
            file.unlink()


def open_models(page: Page) -> None:
    page.locator("#sl-tab-models-button").click()
    expect(page.get_by_role("heading", name="All files")).to_be_visible()


def test_a_model_is_downloaded(open_studio: Page, studio: ServeProcess, model_source: FakeSource) -> None:
    data = save({"lora_unet_x_attn2_to_k.lora_down.weight": torch.zeros(64, 2048)})
    model_source.add_civitai("ink wash.safetensors", data)
    open_models(open_studio)
    section = open_studio.get_by_role("region", name="Add a model")
    section.get_by_label("Or a name or link").fill("civitai:7")
    section.get_by_role("button", name="Look up").click()
    expect(section.get_by_text("credit needed")).to_be_visible()
    section.get_by_role("button", name="Download 524 kB").click()
    expect(section.get_by_text("Downloaded and checked: ink wash, LoRA · 524 kB")).to_be_visible()
    assert (studio.home / "loras" / "ink wash.safetensors").read_bytes() == data
    row = open_studio.get_by_role("row").filter(has_text="ink wash.safetensors")
    expect(row).to_contain_text("sdxl")
    section.get_by_label("Or a name or link").fill("owner/nothing")
    section.get_by_role("button", name="Look up").click()
    expect(section.get_by_text("has no model owner/nothing")).to_be_visible()


def test_files_are_uploaded_and_refused(
    open_studio: Page, studio: ServeProcess, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    write_single_file(tiny("sd1"), tmp_path / "quill.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "quill.safetensors").read_bytes()[:-10])
    (tmp_path / "web page.safetensors").write_bytes(b"<html>" + b" " * 3_000_000)
    open_models(open_studio)
    section = open_studio.get_by_role("region", name="Add a model")
    expect(section.get_by_text(str(studio.home / "checkpoints"))).to_be_visible()
    files = ("quill", "cut", "web page")
    section.locator("input[type=file]").set_input_files(
        [str(tmp_path / f"{name}.safetensors") for name in files]
    )
    rows = {name: section.get_by_role("listitem").filter(has_text=f"{name}.safetensors") for name in files}
    expect(rows["quill"]).to_contain_text("Uploaded and checked: checkpoint")
    for name in files[1:]:
        expect(rows[name].get_by_role("alert")).to_contain_text(f"{name}.safetensors")
        expect(rows[name]).to_contain_text("Refused; nothing was kept")
    checkpoints = open_studio.get_by_role("region", name="Checkpoints")
    expect(checkpoints.get_by_role("heading", name="quill")).to_be_visible()
    assert not (studio.home / "checkpoints" / ".downloads").exists()
    assert not (studio.home / "checkpoints" / "cut.safetensors").exists()
    row = checkpoints.get_by_role("listitem").filter(has=open_studio.get_by_role("heading", name="quill"))
    row.get_by_role("button", name="Edit the defaults of quill").click()
    dialog = open_studio.get_by_role("dialog", name="Defaults of quill")
    dialog.get_by_label("Width").fill("70")
    dialog.get_by_label("Steps").fill("11")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_label("Width")).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("Width").fill("64")
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("11 steps")
    row.get_by_role("button", name="Edit the defaults of quill").click()
    dialog.get_by_role("button", name="Use the family").click()
    expect(row).to_contain_text("28 steps")


def test_an_upload_is_stopped_and_leaves_nothing(open_studio: Page, studio: ServeProcess) -> None:
    open_models(open_studio)
    staging = studio.home / "checkpoints" / ".downloads"
    session = open_studio.context.new_cdp_session(open_studio)
    session.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2_000_000}
    session.send("Network.emulateNetworkConditions", slow)
    open_studio.evaluate(
        """() => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([new Uint8Array(60_000_000)], "slow.safetensors"));
          const init = { dataTransfer, bubbles: true, cancelable: true };
          document.querySelector("#sl-models").dispatchEvent(new DragEvent("drop", init));
        }"""
    )
    open_studio.get_by_role("button", name="Stop: slow.safetensors").click()
    expect(open_studio.get_by_text("Stopped; nothing was kept")).to_be_visible()
    session.detach()
    expect(open_studio.get_by_role("button", name="Send again: slow.safetensors")).to_be_visible()
    assert not (studio.home / "checkpoints" / "slow.safetensors").exists()
    for _ in range(300):  # the server notices the end of the connection
        if not staging.exists():
            break
        open_studio.wait_for_timeout(100)
    assert not staging.exists()


@pytest.fixture
def other_program(studio: ServeProcess, tmp_path: Path, tiny: Callable[[str], Path]) -> Iterator[Path]:
    """Another program's folder with a checkpoint called line, which the installation no longer uses afterwards."""
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    write_single_file(tiny("sd1"), folder / "line.safetensors")
    yield tmp_path
    studio.request("DELETE", f"/v1/models/folders?path={quote(str(tmp_path))}")


def test_a_folder_is_used_at_once_and_no_longer(open_studio: Page, other_program: Path) -> None:
    open_models(open_studio)
    section = open_studio.get_by_role("region", name="Folders of other programs")
    section.get_by_role("textbox").fill(str(other_program))
    section.get_by_role("button", name="Add folder").click()
    checkpoints = open_studio.get_by_role("region", name="Checkpoints")
    expect(checkpoints.get_by_role("heading", name="line")).to_be_visible()
    expect(open_studio.get_by_role("row").filter(has_text="line.safetensors")).to_contain_text("usable")
    open_studio.locator("#sl-tab-create-button").click()
    open_studio.locator("#sl-checkpoint input").click()
    expect(open_studio.get_by_role("option", name="line")).to_be_visible()
    open_studio.keyboard.press("Escape")
    open_models(open_studio)
    section.get_by_role("button", name=f"No longer use: {other_program}").click()
    expect(checkpoints.get_by_role("heading", name="line")).to_have_count(0)


def test_a_list_of_folders_from_before_a_change_is_not_shown(open_studio: Page, other_program: Path) -> None:
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        if route.request.method == "GET":
            held.append((route, route.fetch()))
        else:
            route.continue_()

    open_studio.route("**/v1/models/folders", hold)
    open_models(open_studio)
    section = open_studio.get_by_role("region", name="Folders of other programs")
    section.get_by_role("textbox").fill(str(other_program))
    section.get_by_role("button", name="Add folder").click()
    remove = section.get_by_role("button", name=f"No longer use: {other_program}")
    expect(remove).to_be_visible()
    for route, answer in held:
        with open_studio.expect_response("**/v1/models/folders"):
            route.fulfill(response=answer)
    open_studio.evaluate("new Promise((resolve) => setTimeout(resolve))")  # the page has handled the answers
    expect(remove).to_be_visible()
