"""The pose of one person by MoveNet, drawn as the coloured skeleton of OpenPose on which ControlNets were trained.

MoveNet finds 17 points of a body (those of COCO); OpenPose's neck, the 18th, is between the shoulders.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import Field

from safelight.errors import PersonMissingError
from safelight.generation.control.preprocessors.network import CompiledNetwork, NetworkFile
from safelight.generation.control.preprocessors.preprocessor import (
    Parameters,
    Pixels,
    PreprocessContext,
    Preprocessor,
)
from safelight.plugins import Registry, hookimpl

MOVENET = NetworkFile(
    title="MoveNet",
    package="safelight.models",
    stem="preprocessors/movenet",
    graph_digest="72d2aaa770f763dc8aefd2f2a35084fc8d1c19c72fca1c3b8c6bf8bc733eaba7",
    weights_digest="31c8142e436d7e051b4dd202f7cb462d7805b6ecb4a63c5f54c8b3baa592b0a0",
    nbytes=20_000_000,
)
_SIDE = 192
"""Side of the network's input, in pixels."""
_CROP_MARGIN = 1.4
"""The part of the picture that the network looks at again, as a multiple of the body's extent."""
_LEAST_POINTS = 3
"""So many points of a body have to be certain; with fewer there is nobody."""

OPENPOSE_FROM_COCO = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""The point of MoveNet for each of OpenPose: nose, neck, right arm, left arm, right leg, left leg, eyes, ears."""
_SHOULDERS = (5, 6)
LIMBS = (
    (1, 2),
    (1, 5),
    (2, 3),
    (3, 4),
    (5, 6),
    (6, 7),
    (1, 8),
    (8, 9),
    (9, 10),
    (1, 11),
    (11, 12),
    (12, 13),
    (1, 0),
    (0, 14),
    (14, 16),
    (0, 15),
    (15, 17),
)
"""The points that each of OpenPose's limbs connects."""
COLORS = (
    (255, 0, 0),
    (255, 85, 0),
    (255, 170, 0),
    (255, 255, 0),
    (170, 255, 0),
    (85, 255, 0),
    (0, 255, 0),
    (0, 255, 85),
    (0, 255, 170),
    (0, 255, 255),
    (0, 170, 255),
    (0, 85, 255),
    (0, 0, 255),
    (85, 0, 255),
    (170, 0, 255),
    (255, 0, 255),
    (255, 0, 170),
    (255, 0, 85),
)
"""OpenPose's colours: of each point, and darker of the limb with the same number."""
_LIMB_BRIGHTNESS = 0.6
_WIDTH, _WIDTH_AT = 4, 512
"""Half the width of a limb, and a point's radius, in pixels, where the picture's shorter side is so long."""
_CURVE_STEPS = 36

Points = NDArray[np.float32]
"""float32 [points, 3]: x and y in pixels, and the probability."""


class PoseParameters(Parameters):
    """Parameters of the pose."""

    score: float = Field(
        0.2, ge=0.01, le=1, allow_inf_nan=False, description="The least probability of a point that is drawn."
    )
    person: float = Field(
        0.4,
        ge=0.01,
        le=1,
        allow_inf_nan=False,
        description="The least probability of the three most certain points; below it there is nobody.",
    )


def pose(pixels: Pixels, parameters: PoseParameters, context: PreprocessContext) -> NDArray[np.uint8]:
    """The skeleton on black.

    Raises:
        PersonMissingError: There is nobody.
    """
    with MOVENET.lease(context) as network:
        found = find_points(Image.fromarray(pixels), network, parameters.score, context)
    certainty = float(np.sort(found[:, 2])[-_LEAST_POINTS])
    if certainty < parameters.person:
        raise PersonMissingError(
            f"No person was found: the most certain points have a probability of {certainty:.2f}.",
            hint="Give a picture of one person, or a lower value of the parameter person.",
        )
    points = to_openpose(found, parameters.score)
    return draw_skeleton(points, (pixels.shape[1], pixels.shape[0]))


