"""A contact sheet of verdicts: each image beside its heat map, with its decision and score."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from safelight.atomic_write import atomic_write
from safelight.moderation.explain import Explanation
from safelight.moderation.policy import Decision
from safelight.moderation.verdict import Judgement

Cell = tuple[Judgement, Explanation]

_WIDTH, _HEIGHT = 280, 200
_GAP = 8
_MARGIN = 18
_CAPTION = 44
_LEGEND = "Blue pulls toward safe, red toward unsafe; inside the white frame is what the classifier saw."
_COLUMNS = 2
_BACKGROUND = (24, 24, 27)
_TEXT_COLOUR = (235, 235, 238)
_MUTED_COLOUR = (150, 150, 158)
_DECISION_COLOURS = {
    Decision.ALLOW: (63, 170, 110),
    Decision.REVIEW: (222, 165, 44),
    Decision.BLOCK: (214, 60, 70),
}


def write_contact_sheet(cells: list[Cell], path: Path) -> None:
    """Draw the contact sheet and write it atomically as a PNG."""
    rows = max(1, -(-len(cells) // _COLUMNS))
    step_x, step_y = 2 * _WIDTH + _GAP + _MARGIN, _HEIGHT + _CAPTION + _MARGIN
    sheet = Image.new("RGB", (_COLUMNS * step_x + _MARGIN, rows * step_y + 2 * _MARGIN + 12), _BACKGROUND)
    for number, cell in enumerate(cells):
        row, column = divmod(number, _COLUMNS)
        _draw_cell(sheet, (_MARGIN + column * step_x, _MARGIN + row * step_y), *cell)
    ImageDraw.Draw(sheet).text(
        (_MARGIN, sheet.height - _MARGIN), _LEGEND, _MUTED_COLOUR, _font(15), anchor="lm"
    )
    with atomic_write(path) as temporary:
        sheet.save(temporary, format="PNG")


def _draw_cell(
    sheet: Image.Image, corner: tuple[int, int], judgement: Judgement, explanation: Explanation
) -> None:
    verdict = judgement.verdict
    assert verdict is not None
    left, top = corner
    for offset, picture in ((0, explanation.image), (_WIDTH + _GAP, explanation.heat_map)):
        small = picture.copy()
        small.thumbnail((_WIDTH, _HEIGHT))
        x = left + offset + (_WIDTH - small.width) // 2
        sheet.paste(small, (x, top + (_HEIGHT - small.height) // 2))
    draw = ImageDraw.Draw(sheet)
    baseline = top + _HEIGHT + 10
    draw.rounded_rectangle(
        (left, baseline, left + 74, baseline + 26), 6, fill=_DECISION_COLOURS[verdict.decision]
    )
    draw.text((left + 37, baseline + 13), verdict.decision.value, _BACKGROUND, _font(16), anchor="mm")
    draw.text(
        (left + 86, baseline + 13), _shorten(Path(judgement.path).name), _TEXT_COLOUR, _font(17), anchor="lm"
    )
    right = left + 2 * _WIDTH + _GAP
    draw.text((right, baseline + 13), f"unsafe {verdict.unsafe:.4f}", _MUTED_COLOUR, _font(17), anchor="rm")


def _shorten(name: str, max_length: int = 34) -> str:
    return name if len(name) <= max_length else f"{name[: max_length - 10]}…{name[-9:]}"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
