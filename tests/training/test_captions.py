from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from captions import STYLE_WORDS, caption, name_in_colour, with_article
from scenes import COLOURS, HUES, PLACES, SIZES, Pictures, PlacedThing, Scene, hue_word, random_scene

SEEDS = st.integers(0, 2**32 - 1)
COLOUR = re.compile(rf"\b(?:{'|'.join(sorted({*COLOURS, *HUES}, key=len, reverse=True))})\b")
GROUND = re.compile(rf"(?: on (?:an? )?|, )({COLOUR.pattern}) background$")
STYLE = re.compile(r"\b(?:3d|flat|cartoon|sticker)\b")


def caption_of(pictures: Pictures, scene: Scene, seed: int) -> str:
    return caption(pictures, scene, np.random.default_rng(seed))


def captions(pictures: Pictures, scene: Scene, count: int = 300) -> list[str]:
    """The captions of a scene, without the empty ones."""
    random = np.random.default_rng(0)
    return list(filter(None, (caption(pictures, scene, random) for _ in range(count))))


def fraction_with(texts: list[str], words: str) -> float:
    return sum(words in text for text in texts) / len(texts)


# Only what the image shows


def colours_shown(pictures: Pictures, placed: PlacedThing) -> set[str]:
    """Every colour word that is true of a thing."""
    if placed.colour:
        return {placed.colour}
    hue = pictures.main_hues[placed.row]
    return {*COLOUR.findall(pictures.thing_of(placed.row).name), *([] if hue is None else [hue_word(hue)])}


def assert_true(pictures: Pictures, placed: PlacedThing, part: str) -> None:
    """Assert that one thing's part of a caption describes that thing and nothing else."""
    thing = pictures.thing_of(placed.row)
    assert name_in_colour(thing.name, placed.colour) in part
    assert set(COLOUR.findall(part)) <= colours_shown(pictures, placed)
    assert {size for size in SIZES if size and re.search(rf"\b{size}\b", part)} <= {placed.size}
    assert {place for place in PLACES if place in part} <= {placed.place}
    others = [other for other in pictures.things if other is not thing]
    for other in others:
        bare = COLOUR.sub("", other.name).strip()
        assert not any(re.search(rf"\b{word}\b", part) for word in (bare, *other.tags))


def scenes(pictures: Pictures) -> st.SearchStrategy[Scene]:
    """Scenes as they are sampled, and any others that can be painted."""

    def placed(row: int) -> st.SearchStrategy[PlacedThing]:
        colours = st.sampled_from(["", *HUES]) if pictures.main_hues[row] is not None else st.just("")
        places, sizes = st.sampled_from(["", *PLACES]), st.sampled_from(list(SIZES))
        return st.builds(PlacedThing, st.just(row), colours, sizes, places)

    def by_lot(row: int, seed: int) -> Scene:
        return random_scene(pictures, row, np.random.default_rng(seed))

    rows = st.integers(0, len(pictures.rows) - 1)
    things = st.lists(rows.flatmap(placed), min_size=1, max_size=2).map(tuple)
    return st.one_of(st.builds(by_lot, rows, SEEDS), st.builds(Scene, things, st.sampled_from(list(COLOURS))))


@given(data=st.data(), seed=SEEDS)
def test_a_caption_describes_only_what_the_image_shows(
    pictures: Pictures, data: st.DataObject, seed: int
) -> None:
    scene = data.draw(scenes(pictures))
    text = caption_of(pictures, scene, seed)
    assume(text)
    if ground := GROUND.search(text):
        assert ground[1] == scene.background
        text = text[: ground.start()]
    else:
        assert scene.background == "white"
    styles = {pictures.rows[placed.row].style for placed in scene.things}
    assert set(STYLE.findall(text)) <= (styles if len(styles) == 1 else set())
    parts = re.split(r" (?:and|next to|beside) ", text)
    assert len(parts) == len(scene.things)
    for placed, part in zip(scene.things, parts, strict=True):
        assert_true(pictures, placed, part)


@given(data=st.data(), seed=SEEDS)
def test_the_same_seed_gives_the_same_captions(pictures: Pictures, data: st.DataObject, seed: int) -> None:
    scene = data.draw(scenes(pictures))
    assert caption_of(pictures, scene, seed) == caption_of(pictures, scene, seed)


