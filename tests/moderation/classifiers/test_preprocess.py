from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from PIL import Image
from tests.hypothesis_profiles import example_count

from safelight.errors import ModelInvalidError
from safelight.moderation.classifiers.preprocess import Preprocessing

sides = st.integers(1, 700)


def picture(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), np.uint8)


def timm_pixels(
    pixels: np.ndarray, crop: int, crop_pct: float, crop_mode: str, interpolation: str
) -> np.ndarray:
    """timm's own transforms of an image, as bytes."""
    from timm.data import create_transform

    transform = create_transform(
        (3, crop, crop),
        is_training=False,
        interpolation=interpolation,
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    tensor = transform(Image.fromarray(pixels)) * 255
    return np.rint(tensor.permute(1, 2, 0).numpy()).astype(np.uint8)


@pytest.mark.parametrize("crop_pct", [1.0, 0.95, 0.875, 0.5])
@pytest.mark.parametrize("mode", ["center", "squash"])
@given(width=sides, height=sides, interpolation=st.sampled_from(["bicubic", "bilinear"]))
@example(1, 1, "bicubic")
@example(32, 32, "bicubic")
@example(33, 32, "bicubic")
@example(34, 700, "bilinear")
@example(6, 601, "bicubic")
@example(6, 600, "bicubic")
@example(700, 1, "bilinear")
@example(1, 700, "bicubic")
@example(2, 201, "bicubic")
@example(21, 300, "bicubic")  # 14.3 : 1, and yet longer than sixteen crops when resized to 36
@example(21, 300, "bilinear")
@budget(max_examples=example_count(60))
def test_pixels_equal_timms_transforms(
    mode: str, crop_pct: float, width: int, height: int, interpolation: str
) -> None:
    crop = 32
    ours = Preprocessing(
        resize={"center": "short_side", "squash": "squash"}[mode],
        resized=int(crop / crop_pct),
        crop=crop,
        interpolation=interpolation,
    )
    pixels = picture(width, height)
    np.testing.assert_array_equal(
        ours.apply(Image.fromarray(pixels)), timm_pixels(pixels, crop, crop_pct, mode, interpolation)
    )


@pytest.mark.parametrize("size", [(640, 480), (383, 700), (384, 384), (1000, 385), (3, 100)])
def test_pixels_equal_timms_at_the_size_of_the_real_checkpoint(size: tuple[int, int]) -> None:
    ours = Preprocessing("short_side", 384, 384, "bicubic")
    pixels = picture(*size)
    np.testing.assert_array_equal(
        ours.apply(Image.fromarray(pixels)), timm_pixels(pixels, 384, 1.0, "center", "bicubic")
    )


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_every_filter_is_pillows_of_that_name(interpolation: str) -> None:
    pixels = picture(50, 40)
    expected = Image.fromarray(pixels).resize((16, 16), Image.Resampling[interpolation.upper()])
    ours = Preprocessing("squash", 16, 16, interpolation).apply(Image.fromarray(pixels))
    np.testing.assert_array_equal(ours, np.asarray(expected))


def test_a_jpeg_round_trip_changes_little_but_something() -> None:
    pixels = np.asarray(Image.fromarray(picture(8, 8)).resize((64, 64), Image.Resampling.BICUBIC))
    plain, through = (
        Preprocessing("squash", 64, 48, "bilinear", jpeg).apply(Image.fromarray(pixels))
        for jpeg in (False, True)
    )
    difference = np.abs(plain.astype(int) - through.astype(int))
    assert through.shape == (48, 48, 3)
    assert through.dtype == np.uint8
    assert 0 < difference.mean() < 12


@pytest.mark.parametrize(
    ("preprocessing", "size", "seen"),
    [
        (Preprocessing("squash", 256, 224, "bilinear"), (300, 100), (0.0625, 0.0625, 0.9375, 0.9375)),
        (Preprocessing("short_side", 100, 100, "bilinear"), (400, 100), (0.375, 0.0, 0.625, 1.0)),
        (Preprocessing("short_side", 100, 50, "bilinear"), (100, 200), (0.25, 0.375, 0.75, 0.625)),
    ],
)
def test_the_visible_box_is_the_crop(
    preprocessing: Preprocessing, size: tuple[int, int], seen: tuple[float, ...]
) -> None:
    assert preprocessing.visible_box(size) == seen


@given(width=sides, height=sides, squash=st.booleans())
def test_the_visible_box_lies_in_the_image(width: int, height: int, squash: bool) -> None:
    left, top, right, bottom = Preprocessing("squash" if squash else "short_side", 36, 32, "box").visible_box(
        (width, height)
    )
    assert 0 <= left < right <= 1
    assert 0 <= top < bottom <= 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("squash", 8, 8, "cubic"),
            "Interpolation 'cubic' is not known; there are nearest, bilinear, bicubic, lanczos, box, hamming.",
        ),
        (("squash", 8, 9, "box"), "A crop of 9 pixels does not fit in a picture resized to 8."),
        (("squash", 8, 0, "box"), "A crop of 0 pixels does not fit in a picture resized to 8."),
    ],
)
def test_invalid_sizes(arguments: tuple[str, int, int, str], complaint: str) -> None:
    with pytest.raises(ModelInvalidError) as caught:
        Preprocessing(*arguments)
    assert caught.value.message == complaint


def test_fields_for_a_manifest() -> None:
    assert Preprocessing("squash", 256, 224, "bilinear", jpeg_round_trip=True).to_dict() == {
        "resize": "squash",
        "resized": 256,
        "crop": 224,
        "interpolation": "bilinear",
        "jpeg_round_trip": True,
    }


def test_a_long_thin_image_takes_no_more_memory_than_others() -> None:
    """An image file of 60 kB must not exhaust the machine's memory."""
    script = """
from PIL import Image
from safelight.moderation.classifiers.preprocess import Preprocessing
print(Preprocessing("short_side", 384, 384, "bicubic").apply(Image.new("RGB", (1, 60_000))).shape)
"""
    limit = 3 << 29
    done = subprocess.run(
        [sys.executable, "-c", script],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "(384, 384, 3)\n", done.stderr
