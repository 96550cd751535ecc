from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from safelight.generation.canvas.init_image import InitImage
from safelight.generation.canvas.masks import Canvas
from safelight.generation.control.pictures import ControlPictures, GivenPicture, fit
from safelight.generation.control.planning import PlannedControl
from safelight.generation.request import Control
from safelight.models.controls.architectures import ARCHITECTURES
from safelight.models.controls.discovery import ControlModel
from safelight.settings import Settings


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def planned(kind: Any = "canny", architecture: str = "controlnet", **fields: Any) -> PlannedControl:
    model = ControlModel("x", Path("x"), ARCHITECTURES[architecture], "sd1", ())
    return PlannedControl(0, Control(kind=kind, **fields), model, kind, "0" * 64)


NOTHING = InitImage()


def at(
    control: PlannedControl,
    image: Image.Image | None,
    size: tuple[int, int],
    start: InitImage = NOTHING,
    mask: Image.Image | None = None,
) -> Any:
    (found,) = ControlPictures((control,), (GivenPicture(image, mask),), Settings()).at(size, start)
    return found


@pytest.mark.parametrize(
    ("how", "corner"), [("crop", (255, 0, 0)), ("stretch", (255, 0, 0)), ("fill", (255, 0, 0))]
)
def test_a_picture_is_made_to_fit(how: str, corner: tuple[int, int, int]) -> None:
    red = Image.new("RGB", (90, 30), "red")
    found = fit(red, (40, 40), how)
    assert found.size == (40, 40)
    assert found.getpixel((0, 0)) == corner
    assert fit(red, (90, 30), how) is red


def test_filling_keeps_all_of_the_picture() -> None:
    half = Image.new("RGB", (80, 40), "red")
    half.paste((0, 0, 255), (40, 0, 80, 40))
    found = np.asarray(fit(half, (40, 40), "fill"))
    assert (found[:, 0] == (255, 0, 0)).all()
    assert (found[:, -1] == (0, 0, 255)).all()
    cropped = np.asarray(fit(half, (40, 40), "crop"))
    assert (cropped[20, 5] == (255, 0, 0)).all()


def test_the_pixels_of_a_picture_in_the_right_size_stay() -> None:
    image = noise(32, 16)
    found = at(planned(), image, (32, 16))
    assert np.array_equal(found.pixels, np.asarray(image, dtype=np.float32) / np.float32(255))
    assert found.mask is None


def test_only_the_part_that_is_generated_is_seen() -> None:
    image, original = noise(64, 64), noise(64, 64, 1)
    mask = Image.new("L", (64, 64), 255)
    canvas = Canvas(original, original, mask, mask, (16, 16, 48, 48))
    start = InitImage(original.crop((16, 16, 48, 48)), mask.crop((16, 16, 48, 48)), canvas)
    found = at(planned(), image, (32, 32), start)
    assert np.allclose(found.pixels * 255, np.asarray(image.crop((16, 16, 48, 48))), atol=0.01)
    own = at(planned(), None, (32, 32), start)
    assert np.allclose(own.pixels * 255, np.asarray(original.crop((16, 16, 48, 48))), atol=0.01)


def test_a_network_that_completes_pictures_sees_the_hole() -> None:
    image = noise(16, 16)
    hole = Image.new("L", (16, 16))
    hole.paste(255, (0, 0, 8, 16))
    start = InitImage(image, hole)
    found = at(planned("inpaint"), None, (16, 16), start)
    assert (found.pixels[:, :8] == -1).all()
    assert (found.pixels[:, 8:] >= 0).all()
    assert (at(planned("inpaint", "controlnet-union"), None, (16, 16), start).pixels[:, :8] == 0).all()
    assert (at(planned("canny"), None, (16, 16), start).pixels >= 0).all()


def test_masks_are_fitted_as_pictures_are() -> None:
    mask = Image.new("RGB", (32, 32), "white")
    mask.paste("black", (0, 0, 16, 32))
    found = at(planned(), noise(16, 16), (16, 16), mask=mask)
    assert found.mask.shape == (16, 16)
    assert found.mask[8, 0] == 0
    assert found.mask[8, 15] == 1


def test_a_preprocessor_runs_once_for_a_size() -> None:
    control = planned(preprocessor={"name": "canny"})
    pictures = ControlPictures((control,), (GivenPicture(noise(64, 64), None),), Settings())
    first, second = (pictures.at((64, 64), InitImage())[0].pixels for _ in range(2))
    assert np.array_equal(first, second)
    assert set(np.unique(first)) <= {0.0, 1.0}
    assert len(pictures._maps) == 1
    pictures.at((32, 32), InitImage())
    assert len(pictures._maps) == 2
