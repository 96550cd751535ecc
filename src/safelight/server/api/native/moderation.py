"""``/v1/moderate``: verdicts at once, without a job."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, FastAPI, Query, Request

from safelight.errors import (
    BodyInvalidError,
    BodyTooLargeError,
    ClassifierUnknownError,
    ImageFormatError,
    SafelightError,
    UnsupportedMediaTypeError,
)
from safelight.jobs.result import PictureVerdict
from safelight.moderation.verdict import Judgement
from safelight.server.api.charging import charge_images
from safelight.server.api.native.openapi_responses import error_responses, example_response, multipart_body
from safelight.server.api.native.schemas.moderation import ModerationRequest, Verdicts
from safelight.server.api.openapi_examples import MODERATION, VERDICTS
from safelight.server.core.app_state import CurrentAppState
from safelight.server.core.moderation_service import ModerationService
from safelight.server.core.request_bodies.image_inputs import ImageInputs
from safelight.server.core.request_bodies.multipart import ImageRoute
from safelight.server.core.request_bodies.payload_decoding import image_inputs
from safelight.server.middleware.disconnects import CANCEL_ON_DISCONNECT
from safelight.server.security.dependencies import CurrentPrincipal


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    """Keep the moderation service for as long as the server runs."""
    state = app.state  # its ``safelight`` is only set after this
    judge = ModerationService(lambda: state.safelight.studio, lambda: state.safelight.threads)
    try:
        yield {"moderation_service": judge}
    finally:
        judge.close()


router = APIRouter(tags=["moderation"], route_class=ImageRoute, lifespan=lifespan)
RAW_IMAGE_BODY = {"image/*": {"schema": {"type": "string", "format": "binary"}}}


@router.post(
    "/v1/moderate",
    operation_id="moderate",
    dependencies=CANCEL_ON_DISCONNECT,
    summary="Judge pictures",
    responses=error_responses(
        BodyTooLargeError, ClassifierUnknownError, ImageFormatError, UnsupportedMediaTypeError
    )
    | example_response(VERDICTS),
    openapi_extra={
        "requestBody": {"content": multipart_body("image", "images", other_fields=False) | RAW_IMAGE_BODY}
    },
)
async def moderate(
    body: Annotated[ModerationRequest, Body(openapi_examples=dict(MODERATION))],
    request: Request,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    classifier: Annotated[
        str | None,
        Query(max_length=300, description="An installed classifier; the server's default when not given."),
    ] = None,
    policy: Annotated[
        Literal["strict", "standard", "lenient"] | None,
        Query(description="The server's default when not given."),
    ] = None,
    embeddings: Annotated[bool, Query(description="Return the classifier's embeddings too.")] = False,
) -> Verdicts:
    """Decide on each picture: allow, review or block. Takes milliseconds; nothing is stored.

    The body is a picture's bytes, or JSON or multipart/form-data with one picture or several. Of several, a picture
    that cannot be read has the decision ``error``; a single one is answered with the error itself.
    """
    given = _images_in(body)
    judge: ModerationService = request.state.moderation_service
    await judge.check_classifier(classifier)
    async with charge_images(app_state, principal, len(given)):
        intake = image_inputs(app_state)
        pictures = [await _read_or_error(picture, intake) for picture in given]
        readable = [picture for picture in pictures if isinstance(picture, bytes)]
        judged = iter(await judge.judge(readable, classifier=classifier, policy=policy))
        judgements = [
            next(judged) if isinstance(picture, bytes) else Judgement("", error=picture)
            for picture in pictures
        ]
        if body.images is None and (error := judgements[0].error):
            raise error
    return Verdicts(verdicts=[_picture_verdict(*pair, embeddings) for pair in enumerate(judgements)])


def _images_in(body: ModerationRequest) -> list[str | bytes]:
    if (body.image is None) == (body.images is None):
        raise BodyInvalidError("Give either image or images.")
    return [body.image] if body.image is not None else body.images or []


async def _read_or_error(picture: str | bytes, intake: ImageInputs) -> bytes | SafelightError:
    try:
        return await intake.read(picture)
    except SafelightError as error:
        return error


def _picture_verdict(index: int, judgement: Judgement, embeddings: bool) -> PictureVerdict:
    return PictureVerdict.model_validate(judgement.to_dict(embedding=embeddings) | {"index": index})
