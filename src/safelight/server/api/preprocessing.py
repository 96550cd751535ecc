"""Preprocess a picture for a request that waits for it, for every API family."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from safelight.errors import BlockedError
from safelight.generation.control.preprocessors import PreprocessContext, Preprocessor, find_preprocessor
from safelight.generation.control.preprocessors.resolution import working_size
from safelight.images import DecodeLimits, decode, read_header
from safelight.images.encoding import encode_image
from safelight.jobs.job import JobKind
from safelight.moderation.policy import Decision
from safelight.server.api.charging import charge_images
from safelight.server.api.outcomes import read_images, wait_for_outcome
from safelight.server.core.app_state import AppState
from safelight.server.core.executors.image_cost import decode_cost
from safelight.server.core.executors.image_executor import ImageCost
from safelight.server.core.moderation_service import ModerationService
from safelight.server.core.submission import submit
from safelight.server.security.dependencies import Principal


async def preprocess(
    app_state: AppState,
    principal: Principal,
    judge: ModerationService,
    image: bytes,
    name: str,
    parameters: Mapping[str, Any],
    resolution: int | None,
) -> bytes:
    """The result of a preprocessor as a PNG; the picture and the result are judged.

    Nothing is stored, except by a preprocessor that runs as a job (``uses_torch``): the gallery keeps its result.

    Args:
        app_state: The application's state.
        principal: Whose limits it counts for, as one picture.
        judge: What judges the picture and the result.
        image: The picture's file, whose header is within the limits.
        name: The preprocessor's name, or an alias.
        parameters: Its parameters by name.
        resolution: The result's shorter side, in pixels; None: as large as the picture.

    Raises:
        PreprocessorUnknownError: There is no such preprocessor.
        FieldError: A parameter or the resolution cannot be used.
        BlockedError: The policy blocks the picture, or the result.
        ImageError: The picture cannot be read.
        RateLimitError, QuotaError: It exceeds the principal's limits.
        SafelightError: The preprocessor's model cannot be used, or it found nothing.
    """
    preprocessor = find_preprocessor(name)
    preprocessor.parse(parameters)
    if preprocessor.uses_torch:
        return await _preprocess_in_worker(app_state, principal, image, name, parameters, resolution)
    threads, limits = app_state.threads, app_state.studio.limits
    async with charge_images(app_state, principal, 1):
        cost = await threads.run_inspect(_cost, image, preprocessor, resolution, limits)
        await _check_allowed(judge, image, "picture")
        gone = threading.Event()
        context = app_state.studio.preprocess_context(gone.is_set)
        try:
            result = await threads.run_image(
                cost, _preprocess, image, preprocessor, parameters, resolution, context, limits
            )
        finally:
            gone.set()  # where the client has gone, the thread stops
        await _check_allowed(judge, result, "result")
    return result


async def _preprocess_in_worker(
    app_state: AppState,
    principal: Principal,
    image: bytes,
    name: str,
    parameters: Mapping[str, Any],
    resolution: int | None,
) -> bytes:
    """The same by a job, which judges too, and whose picture the gallery keeps: this process never imports torch."""
    fields = {"image": image, "preprocessor": name, "parameters": dict(parameters), "resolution": resolution}
    job = await submit(app_state, principal, JobKind.PREPROCESS, fields)
    (made,) = await read_images(app_state, await wait_for_outcome(app_state, job))
    return made.data


async def _check_allowed(judge: ModerationService, image: bytes, what: str) -> None:
    (judgement,) = await judge.judge([image])
    if judgement.error is not None:
        raise judgement.error
    verdict = judgement.verdict
    if verdict is not None and verdict.decision is Decision.BLOCK:
        raise BlockedError(
            f"The policy {verdict.policy.name} blocks the {what}: unsafe {verdict.unsafe:.4f}."
        )


def _cost(
    image: bytes, preprocessor: Preprocessor, resolution: int | None, limits: DecodeLimits
) -> ImageCost:
    header = read_header(image, limits=limits)
    width, height = working_size((header.width, header.height), resolution)
    work = ImageCost(width * height * preprocessor.bytes_per_pixel, width * height)
    return decode_cost(image, limits) + work


def _preprocess(
    image: bytes,
    preprocessor: Preprocessor,
    parameters: Mapping[str, Any],
    resolution: int | None,
    context: PreprocessContext,
    limits: DecodeLimits,
) -> bytes:
    pixels = decode(image, limits=limits).image
    result = preprocessor.run(pixels, parameters, resolution=resolution, context=context)
    return encode_image(result, "png")
