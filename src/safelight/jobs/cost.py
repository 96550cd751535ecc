"""The cost of a request, estimated from its fields and the headers of its pictures before any work.

The unit of cost is one megapixel in one denoising step, or as much work of another kind. Scheduling, time estimates
and the setting max_job_work use it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from safelight.errors import ImageError, JobTooLargeError
from safelight.generation.canvas.references import MAX_REFERENCE_PIXELS
from safelight.generation.control.preprocessors import find_preprocessor
from safelight.generation.control.preprocessors.resolution import working_size
from safelight.generation.prompts.composition import prompt_parts
from safelight.generation.request import DEFAULT_SIDE, DEFAULT_STEPS, DEFAULT_STRENGTH, GenerationRequest
from safelight.generation.upscaling.upscaler import UPSCALERS
from safelight.images.decoding import read_header
from safelight.images.types import DecodeLimits
from safelight.jobs.payloads import PreprocessRequest, ScanRequest, UpscaleRequest

MIN_COST = 0.001
"""Cost of the smallest job."""
NETWORK_COST, RESAMPLING_COST = 8.0, 0.05
"""Cost per megapixel of output, with a network and without one: rough values, which measured times correct."""
FRAME_COST, DECODING_COST = 0.01, 0.005
"""Cost per judged frame, and per megapixel of it."""


@dataclass(frozen=True)
class JobSize:
    """The size of a request.

    Args:
        pictures: Number of pictures that are generated or judged.
        pixels: Width times height, summed over all generated pictures; 0 for scans.
        cost: Megapixels times steps, or as much work of another kind.
    """

    pictures: int
    pixels: int
    cost: float


def upscale_size(request: UpscaleRequest, limits: DecodeLimits) -> JobSize:
    """Estimate the size of an upscaling without decoding the picture.

    Raises:
        ImageError: The picture cannot be read, or is too large.
    """
    header = read_header(request.image, limits=limits)
    pixels = int(header.width * header.height * request.by**2)
    rate = RESAMPLING_COST if request.upscaler in UPSCALERS else NETWORK_COST
    return JobSize(1, pixels, max(MIN_COST, rate * pixels / 1e6))


def preprocess_size(request: PreprocessRequest, limits: DecodeLimits) -> JobSize:
    """Estimate the size of a preprocessing without decoding the picture, and check its parameters.

    Raises:
        ImageError: The picture cannot be read, or is too large.
        PreprocessorUnknownError: There is no such preprocessor.
        FieldError: A parameter or the resolution cannot be used.
    """
    preprocessor = find_preprocessor(request.preprocessor)
    preprocessor.parse(request.parameters)
    header = read_header(request.image, limits=limits)
    width, height = working_size((header.width, header.height), request.resolution)
    rate = NETWORK_COST if preprocessor.uses_torch else RESAMPLING_COST
    return JobSize(1, width * height, max(MIN_COST, rate * width * height / 1e6))


def scan_size(request: ScanRequest, limits: DecodeLimits) -> JobSize:
    """Estimate the size of a scan without decoding its pictures; one that cannot be read counts as one frame."""
    return JobSize(len(request.images), 0, sum(_judging_cost(image, limits) for image in request.images))


def check_size(size: JobSize, max_work: float) -> None:
    """Check that a job does not cost more than is allowed.

    Raises:
        JobTooLargeError: The job costs more; the message says how many pictures are allowed.
    """
    if size.cost <= max_work:
        return
    cost_per_picture = size.cost / size.pictures
    count = math.floor(max_work / cost_per_picture)
    raise JobTooLargeError(
        f"The job is {size.cost:,.0f} megapixels times steps; {max_work:,.0f} are allowed for one.",
        hint=f"Like this, {count} pictures are allowed at once." if count else None,
        context={"maximum": count, "work": size.cost, "maximum_work": max_work},
    )


def generation_size(request: GenerationRequest, limits: DecodeLimits) -> JobSize:
    """Estimate the size of a generation without decoding its pictures, which are given as bytes.

    Raises:
        ImageError: The initial picture or a reference cannot be read, or is too large.
    """
    canvas = _canvas(request, limits)
    masked_only = request.mask is not None and request.inpaint.only_masked
    width, height = (DEFAULT_SIDE, DEFAULT_SIDE) if canvas is None or masked_only else canvas
    pixels = (request.width or width) * (request.height or height)
    hires, output_pixels = request.hires, float(pixels)
    steps = request.steps or DEFAULT_STEPS
    strength = DEFAULT_STRENGTH.get(request.mode, 1.0) if request.strength is None else request.strength
    seen = sum(_reference_pixels(each.image, limits) for each in request.references)
    work = (pixels + seen) * max(1.0, steps * strength) * _calls(request)
    if hires is not None:
        output_pixels *= hires.scale**2
        second_steps = (hires.steps or steps) * (1.0 if hires.all_steps else hires.strength)
        work += output_pixels * max(1.0, second_steps) * _calls(request)
    if canvas is not None and request.outpaint is not None:  # the result has the whole canvas
        output_pixels = max(output_pixels, canvas[0] * canvas[1])
    return JobSize(
        request.count, int(output_pixels * request.count), max(MIN_COST, work / 1e6 * request.count)
    )


def _reference_pixels(image: object, limits: DecodeLimits) -> int:
    """The pixels of a reference, which lengthen what the denoiser computes; pipelines shrink larger ones.

    Raises:
        ImageError: It cannot be read, or is too large.
    """
    assert isinstance(image, bytes)
    header = read_header(image, limits=limits)
    return min(header.width * header.height, MAX_REFERENCE_PIXELS)


def _calls(request: GenerationRequest) -> float:
    """Calls of the denoiser in a step, of which one has both prompts; each part of the prompt and region takes half."""
    regions = len(request.regions) if request.region_method == "prediction" else 0
    return 1 + (len(prompt_parts(request.prompt)) - 1 + regions) / 2


def _canvas(request: GenerationRequest, limits: DecodeLimits) -> tuple[int, int] | None:
    """Width and height of the initial picture with outpainting, in pixels; None for text-to-image."""
    if request.init_image is None:
        return None
    assert isinstance(request.init_image, bytes)
    header = read_header(request.init_image, limits=limits)
    return request.canvas_size((header.width, header.height))


def _judging_cost(image: bytes, limits: DecodeLimits) -> float:
    """Cost of judging all frames of a picture; a picture that cannot be read counts as one frame."""
    try:
        header = read_header(image, limits=limits)
    except ImageError:
        return FRAME_COST
    frames = min(header.frame_count or limits.max_frames, limits.max_frames)
    return frames * (FRAME_COST + DECODING_COST * header.width * header.height / 1e6)
