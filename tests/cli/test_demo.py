"""One complete run of `safelight demo` in a child process, which several tests check; the others generate two images,
not twenty."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import pytest
from PIL import Image
from tests.cli.conftest import CommandResult, RunCommand

from safelight.cli import demo
from safelight.samples import sample_photographs

PROMPTS = len(demo.SUBJECTS) * len(demo.STYLES) + len(demo.MORE_PROMPTS)


@dataclass(frozen=True)
class DemoRun:
    """A run on a folder with a photograph, a truncated file, and thirty copies of a night sky, which scores lowest."""

    ran: CommandResult
    folder: Path

    @property
    def page(self) -> str:
        return (self.folder / "index.html").read_text()

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "verdicts.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def tour(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    galaxies = next(path for path in sample_photographs() if path.stem == "galaxies")
    working = tmp_path_factory.mktemp("tour")
    mine = working / "mine"
    mine.mkdir()
    shutil.copy(sample_photographs()[0], mine / "holiday & sun.jpg")
    (mine / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    for number in range(30):
        shutil.copy(galaxies, mine / f"{number:02}.jpg")
    done = subprocess.run(
        [sys.executable, "-m", "safelight", "demo", "mine"],
        capture_output=True,
        check=False,
        text=True,
        cwd=working,
        env=environment,
        timeout=280,
    )
    return DemoRun(CommandResult(done.returncode, done.stdout, done.stderr), working / "safelight-demo")


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
        assert sheet.size == (4 * 134 + 6, PROMPTS // 4 * 134 + 6)


def test_everything_is_judged_and_the_highest_scores_shown(tour: DemoRun) -> None:
    own = {row["path"].rsplit("/", 1)[-1]: row["decision"] for row in tour.rows}
    assert len(own) == len(sample_photographs()) + 32
    assert own["holiday & sun.jpg"] == own["astronaut.jpg"] == "allow"
    assert own["torn.jpg"] == "error"
    assert "and 13 more with lower scores" in tour.ran.out
    unsafe = [row["unsafe"] for row in tour.rows if row["unsafe"] is not None]
    assert unsafe == sorted(unsafe, reverse=True)
    # The truncated one comes first, and has nothing to show.
    assert len(list((tour.folder / "heat").iterdir())) == len(list((tour.folder / "seen").iterdir())) == 23
    with Image.open(tour.folder / "verdicts.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 1000


def test_the_page_shows_all_images(tour: DemoRun) -> None:
    assert {path for path in links(tour) if path.startswith("drawn/")} == {
        f"drawn/{path.name}" for path in (tour.folder / "drawn").iterdir()
    }
    assert all((tour.folder / link).is_file() for link in links(tour))
    assert len(links(tour)) == PROMPTS + 2 + 2 * 23
    assert "and 13 more with lower scores" in tour.page
    assert "holiday &amp; sun.jpg" in tour.page
    assert "<script" not in tour.page
    assert not re.search(r"https?://", tour.page)


def test_a_generated_image_has_its_metadata(tour: DemoRun, inside: RunCommand) -> None:
    record = inside("info", tour.folder / "drawn" / "00.png", "--json").json_body["record"]
    assert record["prompt"] == "a red apple, 3d style"
    assert (record["seed"], record["checkpoint"]["name"]) == (0, "starter")


# With fewer images


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SUBJECTS", ("a red apple",))
    monkeypatch.setattr(demo, "STYLES", ("3d style",))
    monkeypatch.setattr(demo, "MORE_PROMPTS", ())


@pytest.mark.usefixtures("short")
def test_one_object_for_programs(inside: RunCommand, tmp_path: Path) -> None:
    ran = inside("demo", "--out", "my tour", "--json")
    assert ran.status == 0
    assert ran.json_body["folder"] == "my tour"
    assert [row["path"] for row in ran.json_body["drawn"]] == [
        "my tour/drawn/00.png",
        "my tour/drawn/edited.png",
    ]
    assert [Path(row["path"]).name for row in ran.json_body["verdicts"]] == [
        path.name for path in sample_photographs()
    ]
    page = unescape((tmp_path / "my tour" / "index.html").read_text())
    assert "safelight info 'my tour/drawn/00.png'" in page
    assert "more with lower scores" not in page


@pytest.mark.usefixtures("short")
def test_blocked_images_are_withheld(inside: RunCommand, nothing_goes: Path, tmp_path: Path) -> None:
    ran = inside("demo", "--json", SAFELIGHT_POLICY=str(nothing_goes))
    assert ran.status == 0
    assert [(row["path"], row["verdict"]["decision"]) for row in ran.json_body["drawn"]] == [(None, "block")]
    folder = tmp_path / "safelight-demo"
    assert not (folder / "drawn").exists()
    page = (folder / "index.html").read_text()
    assert "blocked by the policy" in page
    assert "<h2>Edited</h2>" not in page
    assert "safelight info" not in page


@pytest.mark.usefixtures("short")
def test_names_of_any_length_and_bytes(inside: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("x" * 251, os.fsdecode(b"caf\xe9")):
        shutil.copy(sample_photographs()[1], tmp_path / "mine" / f"{name}.jpg")
    ran = inside("demo", "mine", "--json")
    assert ran.status == 0, ran.err
    assert [verdict["decision"] for verdict in ran.json_body["verdicts"][-2:]] == ["allow"] * 2
    page = (tmp_path / "safelight-demo" / "index.html").read_text()
    links = re.findall(r'src="(seen/0[56][^"]+)"', page)
    assert len(links) == 2
    for link in links:
        assert (tmp_path / "safelight-demo" / os.fsdecode(unquote_to_bytes(link))).is_file()


@pytest.mark.usefixtures("short")
def test_a_second_run_into_the_same_folder_shows_its_own_images(inside: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    shutil.copy(sample_photographs()[1], tmp_path / "mine" / "zebra.jpg")
    assert inside("demo", "mine").status == 0
    (tmp_path / "mine" / "zebra.jpg").rename(tmp_path / "mine" / "aardvark.jpg")
    assert inside("demo", "mine").status == 0
    page = (tmp_path / "safelight-demo" / "index.html").read_text()
    assert "05-aardvark" in page
    assert "05-zebra" not in page
