from __future__ import annotations

import io

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.hypothesis_profiles import example_count

from safelight.server.api.image_resizing import CROP, PAD, STRETCH, fast_png, resize


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.sampled_from([STRETCH, CROP, PAD]),
    st.sampled_from(["RGB", "L"]),
)
@settings(max_examples=example_count(80))
def test_every_mode_gives_the_size(
    size: tuple[int, int], target: tuple[int, int], mode: int, kind: str
) -> None:
    image = resize(Image.new(kind, size), target, mode)
    assert (image.size, image.mode) == (target, kind)


def test_a_fast_png_keeps_every_pixel() -> None:
    image = Image.effect_noise((16, 16), 64)
    assert Image.open(io.BytesIO(fast_png(image))).tobytes() == image.tobytes()