# And what the scene asks for


def test_a_tenth_is_empty(pictures: Pictures) -> None:
    random = np.random.default_rng(0)
    texts = [caption(pictures, Scene((PlacedThing(0),)), random) for _ in range(4000)]
    assert 0.08 < texts.count("") / len(texts) < 0.12


def test_a_position_is_always_mentioned(pictures: Pictures) -> None:
    for place in PLACES:
        assert fraction_with(captions(pictures, Scene((PlacedThing(4, place=place),))), place) == 1


def test_a_new_colour_is_always_mentioned_in_place_of_the_things_own(pictures: Pictures) -> None:
    for colour in HUES:
        texts = captions(pictures, Scene((PlacedThing(0, colour=colour),)))
        assert fraction_with(texts, f"{colour} apple") == 1
        assert colour == "red" or fraction_with(texts, "red") == 0


def test_a_background_is_always_mentioned_unless_it_is_white(pictures: Pictures) -> None:
    for colour in COLOURS:
        share = fraction_with(captions(pictures, Scene((PlacedThing(4),), colour)), f"{colour} background")
        assert share == 1 if colour != "white" else 0.05 < share < 0.3


def test_a_size_is_mostly_mentioned(pictures: Pictures) -> None:
    assert (
        0.7
        < fraction_with(captions(pictures, Scene((PlacedThing(4, size="small"),))), "small cat face")
        < 0.9
    )


def test_a_main_hue_is_sometimes_mentioned_where_the_name_has_none(pictures: Pictures) -> None:
    assert 0.15 < fraction_with(captions(pictures, Scene((PlacedThing(1),))), "blue toy ball") < 0.35
    assert fraction_with(captions(pictures, Scene((PlacedThing(0),))), "red red") == 0


def test_styles_are_mostly_mentioned_and_mostly_in_the_recommended_words(pictures: Pictures) -> None:
    texts = captions(pictures, Scene((PlacedThing(6),)), count=1000)
    assert 0.92 < fraction_with(texts, "sticker") < 0.98
    assert fraction_with(texts, "sticker style") > 0.55
    for words in STYLE_WORDS["sticker"]:
        assert fraction_with(texts, words) > 0.05
    mixed = captions(pictures, Scene((PlacedThing(0), PlacedThing(7))))
    assert not any(STYLE.search(text) for text in mixed)


def test_a_tag_is_sometimes_mentioned(pictures: Pictures) -> None:
    texts = captions(pictures, Scene((PlacedThing(0),)), count=1000)
    assert 0.05 < fraction_with(texts, ", fruit") + fraction_with(texts, ", orchard") < 0.15


# Grammar


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("cat face", "a cat face"),
        ("apple", "an apple"),
        ("orange umbrella", "an orange umbrella"),
        ("dress", "a dress"),
        ("scissors", "scissors"),
        ("eyes", "eyes"),
        ("chopsticks", "chopsticks"),
        ("people", "people"),
    ],
)
def test_articles_and_plurals(words: str, said: str) -> None:
    assert with_article(words) == said


@pytest.mark.parametrize(
    ("name", "colour", "said"),
    [
        ("red apple", "blue", "blue apple"),
        ("apple", "blue", "blue apple"),
        ("red apple", "", "red apple"),
        ("infrared lamp", "green", "green infrared lamp"),
        ("person with white cane", "pink", "pink person with cane"),
    ],
)
def test_names_in_another_colour(name: str, colour: str, said: str) -> None:
    assert name_in_colour(name, colour) == said


def neighbours(texts: list[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        yield from pairwise(text.split())


def test_an_article_agrees_with_the_word_after_it(pictures: Pictures) -> None:
    """Whatever adjective is in between."""
    texts = [
        text
        for row in range(12)
        for colour in ("", "orange", "blue")
        if not colour or pictures.main_hues[row] is not None
        for text in captions(pictures, Scene((PlacedThing(row, colour, "small"),), "orange"), count=40)
    ]
    followed = [(first, then) for first, then in neighbours(texts) if first in ("a", "an")]
    assert {first for first, _ in followed} == {"a", "an"}
    assert all((then[0] in "aeiou") == (first == "an") for first, then in followed)
    assert not any("a sunglasses" in text for text in texts)
