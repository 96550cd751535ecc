"""An upscaler of a plug-in enlarges pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from safelight.errors import DuplicateNameError, UpscalerUnknownError
from safelight.generation.upscaling import UPSCALERS, Upscaler, find_upscalers
from safelight.generation.upscaling.resampling import ResamplingUpscaler
from safelight.images import DecodeLimits
from safelight.jobs.cost import RESAMPLING_COST, upscale_size
from safelight.jobs.payloads import UpscaleRequest
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.settings import Settings
from safelight.studio import Studio


class Mirroring:
    """Enlarges a picture and mirrors it."""

    name, factor, digest = "mirroring", None, None

    def upscale(self, image: Image.Image, factor: float, **options: Any) -> Image.Image:
        return ImageOps.mirror(ResamplingUpscaler("nearest").upscale(image, factor, **options))


class Toy:
    """A plug-in with one upscaler."""

    def __init__(self, name: str = Mirroring.name) -> None:
        self.name = name

    @hookimpl
    def register_upscalers(self, registry: Registry[Upscaler]) -> None:
        registry.register(self.name, Mirroring())


def test_it_enlarges_a_picture(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = 255
    studio = Studio(Settings(home=tmp_path, backend="onnxruntime", precision="fp32"))
    with PLUGINS.registered(Toy(), "toy"):
        made = studio.upscale(Image.fromarray(pixels), by=2, upscaler="mirroring")
        assert [info.name for info in find_upscalers(tmp_path)][: len(UPSCALERS)] == list(UPSCALERS)
    assert made.image is not None
    np.testing.assert_array_equal(np.asarray(made.image), pixels.repeat(2, 0).repeat(2, 1)[:, ::-1])
    with pytest.raises(UpscalerUnknownError, match="'mirroring'"):
        studio.upscale(Image.fromarray(pixels), by=2, upscaler="mirroring")


def test_its_jobs_cost_as_little_as_those_without_a_network(tmp_path: Path) -> None:
    Image.new("RGB", (1000, 1000)).save(tmp_path / "a.png")
    request = UpscaleRequest(image=(tmp_path / "a.png").read_bytes(), by=1, upscaler="mirroring")
    limits = DecodeLimits()
    with PLUGINS.registered(Toy(), "toy"):
        assert upscale_size(request, limits).cost == pytest.approx(RESAMPLING_COST)


def test_a_built_in_name_is_taken() -> None:
    with (
        PLUGINS.registered(Toy("lanczos"), "toy"),
        pytest.raises(DuplicateNameError, match="'lanczos' of toy"),
    ):
        UPSCALERS["nearest"]
