"""Pictures with 1024 pixels a side, as people use them, in recognisable colours."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

SIDE = 1024


def draw_picture(path: Path, colour: str, *, height: int = SIDE) -> Path:
    """Draw a picture of a house on a ground of this colour."""
    image = Image.new("RGB", (SIDE, height), colour)
    draw = ImageDraw.Draw(image)
    middle = height // 2
    draw.rectangle((300, middle - 40, 720, middle + 300), fill="ivory")
    draw.polygon([(260, middle - 40), (510, middle - 240), (760, middle - 40)], fill="firebrick")
    draw.rectangle((470, middle + 120, 560, middle + 300), fill="saddlebrown")
    image.save(path)
    return path
