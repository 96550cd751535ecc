"""Three runs of `safelight demo`, which several tests check; they generate a few images, not twenty."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import pytest
from PIL import Image
from tests.cli.conftest import CommandResult, RunCommand, run_in_process

from safelight.cli import demo
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints import discovery
from safelight.models.families import FAMILIES
from safelight.samples import sample_photographs

PROMPTS = 5
"""Prompts of the complete run: two subjects in two styles, and one more, in the second row of the contact sheet."""
SHOWN = 9
"""Images that the complete run shows, of twelve."""


@dataclass(frozen=True)
class DemoRun:
    """A run with its results.

    Args:
        ran: Its output.
        working: The folder that it ran in.
        folder: The folder that it wrote.
    """

    ran: CommandResult
    working: Path
    folder: Path

    @property
    def page(self) -> str:
        return (self.folder / "index.html").read_text()

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "verdicts.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def tour(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """A complete run on a photograph, a truncated file, and five copies of a night sky, which scores lowest."""
    galaxies = next(path for path in sample_photographs() if path.stem == "galaxies")
    working = tmp_path_factory.mktemp("tour")
    mine = working / "mine"
    mine.mkdir()
    shutil.copy(sample_photographs()[0], mine / "holiday & sun.jpg")
    (mine / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    for number in range(5):
        shutil.copy(galaxies, mine / f"{number:02}.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "SUBJECTS", demo.SUBJECTS[:2])
        patch.setattr(demo, "STYLES", demo.STYLES[:2])
        patch.setattr(demo, "MORE_PROMPTS", demo.MORE_PROMPTS[:1])
        patch.setattr(demo, "_MAX_SHOWN", SHOWN)
        use_few_steps(patch)
        ran = run_in_process(["demo", "mine"], working, environment)
    return DemoRun(ran, working, working / "safelight-demo")


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Let the tour generate one image, and edit it."""
    patch.setattr(demo, "SUBJECTS", demo.SUBJECTS[:1])
    patch.setattr(demo, "STYLES", demo.STYLES[:1])
    patch.setattr(demo, "MORE_PROMPTS", ())
    use_few_steps(patch)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.fixture(scope="module")
def for_programs(
    environment: dict[str, str], anything_goes: Path, tmp_path_factory: pytest.TempPathFactory
) -> DemoRun:
    """A short run with --json and --out, on images whose names are long or not UTF-8."""
    working = tmp_path_factory.mktemp("for-programs")
    (working / "mine").mkdir()
    for name in ("x" * 251, os.fsdecode(b"caf\xe9")):
        shutil.copy(sample_photographs()[1], working / "mine" / f"{name}.jpg")
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        ran = run_in_process(
            ["demo", "mine", "--out", "my tour", "--json"],
            working,
            environment | {"SAFELIGHT_POLICY": str(anything_goes)},
        )
    return DemoRun(ran, working, working / "my tour")


def use_few_steps(patch: pytest.MonkeyPatch) -> None:
    """Let the starter take four steps by default: here it does not matter what an image shows."""
    starter = replace(FAMILIES["sd1-starter"], steps=4)
    patch.setattr(discovery, "FAMILIES", dict(FAMILIES) | {starter.name: starter})


def links(tour: DemoRun) -> list[str]:
    return [unquote(link) for link in re.findall(r'src="([^"]+)"', tour.page)]


def test_it_succeeds_and_names_the_page(tour: DemoRun) -> None:
    assert tour.ran.status == 0, tour.ran.err
    assert "Look at safelight-demo/index.html" in tour.ran.out
    assert "holiday" in tour.ran.out
    assert "nothing is sent anywhere" in tour.ran.err


def test_every_prompt_is_generated_and_one_image_edited(tour: DemoRun) -> None:
    drawn = sorted(path.name for path in (tour.folder / "drawn").iterdir())
    assert drawn == [*(f"{number:02}.png" for number in range(PROMPTS)), "edited.png"]
    for name in drawn:
        with Image.open(tour.folder / "drawn" / name) as picture:
            assert picture.size == (128, 128)
            assert "parameters" in picture.info
    with Image.open(tour.folder / "drawn.png") as sheet:
        assert sheet.size == (4 * 134 + 6, 2 * 134 + 6)


def test_every_prompt_of_the_tour_is_valid() -> None:
    prompts = [f"{subject}, {style}" for subject in demo.SUBJECTS for style in demo.STYLES]
    prompts += [*demo.MORE_PROMPTS, demo.EDIT_PROMPT]
    assert len(set(prompts)) == 21, "twenty images fill five rows of the contact sheet, and one is edited"
    assert [GenerationRequest.parse(prompt=prompt).prompt for prompt in prompts] == prompts


