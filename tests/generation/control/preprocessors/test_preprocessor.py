from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from safelight.errors import (
    AboveMaximumError,
    BelowMinimumError,
    FieldTypeError,
    FieldUnknownError,
    ImageArrayError,
    PreprocessorUnknownError,
    RunStoppedError,
    SafelightError,
)
from safelight.generation.control.preprocessors import PREPROCESSORS, PreprocessContext, find_preprocessor
from safelight.settings import Settings

WITH_NETWORKS = {"soft_edge", "straight_lines", "pose", "depth", "normal", "segmentation", "object_mask"}


@pytest.mark.parametrize("name", sorted(PREPROCESSORS.keys() - WITH_NETWORKS))
@pytest.mark.parametrize("size", [(1, 1), (3, 70), (97, 64)])
def test_every_result_has_the_pictures_size_and_is_the_same_again(
    name: str, size: tuple[int, int], context: PreprocessContext
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(pixels)
    first, second = (PREPROCESSORS[name].run(image, context=context) for _ in range(2))
    assert (first.mode, first.size) == ("RGB", size)
    assert first.tobytes() == second.tobytes()
    assert np.array_equal(np.asarray(image), pixels)  # is left as it was


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("Canny", "canny"),
        ("scribble_xdog", "scribble"),
        ("lineart_standard", "line_art"),
        ("tile_resample", "tile"),
        ("blur_gaussian", "blur"),
        ("t2ia_color_grid", "color_grid"),
        ("invert (from white bg & black line)", "invert"),
        ("recolor_luminance", "recolor_luminance"),
    ],
)
def test_the_names_that_other_clients_use(alias: str, name: str) -> None:
    assert find_preprocessor(alias).name == name


def test_names_are_unambiguous() -> None:
    names = [each for item in PREPROCESSORS.values() for each in (item.name, *item.aliases)]
    assert len({name.casefold() for name in names}) == len(names)


@pytest.mark.parametrize("name", ["canyn", "scribble_pidinet", "none", ""])
def test_a_name_without_counterpart_is_an_error(name: str) -> None:
    with pytest.raises(PreprocessorUnknownError):
        find_preprocessor(name)


@pytest.mark.parametrize(
    ("parameters", "error", "field"),
    [
        ({"low": -1}, BelowMinimumError, "parameters.low"),
        ({"high": 1001}, AboveMaximumError, "parameters.high"),
        ({"low": "a"}, FieldTypeError, "parameters.low"),
        ({"medium": 3}, FieldUnknownError, "parameters.medium"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], error: type[SafelightError], field: str) -> None:
    with pytest.raises(error) as caught:
        PREPROCESSORS["canny"].parse(parameters)
    assert caught.value.field == field
    assert caught.value.hint == "Its parameters are low, high."


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(SafelightError):
        PREPROCESSORS["blur"].parse({"sigma": float("nan")})


@pytest.mark.parametrize("item", PREPROCESSORS.values(), ids=lambda item: item.name)
def test_every_preprocessor_describes_itself(item: Any, context: PreprocessContext) -> None:
    row = item.to_dict(context.settings)
    assert row["description"].endswith(".")
    assert set(item.sliders) <= item.parameters.model_fields.keys()
    for parameter in row["parameters"]:
        assert parameter["description"].endswith(".")
        if parameter["type"] in ("integer", "number"):
            assert parameter["minimum"] <= parameter["default"] <= parameter["maximum"]


def test_other_modes_than_rgb_are_refused(context: PreprocessContext) -> None:
    with pytest.raises(ImageArrayError):
        PREPROCESSORS["grey"].run(Image.new("L", (8, 8)), context=context)


def test_it_stops_when_asked(cat: Image.Image) -> None:
    context = PreprocessContext(Settings(), should_stop=lambda: True)
    with pytest.raises(RunStoppedError):
        PREPROCESSORS["blur"].run(cat, context=context)
