"""HED, M-LSD and MoveNet on the sample photographs."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.generation.control.preprocessors.conftest import Preprocess

from safelight.errors import (
    DigestMismatchError,
    ExtraMissingError,
    MemoryBudgetError,
    ModelInvalidError,
    PersonMissingError,
    RunStoppedError,
)
from safelight.generation.control.preprocessors import PREPROCESSORS, PreprocessContext
from safelight.generation.control.preprocessors.pose import (
    COLORS,
    LIMBS,
    MOVENET,
    draw_skeleton,
    find_points,
    to_openpose,
)
from safelight.generation.control.preprocessors.soft_edge import HED
from safelight.generation.control.preprocessors.straight_lines import (
    MLSD,
    StraightLinesParameters,
    find_lines,
)
from safelight.runtime.pool import ModelPool

HED_PACKAGE = Path(__file__).parents[4] / "packages/safelight-hed/src"


@pytest.fixture
def with_hed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The optional extra, installed for the duration of a test."""
    monkeypatch.syspath_prepend(str(HED_PACKAGE))
    yield
    sys.modules.pop("safelight_hed", None)


def test_soft_edges_are_where_a_drawing_has_them(with_hed: None, preprocess: Preprocess) -> None:
    drawing = np.full((96, 128, 3), 235, np.uint8)
    drawing[24:72, 32:96] = (180, 40, 40)
    found = preprocess(drawing, "soft_edge")[..., 0]
    outline = np.zeros((96, 128), bool)
    outline[22:75, 30:99] = True
    outline[27:69, 35:93] = False
    assert found.shape == (96, 128)
    assert found[outline].mean() > 100
    assert found[36:60, 44:84].mean() < 40  # within
    assert found[:12].mean() < 40


def test_safe_edges_have_four_levels(with_hed: None, cat: Image.Image, preprocess: Preprocess) -> None:
    small = cat.crop((100, 50, 228, 146))
    assert [*np.unique(preprocess(small, "softedge_hed", safe=True))] == [0, 85, 170, 255]


def test_pictures_of_any_size_have_soft_edges(with_hed: None, preprocess: Preprocess) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 77, 3), np.uint8)
    assert preprocess(pixels, "soft_edge").shape == (5, 77, 3)


def test_without_its_extra_the_error_names_it(cat: Image.Image, context: PreprocessContext) -> None:
    """Never another preprocessor's result in its place."""
    item = PREPROCESSORS["soft_edge"]
    assert not item.available(context.settings)
    with pytest.raises(ExtraMissingError) as caught:
        item.run(cat, context=replace(context, pool=None))
    assert caught.value.hint == "pip install 'safelight[soft-edge]', or its package in packages/ of a clone."


def test_straight_lines_stand_where_the_gantries_are(photographs: list[Path], preprocess: Preprocess) -> None:
    rocket = Image.open(photographs[4]).convert("RGB")
    found = preprocess(rocket, "mlsd")
    assert found.shape == (rocket.height, rocket.width, 3)
    assert {*np.unique(found)} == {0, 255}
    white = found[..., 0] > 0
    assert 0.01 < white.mean() < 0.15
    strict = preprocess(rocket, "mlsd", score=0.5)[..., 0] > 0
    assert 0 < strict.sum() < white.sum()
    long = preprocess(rocket, "mlsd", distance=20)[..., 0] > 0
    assert 0 < long.sum() < white.sum()


def test_a_drawn_line_is_found_from_end_to_end(preprocess: Preprocess) -> None:
    drawing = np.full((512, 512, 3), 255, np.uint8)
    drawing[200:206, 80:430] = 0
    found = preprocess(drawing, "straight_lines", score=0.2)[..., 0] > 0
    rows, columns = np.nonzero(found)
    assert rows.min() >= 190
    assert rows.max() <= 216
    assert columns.min() <= 110
    assert columns.max() >= 400


def test_of_neighbouring_middles_the_most_probable_counts() -> None:
    scores = np.zeros((256, 256), np.float32)
    scores[10, 20], scores[11, 21], scores[100, 50] = 0.9, 0.8, 0.3
    offsets = np.zeros((256, 256, 4), np.float32)
    offsets[10, 20], offsets[100, 50] = (-5, 0, 5, 2), (0, -1, 0, 1)
    lines = find_lines(scores, offsets, StraightLinesParameters())
    assert lines.tolist() == [[15, 10, 25, 12], [50, 99, 50, 101]]
    assert find_lines(scores, offsets, StraightLinesParameters(distance=5)).tolist() == [[15, 10, 25, 12]]


@pytest.fixture(scope="module")
def points(astronaut: Image.Image, context: PreprocessContext) -> Any:
    with MOVENET.lease(context) as network:
        return find_points(astronaut, network, 0.2, context)


