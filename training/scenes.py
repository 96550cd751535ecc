"""Compose scenes from cut-out pictures: backgrounds, sizes, places, colours, two things side by side.

A scene keeps the facts that its caption can mention, so that a caption never describes what the picture does not show.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from pictures import SIZE, WORK, Row, Thing

COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "black": (20, 20, 22),
    "gray": (140, 142, 148),
    "red": (214, 48, 49),
    "orange": (240, 140, 40),
    "yellow": (250, 210, 60),
    "green": (70, 160, 80),
    "blue": (50, 110, 220),
    "light blue": (165, 210, 245),
    "purple": (130, 80, 200),
    "pink": (245, 160, 190),
    "brown": (130, 90, 60),
}
"""Background colours by the word of the caption, sRGB."""

HUES: dict[str, float] = {
    "red": 0,
    "orange": 28,
    "yellow": 50,
    "green": 120,
    "blue": 215,
    "purple": 275,
    "pink": 330,
}
"""Colours a thing can be repainted in, as the hue of its main colour in degrees."""

SIZES: dict[str, tuple[float, float]] = {"small": (0.32, 0.45), "": (0.86, 0.94), "big": (0.95, 1.0)}
PLACES: dict[str, tuple[float, float]] = {
    "in the middle": (0.5, 0.5),
    "on the left": (0.0, 0.5),
    "on the right": (1.0, 0.5),
    "at the top": (0.5, 0.0),
    "at the bottom": (0.5, 1.0),
}


@dataclass(frozen=True)
class PlacedThing:
    """One thing in a scene; an empty attribute is not mentioned in the caption."""

    row: int
    colour: str = ""
    size: str = ""
    place: str = ""


@dataclass(frozen=True)
class Scene:
    """The contents of a picture: one thing, or two from left to right, on a background."""

    things: tuple[PlacedThing, ...]
    background: str = "white"


@dataclass(frozen=True)
class Pictures:
    """All cut-out pictures with their table."""

    pixels: np.ndarray
    """(N, 128, 128, 4) uint8, straight alpha."""
    things: list[Thing]
    rows: list[Row]

    @classmethod
    def load(cls, work: Path = WORK) -> Pictures:
        """Read the files that pictures.py wrote."""
        table = json.loads((work / "table.json").read_text())
        rows = [Row(**row) for row in table["rows"]]
        return cls(np.load(work / "pictures.npy"), [Thing(**thing) for thing in table["things"]], rows)

    def only(self, rows: list[int]) -> Pictures:
        """A subset with only these rows, so that scenes contain no others."""
        return Pictures(self.pixels[rows], self.things, [self.rows[row] for row in rows])

    def thing_of(self, row: int) -> Thing:
        """The thing that a picture shows."""
        return self.things[self.rows[row].thing]

    @cached_property
    def main_hues(self) -> list[float | None]:
        """The main hue of every picture in degrees; None where it has several colours or none."""
        return [main_hue(pixels) for pixels in self.pixels]


def main_hue(pixels: np.ndarray) -> float | None:
    """The hue that dominates a (h, w, 4) picture, or None if there is none."""
    hsv = np.asarray(Image.fromarray(pixels[..., :3]).convert("HSV"), dtype=np.float32)
    opaque = pixels[..., 3] / 255.0
    weight = opaque * (hsv[..., 1] / 255) * (hsv[..., 2] / 255)
    if weight.sum() < 0.3 * opaque.sum():
        return None
    mean = (weight * np.exp(1j * hsv[..., 0] * (2 * np.pi / 256))).sum() / weight.sum()
    return float(np.degrees(np.angle(mean)) % 360) if abs(mean) > 0.8 else None


def hue_word(hue: float) -> str:
    """The colour word nearest to a hue."""
    return min(HUES, key=lambda word: abs((hue - HUES[word] + 180) % 360 - 180))


def repaint(pixels: np.ndarray, hue: float, colour: str) -> np.ndarray:
    """Rotate all hues of a picture so that its main hue becomes a colour; shading and transparency stay."""
    hsv = np.array(Image.fromarray(pixels[..., :3]).convert("HSV"))
    turn = round((HUES[colour] - hue) * 256 / 360)
    hsv[..., 0] = (hsv[..., 0].astype(np.int32) + turn) % 256
    if colour == "pink":
        hsv[..., 1] = hsv[..., 1] * 0.6
    rgb = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
    return np.dstack([rgb, pixels[..., 3]])


def paste(canvas: Image.Image, pixels: np.ndarray, side: int, corner: tuple[int, int]) -> None:
    """Paste a cut-out onto a canvas at a size in pixels."""
    cut_out = Image.fromarray(pixels)
    if side != SIZE:
        # Premultiplied, so that the colour of transparent pixels does not bleed into the edge.
        cut_out = cut_out.convert("RGBa").resize((side, side), Image.Resampling.LANCZOS).convert("RGBA")
    canvas.paste(cut_out, corner, cut_out)


def render_scene(pictures: Pictures, scene: Scene, random: np.random.Generator) -> np.ndarray:
    """Render a scene to (128, 128, 3) uint8; attributes that are not set are chosen at random."""
    shade = np.clip(np.array(COLOURS[scene.background]) + random.integers(-10, 11, 3), 0, 255)
    background = (255, 255, 255) if scene.background == "white" else tuple(int(value) for value in shade)
    canvas = Image.new("RGB", (SIZE, SIZE), background)
    pair = len(scene.things) == 2
    for number, placed in enumerate(scene.things):
        pixels = pictures.pixels[placed.row]
        hue = pictures.main_hues[placed.row]
        if placed.colour and hue is not None:
            pixels = repaint(pixels, hue, placed.colour)
        if pair:
            side = round(SIZE * random.uniform(0.44, 0.49))
            corner = (
                number * SIZE // 2 + (SIZE // 2 - side) // 2,
                (SIZE - side) // 2 + int(random.integers(-12, 13)),
            )
        else:
            scale = random.uniform(*SIZES[placed.size]) if placed.size or placed.place else 0.9
            side = round(SIZE * scale)
            across, down = PLACES[placed.place or "in the middle"]
            corner = (round((SIZE - side) * across), round((SIZE - side) * down))
        paste(canvas, pixels, side, corner)
    return np.asarray(canvas)


def random_scene(pictures: Pictures, row: int, random: np.random.Generator) -> Scene:
    """A random scene with one picture: a background, perhaps a place, a colour, or a second picture."""
    background = str(random.choice(list(COLOURS))) if random.random() < 0.7 else "white"
    kind = random.random()
    if kind < 0.2:
        return Scene((PlacedThing(row), PlacedThing(int(random.integers(len(pictures.rows))))), background)
    if kind < 0.5 and pictures.main_hues[row] is not None:
        return Scene((PlacedThing(row, colour=str(random.choice(list(HUES)))),), background)
    if kind < 0.75:
        place = str(random.choice(list(PLACES)))
        return Scene(
            (PlacedThing(row, size="small", place="" if place == "in the middle" else place),), background
        )
    return Scene((PlacedThing(row),), background)
