"""A preprocessor of a plug-in makes pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import Field

from safelight.errors import DuplicateNameError, PluginInvalidError, PreprocessorUnknownError
from safelight.generation.control.preprocessors import PREPROCESSORS, Parameters, Preprocessor
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.settings import Settings
from safelight.studio import Studio


class RollParameters(Parameters):
    """How far."""

    columns: int = Field(1, ge=0, le=100, description="Pixels by which the picture is moved.")


def roll(pixels: Any, parameters: RollParameters, _: Any) -> Any:
    return np.roll(pixels, parameters.columns, axis=1)


class Toy:
    """A plug-in with one preprocessor."""

    def __init__(self, name: str = "roll", function: Any = roll) -> None:
        self.item = Preprocessor(
            name, "Roll", "The picture, moved.", "All", RollParameters, function, aliases=("Rolling",)
        )

    @hookimpl
    def register_preprocessors(self, registry: Registry[Preprocessor]) -> None:
        registry.register(self.item.name, self.item)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(Settings(home=tmp_path, backend="onnxruntime", precision="fp32"))


def test_it_makes_a_picture(studio: Studio) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    with PLUGINS.registered(Toy(), "toy"):
        made = studio.preprocess(Image.fromarray(pixels), "rolling", {"columns": 3})
        assert list(PREPROCESSORS)[-1] == "roll"
        assert PREPROCESSORS["roll"].to_dict(studio.settings)["parameters"][0]["maximum"] == 100
    assert made.image is not None
    assert (made.preprocessor, made.parameters) == ("roll", {"columns": 3})
    np.testing.assert_array_equal(np.asarray(made.image), np.roll(pixels, 3, axis=1))
    with pytest.raises(PreprocessorUnknownError, match="'rolling'"):
        studio.preprocess(Image.fromarray(pixels), "rolling")


def test_a_result_of_another_size_is_an_error(studio: Studio) -> None:
    def halved(pixels: Any, *_: Any) -> Any:
        return pixels[::2]

    with (
        PLUGINS.registered(Toy(function=halved), "toy"),
        pytest.raises(PluginInvalidError, match="roll returned"),
    ):
        studio.preprocess(Image.new("RGB", (8, 8)), "roll")


def test_a_taken_name_is_refused() -> None:
    with PLUGINS.registered(Toy("canny"), "toy"), pytest.raises(DuplicateNameError, match="toy"):
        _ = PREPROCESSORS["canny"]
