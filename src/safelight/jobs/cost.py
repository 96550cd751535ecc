"""The cost of a request, estimated from its fields and the headers of its pictures, before any work.

The unit of cost is one megapixel through one denoising step, or as much work of another kind. Scheduling, time
estimates and the setting max_job_work use it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from safelight.errors import ImageError, JobTooLargeError
from safelight.generation.request import STRENGTH, GenerationRequest, Part
from safelight.generation.upscaling.upscaler import UPSCALERS
from safelight.images.decoding import read_header
from safelight.images.types import DecodeLimits
from safelight.jobs.payloads import ScanRequest, UpscaleRequest

DEFAULT_SIDE, DEFAULT_STEPS = 512, 20
"""Assumed where a request does not give them."""
LEAST = 0.001
"""Cost of the smallest job."""
NETWORK, RESAMPLED = 8.0, 0.05
"""Cost of a megapixel that an upscaler makes, with a network and without: rough; measured times correct it."""
JUDGED, DECODED = 0.01, 0.005
"""Cost of a frame that is judged, and of each of its megapixels."""


@dataclass(frozen=True)
class JobSize:
    """How much a request asks for.

    Args:
        pictures: How many are made or judged.
        pixels: Width times height, summed over all that are made; judging makes none.
        cost: Megapixels times steps, or as much work of another kind.
    """

    pictures: int
    pixels: int
    cost: float


def size_of(request: Part, limits: DecodeLimits) -> JobSize:
    """The size of a request; pictures are not decoded.

    Args:
        request: The request, with pictures as bytes.
        limits: What a picture may cost.

    Raises:
        ImageError: The initial picture is no picture, or too large.
    """
    if isinstance(request, ScanRequest):
        return JobSize(len(request.images), 0, sum(_judged(image, limits) for image in request.images))
    if isinstance(request, UpscaleRequest):
        found = read_header(request.image, limits=limits)
        pixels = int(found.width * found.height * request.by**2)
        rate = RESAMPLED if request.upscaler in UPSCALERS else NETWORK
        return JobSize(1, pixels, max(LEAST, rate * pixels / 1e6))
    assert isinstance(request, GenerationRequest)
    return _of_generation(request, limits)


def check_size(size: JobSize, max_work: float) -> None:
    """Refuse a job that costs more than is allowed.

    Raises:
        JobTooLargeError: It does; the message says how many pictures are allowed.
    """
    if size.cost <= max_work:
        return
    each = size.cost / size.pictures
    fit = math.floor(max_work / each)
    raise JobTooLargeError(
        f"The job is {size.cost:,.0f} megapixels times steps; {max_work:,.0f} are allowed for one.",
        hint=f"Like this, {fit} pictures are allowed at once." if fit else None,
    )


def _of_generation(request: GenerationRequest, limits: DecodeLimits) -> JobSize:
    canvas = _canvas(request, limits)
    alone = request.mask is not None and request.inpaint.only_masked
    width, height = (DEFAULT_SIDE, DEFAULT_SIDE) if canvas is None or alone else canvas
    drawn = (request.width or width) * (request.height or height)
    hires, made = request.hires, float(drawn)
    steps = request.steps or DEFAULT_STEPS
    strength = STRENGTH.get(request.mode, 1.0) if request.strength is None else request.strength
    work = drawn * max(1.0, steps * strength)
    if hires is not None:
        made *= hires.scale**2
        again = (hires.steps or steps) * (1.0 if hires.all_steps else hires.strength)
        work += made * max(1.0, again)
    if canvas is not None and request.outpaint is not None:  # the result has the whole canvas
        made = max(made, canvas[0] * canvas[1])
    return JobSize(request.count, int(made * request.count), max(LEAST, work / 1e6 * request.count))


def _canvas(request: GenerationRequest, limits: DecodeLimits) -> tuple[int, int] | None:
    """Width and height of the initial picture, with outpainting; None for text-to-image."""
    if request.init_image is None:
        return None
    assert isinstance(request.init_image, bytes)
    found = read_header(request.init_image, limits=limits)
    return request.canvas_size((found.width, found.height))


def _judged(image: bytes, limits: DecodeLimits) -> float:
    """Cost of judging a picture with its frames; a picture that cannot be read is counted as one frame."""
    try:
        found = read_header(image, limits=limits)
    except ImageError:
        return JUDGED
    frames = min(found.frame_count or limits.max_frames, limits.max_frames)
    return frames * (JUDGED + DECODED * found.width * found.height / 1e6)
