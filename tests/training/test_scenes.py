from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.training.conftest import HUES_OF_THINGS, SIDE, disc

from scenes import (
    COLOURS,
    HUES,
    PLACES,
    SIZES,
    Pictures,
    PlacedThing,
    Scene,
    hue_word,
    main_hue,
    random_scene,
    render_scene,
    repaint,
)

Box = tuple[int, int, int, int]
SEEDS = st.integers(0, 2**32 - 1)


def make_random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def hue_distance(one: float, other: float) -> float:
    """Degrees between two hues."""
    return abs((one - other + 180) % 360 - 180)


def things_box(picture: np.ndarray) -> Box:
    """Left, top, right, bottom of everything that is not background, whose colour is in the corner."""
    differs = (np.abs(picture.astype(int) - picture[0, 0]) > 40).any(axis=-1)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


# Hues


@pytest.mark.parametrize("hue", [0, 5, 120, 275, 355])
def test_a_main_hue_is_found_around_the_whole_circle(hue: float) -> None:
    found = main_hue(disc(hue))
    assert found is not None
    assert hue_distance(found, hue) < 3


def test_several_colours_or_none_have_no_main_hue(pictures: Pictures) -> None:
    assert main_hue(disc(0, 180)) is None
    assert main_hue(disc(0, saturation=0.1)) is None
    assert main_hue(disc(0, value=0.1)) is None
    assert [hue is None for hue in pictures.main_hues] == [False, False, False, False, True, True] * 2


def test_transparent_pixels_are_ignored() -> None:
    pixels = disc(120)
    pixels[pixels[..., 3] == 0] = (255, 0, 0, 0)
    found = main_hue(pixels)
    assert found is not None
    assert hue_distance(found, 120) < 3


@pytest.mark.parametrize("word", HUES)
def test_a_colours_own_hue_has_its_name(word: str) -> None:
    assert hue_word(HUES[word]) == word
    assert hue_word(359) == "red"


@pytest.mark.parametrize("colour", HUES)
@given(hue=st.floats(0, 359.9))
def test_recolouring_changes_the_hue_and_keeps_the_shape(colour: str, hue: float) -> None:
    pixels = disc(hue)
    painted = repaint(pixels, hue, colour)
    found = main_hue(painted)
    assert found is not None
    assert hue_distance(found, HUES[colour]) < 6
    assert hue_word(found) == colour
    assert np.array_equal(painted[..., 3], pixels[..., 3])


def test_recolouring_keeps_the_shading() -> None:
    pixels = np.hstack([disc(0, value=0.4)[:, :64], disc(0, value=0.9)[:, 64:]])
    painted = repaint(pixels, 0, "blue")[64, [32, 96], :3]
    assert painted[0].max() == pytest.approx(0.4 * 255, abs=2)
    assert painted[1].max() == pytest.approx(0.9 * 255, abs=2)


# Painting


def test_a_single_thing_is_centred_on_white(pictures: Pictures) -> None:
    picture = render_scene(pictures, Scene((PlacedThing(0),)), make_random())
    assert picture.shape == (SIDE, SIDE, 3)
    assert picture.dtype == np.uint8
    assert tuple(picture[0, 0]) == (255, 255, 255)
    left, top, right, bottom = things_box(picture)
    assert right - left == pytest.approx(0.9 * 120, abs=3)
    assert (left + right) / 2 == pytest.approx(64, abs=2)
    assert (top + bottom) / 2 == pytest.approx(64, abs=2)


@pytest.mark.parametrize("colour", COLOURS)
def test_the_background_has_its_colour(colour: str, pictures: Pictures) -> None:
    for seed in range(5):
        ground = render_scene(pictures, Scene((PlacedThing(5),), colour), make_random(seed))[0, 0].astype(int)
        assert np.abs(ground - COLOURS[colour]).max() <= 10
        nearest = min(COLOURS, key=lambda word: np.abs(ground - COLOURS[word]).sum())
        assert nearest == colour


