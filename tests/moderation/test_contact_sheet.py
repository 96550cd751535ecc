from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from safelight.moderation import Judgement, Moderator, Policy
from safelight.moderation.contact_sheet import write_contact_sheet
from safelight.moderation.explain import Explanation

STRICTEST = 'name = "n"\nversion = "1"\nsafe = ["sfw"]\n[unsafe]\nnsfw = { review = 0.0, block = 0.0 }\n'


def cell(moderator: Moderator, path: Path, colour: tuple[int, int, int]) -> tuple[Judgement, Explanation]:
    picture = Image.new("RGB", (400, 300), colour)
    explanation = Explanation(0.5, np.zeros((7, 7), np.float32), picture, picture)
    return Judgement(str(path), verdict=moderator.judge(path)), explanation


def test_each_image_has_its_cell_and_its_decisions_colour(open_nsfw_exact, photographs, tmp_path):
    allowing = Moderator(open_nsfw_exact, Policy.load("standard"))
    blocking = Moderator(open_nsfw_exact, Policy.parse(STRICTEST))
    cells = [
        cell(allowing, photographs[0], (250, 0, 250)),
        cell(blocking, photographs[1], (0, 250, 250)),
        cell(allowing, photographs[2], (250, 250, 0)),
    ]
    write_contact_sheet(cells, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = {tuple(pixel) for pixel in np.asarray(sheet).reshape(-1, 3).tolist()}
    assert {(250, 0, 250), (0, 250, 250), (250, 250, 0)} <= pixels
    assert {(63, 170, 110), (214, 60, 70)} <= pixels
    assert (222, 165, 44) not in pixels


def test_an_empty_sheet(tmp_path):
    write_contact_sheet([], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height > 100