def find_points(
    image: Image.Image, network: CompiledNetwork, score: float, context: PreprocessContext
) -> Points:
    """The 17 points of a body; where some are found, the network looks again at that part of the picture.

    Args:
        image: Mode RGB.
        network: MoveNet.
        score: The least probability of a point that counts.
        context: What is asked whether to stop.
    """
    whole = (image.width / 2, image.height / 2, float(max(image.size)))
    first = _points_within(image, network, whole, context)
    seen = first[first[:, 2] >= score]
    if len(seen) < _LEAST_POINTS:
        return first
    low, high = seen[:, :2].min(axis=0), seen[:, :2].max(axis=0)
    side = float((high - low).max()) * _CROP_MARGIN
    if side >= whole[2]:
        return first
    center = (low + high) / 2
    second = _points_within(image, network, (float(center[0]), float(center[1]), side), context)
    return second if second[:, 2].sum() > first[:, 2].sum() else first


def _points_within(
    image: Image.Image,
    network: CompiledNetwork,
    square: tuple[float, float, float],
    context: PreprocessContext,
) -> Points:
    """The points of a body within a square (x, y of its middle, and its side, in pixels); black beyond the picture."""
    x, y, side = square
    left, top = round(x - side / 2), round(y - side / 2)
    right, bottom = round(x + side / 2), round(y + side / 2)
    part = image.crop((left, top, right, bottom)).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    rows, columns, scores = network.run(np.asarray(part), context)["points"][0, 0].T
    return np.stack([columns * (right - left) + left, rows * (bottom - top) + top, scores], axis=1)


def to_openpose(points: Points, score: float) -> list[tuple[float, float] | None]:
    """OpenPose's 18 points, x and y in pixels; None for those that are not to be seen."""

    def seen(number: int) -> tuple[float, float] | None:
        x, y, probability = points[number].tolist()
        return (x, y) if probability >= score else None

    left, right = (seen(number) for number in _SHOULDERS)
    neck = None if left is None or right is None else ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2)
    return [neck if number is None else seen(number) for number in OPENPOSE_FROM_COCO]


def draw_skeleton(points: list[tuple[float, float] | None], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The skeleton on black, uint8 [height, width, 3].

    Args:
        points: OpenPose's 18 points, x and y in pixels.
        size: Width and height of the picture.
    """
    canvas = Image.new("RGB", size)
    draw = ImageDraw.Draw(canvas)
    width = max(1.0, _WIDTH * min(size) / _WIDTH_AT)
    for (start, end), color in zip(LIMBS, COLORS, strict=False):
        if (first := points[start]) is not None and (second := points[end]) is not None:
            dark = tuple(int(value * _LIMB_BRIGHTNESS) for value in color)
            draw.polygon(_limb_outline(first, second, width), fill=dark)
    for point, color in zip(points, COLORS, strict=True):
        if point is not None:
            x, y = point
            draw.ellipse((x - width, y - width, x + width, y + width), fill=color)
    return np.asarray(canvas)


def _limb_outline(
    start: tuple[float, float], end: tuple[float, float], width: float
) -> list[tuple[float, float]]:
    """An ellipse from point to point, twice as wide as ``width``."""
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    along_x, along_y = (end[0] - start[0]) / 2, (end[1] - start[1]) / 2
    length = math.hypot(along_x, along_y) or 1.0
    across_x, across_y = -along_y / length * width, along_x / length * width
    angles = (2 * math.pi * step / _CURVE_STEPS for step in range(_CURVE_STEPS))
    return [
        (
            x + math.cos(angle) * along_x + math.sin(angle) * across_x,
            y + math.cos(angle) * along_y + math.sin(angle) * across_y,
        )
        for angle in angles
    ]


@hookimpl
def register_preprocessors(registry: Registry[Preprocessor]) -> None:
    """Register the pose."""
    registry.register(
        "pose",
        Preprocessor(
            "pose",
            "Pose",
            "The skeleton of one person by the network MoveNet, in the colours of OpenPose.",
            "OpenPose",
            PoseParameters,
            pose,
            aliases=("openpose",),
            sliders=("score",),
        ),
    )