@pytest.mark.parametrize("size", ["small", ""])
@given(place=st.sampled_from(list(PLACES)), seed=SEEDS)
def test_a_thing_is_at_the_position_of_its_caption(
    size: str, pictures: Pictures, place: str, seed: int
) -> None:
    picture = render_scene(pictures, Scene((PlacedThing(0, size=size, place=place),)), make_random(seed))
    left, top, right, bottom = things_box(picture)
    smallest, largest = (scale * SIDE * 120 / 128 for scale in SIZES[size])
    assert smallest - 3 <= right - left <= largest + 3
    across, down = (left + right) / 2 - 64, (top + bottom) / 2 - 64
    far = 20 if size else 1
    wanted = {
        "in the middle": abs(across) < 3 and abs(down) < 3,
        "on the left": across < -far and abs(down) < 3,
        "on the right": across > far and abs(down) < 3,
        "at the top": down < -far and abs(across) < 3,
        "at the bottom": down > far and abs(across) < 3,
    }
    assert wanted[place]


def test_a_colour_is_applied_where_the_thing_has_one_hue(pictures: Pictures) -> None:
    blue = render_scene(pictures, Scene((PlacedThing(0, colour="blue"),)), make_random())[64, 64].astype(int)
    assert blue[2] > blue[0] + 100
    plain, asked = (
        render_scene(pictures, Scene((PlacedThing(4, colour=word),)), make_random()) for word in ("", "blue")
    )  # of two colours
    assert np.array_equal(plain, asked)


@given(seed=SEEDS)
def test_two_things_are_placed_from_left_to_right(pictures: Pictures, seed: int) -> None:
    picture = render_scene(pictures, Scene((PlacedThing(0), PlacedThing(1))), make_random(seed))
    halves = picture[:, :64], picture[:, 64:]
    red, blue = (half[(half < 200).any(axis=-1)].mean(axis=0) for half in halves)
    assert red[0] > red[2] + 100
    assert blue[2] > blue[0] + 100


# Sampled scenes


@given(row=st.integers(0, 11), seed=SEEDS)
def test_a_scene_asks_for_nothing_that_cannot_be_painted(pictures: Pictures, row: int, seed: int) -> None:
    scene = random_scene(pictures, row, make_random(seed))
    assert scene.things[0].row == row
    assert len(scene.things) in (1, 2)
    assert scene.background in COLOURS
    for placed in scene.things:
        assert placed.colour in ("", *HUES)
        assert not placed.colour or pictures.main_hues[placed.row] is not None
        assert placed.size in SIZES
        assert placed.place in ("", *PLACES)
    assert render_scene(pictures, scene, make_random(seed)).shape == (SIDE, SIDE, 3)


def test_every_kind_of_scene_is_sampled(pictures: Pictures) -> None:
    random = make_random()
    scenes = [random_scene(pictures, number % 12, random) for number in range(1200)]
    alone = [scene.things[0] for scene in scenes if len(scene.things) == 1]
    assert {scene.background for scene in scenes} == set(COLOURS)
    assert {placed.colour for placed in alone} == {"", *HUES}
    assert {placed.place for placed in alone} == set(PLACES) - {"in the middle"} | {""}
    assert {placed.size for placed in alone} == {"", "small"}
    assert 0.15 < sum(len(scene.things) == 2 for scene in scenes) / len(scenes) < 0.25


def test_the_same_seed_gives_the_same_scene(pictures: Pictures) -> None:
    first, again = (random_scene(pictures, 0, make_random(3)) for _ in range(2))
    assert first == again
    assert np.array_equal(*(render_scene(pictures, first, make_random(4)) for _ in range(2)))


def test_a_selection_keeps_images_and_rows_together(pictures: Pictures) -> None:
    few = pictures.only([1, 8])
    assert [few.thing_of(row).name for row in range(2)] == ["toy ball", "umbrella"]
    assert [row.style for row in few.rows] == ["3d", "sticker"]
    for hue, name in zip(few.main_hues, ("toy ball", "umbrella"), strict=True):
        assert hue is not None
        assert hue_distance(hue, HUES_OF_THINGS[name]) < 3