def test_the_astronauts_face_and_shoulders_are_found(points: Any) -> None:
    """Her face is within (170..280, 60..175); she looks at us, so that her left is on our right."""
    nose, left_eye, right_eye = points[:3]
    for x, y, score in (nose, left_eye, right_eye):
        assert score > 0.4
        assert 170 < x < 280
        assert 60 < y < 175
    assert right_eye[0] < nose[0] < left_eye[0]
    assert left_eye[1] < nose[1]
    left_shoulder, right_shoulder = points[5:7]
    assert right_shoulder[0] < 190 < 260 < left_shoulder[0]
    assert min(left_shoulder[1], right_shoulder[1]) > nose[1] + 60


def test_the_skeleton_has_openposes_colors(
    points: Any, astronaut: Image.Image, preprocess: Preprocess
) -> None:
    found = preprocess(astronaut, "openpose")
    for number, point in enumerate(to_openpose(points, 0.2)):
        if point is not None and point[0] < 512 and point[1] < 500:
            assert tuple(found[round(point[1]), round(point[0])]) == COLORS[number]
    assert (found == 0).all(axis=2).mean() > 0.9


def test_a_limb_is_an_ellipse_between_its_points() -> None:
    points: list[tuple[float, float] | None] = [None] * 18
    points[2], points[3] = (100.0, 256.0), (300.0, 256.0)
    drawn = draw_skeleton(points, (512, 512))
    limb = tuple(int(value * 0.6) for value in COLORS[LIMBS.index((2, 3))])
    assert tuple(drawn[256, 200]) == limb
    inside = (drawn[:, 200] != 0).any(axis=1)
    assert inside.sum() == pytest.approx(9, abs=2)  # four pixels to each side of the middle
    area = (drawn.reshape(-1, 3) == limb).all(axis=1).sum()
    assert area == pytest.approx(math.pi * 100 * 4, rel=0.15)


def test_a_small_person_is_looked_at_again(astronaut: Image.Image, context: PreprocessContext) -> None:
    scene = Image.new("RGB", (1024, 1024), (90, 110, 120))
    scene.paste(astronaut.resize((300, 300)), (600, 80))
    with MOVENET.lease(context) as network:
        found = find_points(scene, network, 0.2, context)
    x, y, score = found[0]
    assert score > 0.3
    assert x == pytest.approx(600 + 225 * 300 / 512, abs=20)
    assert y == pytest.approx(80 + 120 * 300 / 512, abs=20)


def test_pictures_of_nobody_are_an_error(photographs: list[Path], preprocess: Preprocess) -> None:
    for path in photographs[1:]:
        with pytest.raises(PersonMissingError):
            preprocess(Image.open(path).convert("RGB").resize((512, 512)), "pose")
    cup = Image.open(photographs[2]).convert("RGB")
    assert preprocess(cup, "pose", person=0.05, score=0.05).any()  # if they insist


@pytest.mark.parametrize("file", [MLSD, MOVENET, HED], ids=lambda file: file.title)
def test_other_weights_than_the_pinned_ones_are_refused(
    file: Any, with_hed: None, context: PreprocessContext
) -> None:
    other = replace(file, weights_digest="0" * 64)
    with pytest.raises(DigestMismatchError), other.lease(context):
        pass
    missing = replace(file, stem="preprocessors/nothing", extra="")
    with pytest.raises(ModelInvalidError), missing.lease(replace(context, pool=None)):
        pass


def test_a_network_stops_while_it_computes(with_hed: None, context: PreprocessContext) -> None:
    """It asks several times; the picture would take seconds."""
    asked: list[float] = []

    def should_stop() -> bool:
        asked.append(time.perf_counter())
        return len(asked) == 3

    picture = Image.new("RGB", (448, 448), "grey")
    with pytest.raises(RunStoppedError):
        PREPROCESSORS["soft_edge"].run(picture, context=replace(context, should_stop=should_stop))
    assert len(asked) == 3


def test_networks_stay_in_the_pool_and_within_its_budget(context: PreprocessContext) -> None:
    assert context.pool is not None
    with MLSD.lease(context) as first, MLSD.lease(context) as second:
        assert first is second
    small = replace(context, pool=ModelPool(10**6))
    with pytest.raises(MemoryBudgetError), MLSD.lease(small):
        pass


def test_a_network_gets_the_picture_as_it_is(context: PreprocessContext) -> None:
    """MoveNet's input is a square around the picture, black beyond it, and its points are scaled back."""
    seen: list[Any] = []

    def run(pixels: Any, _: Any) -> dict[str, Any]:
        seen.append(pixels)
        return {"points": np.full((1, 1, 17, 3), [0.5, 0.25, 0.0], np.float32)}

    network: Any = SimpleNamespace(run=run)
    found = find_points(Image.new("RGB", (200, 100), (255, 255, 255)), network, 0.2, context)
    assert len(seen) == 1  # nobody, so not a second time
    assert seen[0].shape == (192, 192, 3)
    assert (seen[0][:44] == 0).all()
    assert (seen[0][52:140] == 255).all()
    assert found[:, :2].tolist() == [[50.0, 50.0]] * 17
