"""The masks of regions: fitted to each pass, and to what a network computes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from safelight.generation.canvas.init_image import InitImage
from safelight.generation.control.pictures import mask_of_pass
from safelight.models.families import Family

Mask = NDArray[np.float32]
"""(height, width) of a pass, 0 to 1."""


@dataclass(frozen=True)
class RegionMasks:
    """The masks of a run's regions.

    Args:
        images: As they were given, decoded, in the order of the request.
    """

    images: Sequence[Image.Image] = ()

    def at(self, size: tuple[int, int], start: InitImage) -> tuple[Mask, ...]:
        """The masks for a pass; a mask of another size is stretched.

        Args:
            size: Width and height of the pass in pixels.
            start: What the picture starts from; of a picture of which only a part is generated, that part is cut out.
        """
        return tuple(mask_of_pass(image, size, start, "stretch") for image in self.images)


def shares(masks: Sequence[Mask], weights: Sequence[float]) -> tuple[Mask, ...]:
    """How much each region counts in each pixel; where they add up to more than 1 they are normalised.

    Args:
        masks: Their masks.
        weights: Their weights, 0 to 1.
    """
    weighted = [mask * np.float32(weight) for mask, weight in zip(masks, weights, strict=True)]
    total = np.maximum(np.sum(weighted, axis=0), 1)
    return tuple(each / total for each in weighted)


def resized(mask: Mask, rows: int, columns: int) -> Tensor:
    """The means of a mask's pixels in a grid, (rows, columns)."""
    cells = torch.nn.functional.interpolate(torch.from_numpy(mask)[None, None], (rows, columns), mode="area")
    return cells[0, 0]


def spread(mask: Mask, prediction: Tensor, family: Family) -> Tensor:
    """A mask that multiplies predictions, (1, ...).

    Args:
        mask: (height, width) of the pass.
        prediction: (rows, ...), in the family's layout.
        family: The checkpoint's.
    """
    if family.latent_layout == "packed":
        unit = family.pixels_per_patch or family.size_multiple
        cells = resized(mask, mask.shape[0] // unit, mask.shape[1] // unit).reshape(1, -1, 1)
        others = prediction.shape[1] - cells.shape[1]  # of pictures that the network sees beside the latents
        assert others >= 0, "a patch is wider than the family says"
        cells = torch.nn.functional.pad(
            cells, (0, 0, others, 0) if family.latents_last else (0, 0, 0, others)
        )
    elif family.latent_layout == "channels-last":
        cells = resized(mask, *prediction.shape[2:4])[None, None, :, :, None]
    else:
        cells = resized(mask, *prediction.shape[-2:])
        cells = cells.reshape(*[1] * (prediction.ndim - 2), *cells.shape)
    return cells.to(prediction.device, prediction.dtype)
