"""The starter's judge: whether pictures show what their captions say, by the real pictures that are nearest to them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class JudgeScore:
    """The scores of some pictures.

    Args:
        right_thing: The share of pictures that are nearest to the thing of their caption.
        right_thing_and_style: The share of those that are nearest to it in the caption's style.
        distance: The mean distance to the picture that the caption describes, in grey levels (root mean square).
    """

    right_thing: float
    right_thing_and_style: float
    distance: float

    def to_dict(self) -> dict[str, float]:
        """The scores for JSON output."""
        return {
            "right_thing": self.right_thing,
            "right_thing_and_style": self.right_thing_and_style,
            "distance": self.distance,
        }


class StarterJudge:
    """Real pictures of 32 things in four styles, made by training/references.py."""

    def __init__(self) -> None:
        described = json.loads((_FOLDER / "starter_references.json").read_text(encoding="utf-8"))
        self.side: int = described["side"]
        self.names: list[str] = described["names"]
        self.styles: list[str] = described["styles"]

    @cached_property
    def references(self) -> npt.NDArray[np.float64]:
        """The real pictures: [things, styles, side, side, 3]."""
        sheet = np.asarray(Image.open(_FOLDER / "starter_references.png").convert("RGB"), float)
        rows, columns = sheet.shape[0] // self.side, sheet.shape[1] // self.side
        return sheet.reshape(rows, self.side, columns, self.side, 3).transpose(2, 0, 1, 3, 4)

    @property
    def captions(self) -> list[str]:
        """A caption for each thing, the styles in turn."""
        return [f"{name}, {self.styles[n % len(self.styles)]}" for n, name in enumerate(self.names)]

    def distances(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """The distance of each picture to each reference at their size: root mean square in grey levels.

        Args:
            pictures: [n, height, width, 3].

        Returns:
            [n, things, styles].
        """
        size = (self.side, self.side)
        small = [Image.fromarray(picture).resize(size, Image.Resampling.BOX) for picture in pictures]
        pixels = np.stack([np.asarray(picture, float) for picture in small])
        apart = [np.sqrt(((each - self.references) ** 2).mean((2, 3, 4))) for each in pixels]
        return np.stack(apart)

    def score(self, pictures: npt.NDArray[np.uint8]) -> JudgeScore:
        """The scores of a picture for each caption: uint8 [captions, height, width, 3]."""
        apart = self.distances(pictures)
        things, styles = nearest(apart)
        wanted = np.arange(len(pictures))
        right = things == wanted
        in_style = right & (styles == wanted % len(self.styles))
        own = apart[wanted, wanted, wanted % len(self.styles)]
        return JudgeScore(float(right.mean()), float(in_style.mean()), float(own.mean()))


def nearest(
    apart: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The thing and the style of the reference that is nearest to each picture."""
    things, styles = np.divmod(apart.reshape(len(apart), -1).argmin(1), apart.shape[2])
    return things, styles
