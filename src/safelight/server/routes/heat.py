"""``/v1/moderate/heat``: a heat map of the pixels that contributed to an image's score."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from safelight.errors import (
    BodyTooLargeError,
    ClassifierUnknownError,
    ExplainUnsupportedError,
    ImageFormatError,
    MediaTypeError,
)
from safelight.server.auth import Who
from safelight.server.bodies import PictureRoute
from safelight.server.compat.charging import charge_images
from safelight.server.compat.previews import TheJudge
from safelight.server.fields import taken_in
from safelight.server.formats import media_type
from safelight.server.middleware.disconnects import ENDS_WITH_CALLER
from safelight.server.routes.describing import BINARY, errors, form
from safelight.server.routes.examples import MODERATION
from safelight.server.routes.moderation import BARE
from safelight.server.schemas.moderation import PictureToExplain
from safelight.server.state import Behind

router = APIRouter(tags=["moderation"], route_class=PictureRoute)
WEBP = media_type("webp")


@router.post(
    "/v1/moderate/heat",
    operation_id="explain_picture",
    dependencies=ENDS_WITH_CALLER,
    summary="Explain a score",
    response_class=Response,
    responses=errors(
        BodyTooLargeError, ClassifierUnknownError, ExplainUnsupportedError, ImageFormatError, MediaTypeError
    )
    | {200: {"description": "The heat map.", "content": {WEBP: {"schema": BINARY}}}},
    openapi_extra={"requestBody": {"content": form("image", others=False) | BARE}},
)
async def explain_picture(
    body: Annotated[PictureToExplain, Body(openapi_examples={"one": MODERATION["one"]})],
    behind: Behind,
    who: Who,
    judging: TheJudge,
    classifier: Annotated[
        str | None,
        Query(max_length=300, description="An installed classifier; the server's default when not given."),
    ] = None,
    frame: Annotated[
        int, Query(ge=0, le=10**6, description="Index of an animation's frame, as in a verdict.")
    ] = 0,
) -> Response:
    """The picture in grey, red where it raises the unsafe score and blue where it lowers it, as WebP.

    Exact, and so for open-nsfw only. The body is a picture's bytes, or JSON or multipart/form-data with one picture.
    It counts as one judged picture; nothing is stored.
    """
    explainer = await judging.explainer(classifier)
    async with charge_images(behind, who, 1):
        heat = await judging.heat(explainer, await taken_in(body.image, behind), frame)
    return Response(heat, media_type=WEBP, headers={"Cache-Control": "no-store"})
