"""Write captions for scenes, with many variants for the same picture."""

from __future__ import annotations

import re

import numpy as np

from pictures import Thing
from scenes import Pictures, PlacedThing, Scene, hue_word

STYLE_WORDS = {
    "3d": ("3d style", "3d render", "3d"),
    "flat": ("flat style", "flat design", "flat"),
    "cartoon": ("cartoon style", "cartoon drawing", "cartoon"),
    "sticker": ("sticker style", "simple sticker", "sticker"),
}
"""Style -> its wordings in captions; the first is the one that the docs recommend."""

COLOUR_WORD = re.compile(r"\b(?:red|orange|yellow|green|blue|purple|pink|brown|black|white)\b ?")
PLURAL = re.compile(r"(?:[^su]s|people|\bhair)$")
SPOKEN_CONSONANT = re.compile(r"(?:uni|uk|eu|ewe|one\b)")
"""Beginnings of words that are spelled with a vowel but pronounced with a consonant."""


def with_article(words: str) -> str:
    """Put "a" or "an" before a phrase, unless it is a plural."""
    if PLURAL.search(words):
        return words
    vowel = words[0] in "aeiou" and not SPOKEN_CONSONANT.match(words)
    return f"{'an' if vowel else 'a'} {words}"


def name_in_colour(name: str, colour: str) -> str:
    """Replace the colour word of a thing's name."""
    return f"{colour} {COLOUR_WORD.sub('', name)}" if colour else name


def describe_thing(thing: Thing, placed: PlacedThing, hue: float | None, random: np.random.Generator) -> str:
    """Describe one thing: its name, sometimes with one of its tags, and its colour, size and place in the scene."""
    name = name_in_colour(thing.name, placed.colour)
    if not placed.colour and hue is not None and not COLOUR_WORD.search(name) and random.random() < 0.25:
        name = f"{hue_word(hue)} {name}"
    tags = [tag for tag in thing.tags if not (placed.colour and COLOUR_WORD.search(tag))]
    if tags and random.random() < 0.1:
        name = f"{name}, {random.choice(tags)}"
    if placed.size and random.random() < 0.8:
        name = f"{placed.size} {name}"
    if random.random() < 0.6:
        name = with_article(name)
    return f"{name} {placed.place}" if placed.place else name


def describe_style(style: str, random: np.random.Generator) -> str:
    """One of a style's wordings, mostly the recommended one."""
    words = STYLE_WORDS[style]
    return words[0] if random.random() < 0.6 else str(random.choice(words))


def caption(pictures: Pictures, scene: Scene, random: np.random.Generator) -> str:
    """A random caption of a scene; a tenth of the captions is empty, for classifier-free guidance."""
    if random.random() < 0.1:
        return ""
    parts = [
        describe_thing(pictures.thing_of(placed.row), placed, pictures.main_hues[placed.row], random)
        for placed in scene.things
    ]
    styles = {pictures.rows[placed.row].style for placed in scene.things}
    text = f" {random.choice(['and', 'next to', 'beside'])} ".join(parts)
    if len(styles) == 1 and random.random() < 0.95:
        style = describe_style(styles.pop(), random)
        text = f"{style} {text}" if random.random() < 0.15 else f"{text}, {style}"
    if scene.background != "white" or random.random() < 0.15:
        joint = random.choice([" on {} background", ", {} background"])
        background = with_article(scene.background) if joint.startswith(" on") else scene.background
        text += str(joint).format(background)
    return text
