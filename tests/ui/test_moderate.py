"""The Moderate tab in a real browser, with a fake server that reads verdicts from the files' names."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect
from tests.ui.real_events import drop_files, paste_picture

from safelight.moderation import PRESETS, Policy
from safelight.server.api.native.policies import _rules

HARNESS = """<!doctype html><html lang="en"><title>Moderate</title>
<link rel="stylesheet" href="style.css"><link rel="stylesheet" href="moderate.css"><main id="root"></main>
<script type="module">
  import { loadTexts } from "./core/text.js";
  import { mount } from "./moderate.js";
  await loadTexts();
  mount(document.querySelector("#root"), {});
</script></html>"""
POLICIES = {
    "policies": [_rules(Policy.load(n), default=n == "standard").model_dump(mode="json") for n in PRESETS]
}


@dataclass
class Server:
    """A fake server that records requests."""

    batches: list[list[str]] = field(default_factory=list)
    refusals: list[tuple[int, str, dict[str, str]]] = field(default_factory=list)
    heat: tuple[int, str] = (
        501,
        json.dumps({"error": {"code": "explain.unsupported", "message": "No map."}}),
    )
    heats: int = 0
    held: bool = False
    holding: list[Route] = field(default_factory=list)

    def answer(self, route: Route) -> None:
        """Answer one request to the API."""
        path = urlsplit(route.request.url).path
        if path == "/v1/policies":
            route.fulfill(json=POLICIES)
        elif path == "/v1/gallery":
            route.fulfill(json={"entries": [{"scores": {"sfw": 0.9, "nsfw": 0.1}}]})
        elif path == "/v1/moderate/heat":
            self.heats += 1
            route.fulfill(status=self.heat[0], body=self.heat[1], content_type="application/json")
        elif self.refusals:
            status, code, headers = self.refusals.pop(0)
            error = {"code": code, "message": "Not so fast.", "hint": "Wait."}
            route.fulfill(status=status, json={"error": error}, headers=headers)
        elif self.held:
            self.holding.append(route)
        else:
            self.judge(route)

    def judge(self, route: Route) -> None:
        """Give each file the score in per cent that is in its name."""
        body = (route.request.post_data_buffer or b"").split(b'filename="')[1:]
        names = [part.partition(b'"')[0].decode().rpartition("/")[2] for part in body]
        self.batches.append(names)
        route.fulfill(json={"verdicts": [verdict(index, name) for index, name in enumerate(names)]})


def verdict(index: int, name: str) -> dict[str, object]:
    number = re.search(r"[abc](\d\d)", name)
    if number is None:
        error = {"code": "image.format", "message": "This is no picture.", "hint": "Give one."}
        return {
            "index": index,
            "decision": "error",
            "scores": {},
            "unsafe": None,
            "notes": [],
            "error": error,
        }
    score = int(number[1]) / 100
    return {
        "index": index,
        "decision": "allow",
        "scores": {"sfw": 1 - score, "nsfw": score},
        "unsafe": score,
        "frame": 0,
        "tile": None,
        "classifier": {"name": "open-nsfw", "digest": "ab", "arithmetic": "exact"},
        "policy": {"name": "standard", "version": "1", "digest": "cd"},
        "notes": ["seen"],
        "error": None,
    }


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def moderate(page: Page, static_url: str, server: Server) -> Page:
    page.route(f"{static_url}/part", lambda route: route.fulfill(body=HARNESS, content_type="text/html"))
    page.route("**/v1/**", server.answer)
    page.goto(f"{static_url}/part")
    expect(page.get_by_label("Policy", exact=True)).to_be_visible()
    return page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def pictures(folder: Path, *names: str) -> list[Path]:
    """Small harmless images whose names have their scores."""
    for name in names:
        Image.new("RGB", (64, 48), (30, 90, 160)).save(folder / name, "PNG")
    return [folder / name for name in names]


def add(page: Page, files: list[Path]) -> None:
    page.locator("input[type=file]").first.set_input_files(files)


def counts(page: Page) -> list[str]:
    return page.locator(".sl-moderate-chip b").all_inner_texts()


def expect_judged(page: Page, number: int) -> None:
    expect(page.locator(".sl-moderate-line")).to_have_text(f"{number} of {number}")


def move_slider(page: Page, name: str, value: float) -> None:
    page.get_by_label(name).evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', { bubbles: true })); }",
        value,
    )


def test_pictures_are_sent_in_batches_and_decided_in_the_page(
    moderate: Page, server: Server, folder: Path
) -> None:
    add(moderate, pictures(folder, *(f"a{number:02}.png" for number in range(0, 100, 5)), "text.png"))
    expect_judged(moderate, 21)
    assert sorted(map(len, server.batches)) == [5, 8, 8]
    assert counts(moderate) == ["21", "8", "10", "2", "1"]
    sent = len(server.batches)
    move_slider(moderate, "nsfw: review from", 0.10)
    expect(moderate.locator(".sl-moderate-chip.sl-is-allow b")).to_have_text("2")
    move_slider(moderate, "nsfw: block from", 0.05)
    assert moderate.get_by_label("nsfw: review from").input_value() == "0.05"
    expect(moderate.locator(".sl-moderate-chip.sl-is-block b")).to_have_text("18")
    assert len(server.batches) == sent


def test_blocked_pictures_are_hidden_and_doubtful_ones_shown_only_while_pressed(
    moderate: Page, folder: Path
) -> None:
    add(moderate, pictures(folder, "a10.png", "b50.png", "c90.png"))
    expect_judged(moderate, 3)
    allowed, doubtful, blocked = moderate.locator(".sl-moderate-card").all()
    expect(allowed.locator(".sl-frame img")).to_be_visible()
    expect(blocked.locator(".sl-withheld")).to_contain_text("90")
    assert blocked.locator("img").count() == 0
    assert doubtful.get_by_role("button", name="Heat map").is_disabled()
    doubtful.locator(".sl-blurred").click()
    assert doubtful.locator(".sl-blur-cover").count() == 0
    expect(doubtful.get_by_role("button", name="Heat map")).to_be_enabled()


def test_a_rate_limit_is_waited_for_and_shown(moderate: Page, server: Server, folder: Path) -> None:
    server.refusals = [(429, "limit.rate", {"Retry-After": "2"})]
    add(moderate, pictures(folder, "a10.png"))
    expect(moderate.locator(".sl-moderate-line")).to_contain_text("limit")
    assert server.batches == []
    expect_judged(moderate, 1)
    assert server.batches == [["a10.png"]]


def test_too_large_batches_are_sent_in_smaller_ones(moderate: Page, server: Server, folder: Path) -> None:
    server.refusals = [(413, "request.too_large", {}), (413, "request.too_large", {})]
    add(moderate, pictures(folder, *(f"a{number:02}.png" for number in range(10, 18))))
    expect_judged(moderate, 8)
    assert max(map(len, server.batches)) <= 4
    assert sum(map(len, server.batches)) == 8


def test_it_can_be_stopped_and_resumed(moderate: Page, server: Server, folder: Path) -> None:
    server.held = True
    add(moderate, pictures(folder, *(f"a{number:02}.png" for number in range(10, 40))))
    expect(moderate.locator(".sl-moderate-card .sl-badge", has_text="being judged")).to_have_count(16)
    moderate.get_by_role("button", name="Stop").click()
    expect(moderate.locator(".sl-moderate-line")).to_have_text("Stopped at 0 of 30")
    server.held = False
    for route in server.holding:
        route.abort()
    moderate.get_by_role("button", name="Go on").click()
    expect_judged(moderate, 30)


def test_verdicts_of_cleared_pictures_are_dropped(moderate: Page, server: Server, folder: Path) -> None:
    server.held = True
    add(moderate, pictures(folder, *(f"a{number:02}.png" for number in range(10, 40))))
    expect(moderate.locator(".sl-moderate-card .sl-badge", has_text="being judged")).to_have_count(16)
    server.held = False
    moderate.evaluate("""() => {
        document.querySelector('[aria-label="Clear the list"]').click();
        const data = new DataTransfer();
        for (const name of ["b20.png", "b30.png"]) data.items.add(new File(["x"], name, { type: "image/png" }));
        const input = document.querySelector("input[type=file]");
        input.files = data.files;
        input.dispatchEvent(new Event("change"));
    }""")  # at once: the request in flight has not come back yet
    expect_judged(moderate, 2)
    assert server.batches == [["b20.png", "b30.png"]]
    for route in server.holding:
        route.abort()
    assert counts(moderate)[0] == "2"


def test_failures_can_be_retried(moderate: Page, server: Server, folder: Path) -> None:
    server.refusals = [(500, "internal", {})]
    add(moderate, pictures(folder, "a10.png"))
    card = moderate.locator(".sl-moderate-card")
    expect(card).to_contain_text("Not so fast.")
    expect(card).to_contain_text("Wait.")
    moderate.get_by_role("button", name="Try 1 again").click()
    expect(card).to_contain_text("10%")


def test_missing_heat_map_support_is_shown_and_not_requested_again(
    moderate: Page, server: Server, folder: Path
) -> None:
    add(moderate, pictures(folder, "a10.png", "a20.png"))
    expect_judged(moderate, 2)
    toggles = moderate.get_by_role("button", name="Heat map")
    toggles.first.click()
    expect(moderate.get_by_text("No heat maps: No map.")).to_be_visible()
    for toggle in toggles.all():
        expect(toggle).to_be_disabled()
    assert server.heats == 1


def export_report(page: Page, button: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_text("utf-8")


def test_the_report_has_the_reasons_and_no_formulas(moderate: Page, folder: Path) -> None:
    add(moderate, pictures(folder, '=a10,"b".png', "-c50.png", "none.png"))
    expect_judged(moderate, 3)
    rows = list(csv.DictReader(io.StringIO(export_report(moderate, "CSV"))))
    assert [row["file"] for row in rows] == ['\'=a10,"b".png', "'-c50.png", "none.png"]
    assert [row["decision"] for row in rows] == ["allow", "review", "error"]
    assert [row["score_nsfw"] for row in rows] == ["0.1", "0.5", ""]
    assert (rows[0]["policy"], rows[0]["policy_digest"], rows[0]["policy_custom"]) == (
        "standard",
        "cd",
        "false",
    )
    assert rows[2]["error_code"] == "image.format"

    move_slider(moderate, "nsfw: block from", 0.45)
    expect(moderate.locator(".sl-moderate-policy .sl-badge")).to_be_visible()
    lines = [json.loads(line) for line in export_report(moderate, "JSON lines").splitlines()]
    assert [line["file"] for line in lines] == ['=a10,"b".png', "-c50.png", "none.png"]
    policy = lines[1]["policy"]
    assert (policy["name"], policy["custom"], policy["digest"]) == ("standard (custom)", True, None)
    assert policy["unsafe"]["nsfw"] == {"review": 0.4, "block": 0.45}
    assert lines[1]["decision"] == "review"  # within the uncertainty band


def test_an_empty_file_is_named_and_not_sent(moderate: Page, server: Server, folder: Path) -> None:
    (folder / "none.png").touch()
    add(moderate, [folder / "none.png", *pictures(folder, "a10.png")])
    expect_judged(moderate, 2)
    expect(moderate.locator(".sl-moderate-card", has_text="none.png")).to_contain_text("The file is empty.")
    assert server.batches == [["a10.png"]]


def test_only_labels_of_the_classifier_are_offered_and_policies_explained(moderate: Page) -> None:
    others = moderate.locator(".sl-moderate-others")
    expect(others).to_be_visible()
    expect(moderate.locator(".sl-moderate-label legend:visible")).to_have_text(["nsfw"])
    moderate.evaluate("localStorage.setItem('safelight.language', 'de')")
    moderate.reload()
    expect(moderate.get_by_text("Die Vorgabe: Klare Fälle werden entschieden")).to_be_visible()
    moderate.evaluate("localStorage.clear()")


def test_a_folder_is_dropped_and_a_picture_pasted(moderate: Page, server: Server, folder: Path) -> None:
    for inner in (folder / "all", folder / "all" / "more"):
        inner.mkdir()
    pictures(folder / "all", "a10.png", "b20.png")
    pictures(folder / "all" / "more", "c30.png")
    (folder / "all" / "notes.txt").write_text("no picture")
    drop_files(moderate.locator(".sl-moderate-drop"), folder / "all", *pictures(folder, "d40.png"))
    expect_judged(moderate, 4)
    names = moderate.locator(".sl-moderate-name")
    expect(names).to_have_text(["all/a10.png", "all/b20.png", "all/more/c30.png", "d40.png"])
    expect(moderate.locator(".sl-toast")).to_contain_text("1 file")
    paste_picture(moderate, (folder / "d40.png").read_bytes())
    expect_judged(moderate, 5)


def test_order_and_filter(moderate: Page, folder: Path) -> None:
    add(moderate, pictures(folder, "a10.png", "b70.png", "c50.png"))
    expect_judged(moderate, 3)
    names = moderate.locator(".sl-moderate-name")
    moderate.get_by_label("Order").select_option("highest")
    expect(names).to_have_text(["b70.png", "c50.png", "a10.png"])
    moderate.locator(".sl-moderate-chip.sl-is-review").click()
    expect(names.locator("visible=true")).to_have_text(["b70.png", "c50.png"])


def test_a_file_is_added_once(moderate: Page, server: Server, folder: Path) -> None:
    files = pictures(folder, "a10.png")
    add(moderate, files)
    expect_judged(moderate, 1)
    add(moderate, files)
    expect(moderate.get_by_text("1 picture is in the list already.")).to_be_visible()
    assert len(server.batches) == 1
