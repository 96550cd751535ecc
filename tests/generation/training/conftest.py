"""A folder of small pictures with captions."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from safelight.generation.training.examples import Example, find_examples

CAPTIONS = {"red": "a red square, plain", "green": "a green square, plain", "blue": "a blue square"}


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "squares"
    folder.mkdir()
    for colour, caption in CAPTIONS.items():
        picture = Image.new("RGB", (96, 80), colour)
        picture.paste((255, 255, 255), (0, 0, 40, 80))
        picture.save(folder / f"{colour}.png")
        (folder / f"{colour}.txt").write_text(f"{caption}\n")
    return folder


@pytest.fixture(scope="session")
def examples(picture_folder: Path) -> list[Example]:
    return find_examples(picture_folder)