def test_everything_is_judged_and_the_highest_scores_shown(tour: DemoRun) -> None:
    own = {row["path"].rsplit("/", 1)[-1]: row["decision"] for row in tour.rows}
    assert len(own) == len(sample_photographs()) + 7
    assert own["holiday & sun.jpg"] == own["astronaut.jpg"] == "allow"
    assert own["torn.jpg"] == "error"
    assert "and 3 more with lower scores" in tour.ran.out
    unsafe = [row["unsafe"] for row in tour.rows if row["unsafe"] is not None]
    assert unsafe == sorted(unsafe, reverse=True)
    # The truncated one comes first, and has nothing to show.
    assert (
        len(list((tour.folder / "heat").iterdir()))
        == len(list((tour.folder / "seen").iterdir()))
        == SHOWN - 1
    )
    with Image.open(tour.folder / "verdicts.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 1000


def test_the_page_shows_all_images(tour: DemoRun) -> None:
    assert {path for path in links(tour) if path.startswith("drawn/")} == {
        f"drawn/{path.name}" for path in (tour.folder / "drawn").iterdir()
    }
    assert all((tour.folder / link).is_file() for link in links(tour))
    assert len(links(tour)) == PROMPTS + 2 + 2 * (SHOWN - 1)
    assert "and 3 more with lower scores" in tour.page
    assert "holiday &amp; sun.jpg" in tour.page
    assert "<script" not in tour.page
    assert not re.search(r"https?://", tour.page)


def test_a_generated_image_has_its_metadata(tour: DemoRun, inside: RunCommand) -> None:
    record = inside("info", tour.folder / "drawn" / "00.png", "--json").json_body["record"]
    assert record["prompt"] == "a red apple, 3d style"
    assert (record["seed"], record["checkpoint"]["name"]) == (0, "starter")


# With one image


def test_one_object_for_programs(for_programs: DemoRun) -> None:
    assert for_programs.ran.status == 0, for_programs.ran.err
    body = for_programs.ran.json_body
    assert body["folder"] == "my tour"
    assert [row["path"] for row in body["drawn"]] == ["my tour/drawn/00.png", "my tour/drawn/edited.png"]
    assert [Path(row["path"]).name for row in body["verdicts"]][:5] == [
        path.name for path in sample_photographs()
    ]
    assert len(body["verdicts"]) == 7
    page = unescape(for_programs.page)
    assert "safelight info 'my tour/drawn/00.png'" in page
    assert "more with lower scores" not in page


@pytest.mark.usefixtures("short")
def test_blocked_images_are_withheld(safelight: RunCommand, nothing_goes: Path, tmp_path: Path) -> None:
    ran = safelight("demo", "--json", SAFELIGHT_POLICY=str(nothing_goes))
    assert ran.status == 0
    assert [(row["path"], row["verdict"]["decision"]) for row in ran.json_body["drawn"]] == [(None, "block")]
    folder = tmp_path / "safelight-demo"
    assert not (folder / "drawn").exists()
    page = (folder / "index.html").read_text()
    assert "blocked by the policy" in page
    assert "<h2>Edited</h2>" not in page
    assert "safelight info" not in page


def test_names_of_any_length_and_bytes(for_programs: DemoRun) -> None:
    verdicts = for_programs.ran.json_body["verdicts"]
    assert [verdict["decision"] for verdict in verdicts[-2:]] == ["allow"] * 2
    links = re.findall(r'src="(seen/0[56][^"]+)"', for_programs.page)
    assert len(links) == 2
    for link in links:
        assert (for_programs.folder / os.fsdecode(unquote_to_bytes(link))).is_file()


@pytest.mark.usefixtures("short")
def test_a_second_run_into_the_same_folder_shows_its_own_images(
    for_programs: DemoRun, safelight: RunCommand, tmp_path: Path
) -> None:
    assert "05-caf" in for_programs.page
    shutil.copytree(for_programs.working, tmp_path, dirs_exist_ok=True)
    (tmp_path / "mine" / f"{'x' * 251}.jpg").rename(tmp_path / "mine" / "aardvark.jpg")
    assert safelight("demo", "mine", "--out", "my tour").status == 0
    page = (tmp_path / "my tour" / "index.html").read_text()
    assert "05-aardvark" in page
    assert "05-caf" not in page
