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
    MediaTypeError,
    SafelightError,
)
from safelight.jobs.result import PictureVerdict
from safelight.moderation.verdict import Judgement
from safelight.server.auth import Who
from safelight.server.bodies import PictureRoute
from safelight.server.compat.charging import charge_images
from safelight.server.fields import intake_of
from safelight.server.judging import Judge
from safelight.server.middleware.disconnects import ENDS_WITH_CALLER
from safelight.server.pictures_in import Intake
from safelight.server.routes.describing import errors, form, shown
from safelight.server.routes.examples import MODERATION, VERDICTS
from safelight.server.schemas.moderation import PicturesToJudge, Verdicts
from safelight.server.state import Behind


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    """Keep the moderation service for as long as the server runs."""
    state = app.state  # its ``backstage`` is only set after this
    judge = Judge(lambda: state.backstage.studio, lambda: state.backstage.threads)
    try:
        yield {"judge": judge}
    finally:
        judge.close()


router = APIRouter(tags=["moderation"], route_class=PictureRoute, lifespan=lifespan)
BARE = {"image/*": {"schema": {"type": "string", "format": "binary"}}}


@router.post(
    "/v1/moderate",
    operation_id="moderate",
    dependencies=ENDS_WITH_CALLER,
    summary="Judge pictures",
    responses=errors(BodyTooLargeError, ClassifierUnknownError, ImageFormatError, MediaTypeError)
    | shown(VERDICTS),
    openapi_extra={"requestBody": {"content": form("image", "images", others=False) | BARE}},
)
async def moderate(
    body: Annotated[PicturesToJudge, Body(openapi_examples=dict(MODERATION))],
    request: Request,
    behind: Behind,
    who: Who,
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
    given = _given(body)
    judge: Judge = request.state.judge
    await judge.check(classifier)
    async with charge_images(behind, who, len(given)):
        intake = intake_of(behind)
        pictures = [await _attempted(picture, intake) for picture in given]
        readable = [picture for picture in pictures if isinstance(picture, bytes)]
        judged = iter(await judge.judge(readable, classifier=classifier, policy=policy))
        judgements = [
            next(judged) if isinstance(picture, bytes) else Judgement("", error=picture)
            for picture in pictures
        ]
        if body.images is None and (error := judgements[0].error):
            raise error
    return Verdicts(verdicts=[_verdict(*pair, embeddings) for pair in enumerate(judgements)])


def _given(body: PicturesToJudge) -> list[str | bytes]:
    if (body.image is None) == (body.images is None):
        raise BodyInvalidError("Give either image or images.")
    return [body.image] if body.image is not None else body.images or []


async def _attempted(picture: str | bytes, intake: Intake) -> bytes | SafelightError:
    try:
        return await intake.picture(picture)
    except SafelightError as error:
        return error


def _verdict(index: int, judgement: Judgement, embeddings: bool) -> PictureVerdict:
    return PictureVerdict.model_validate(judgement.to_dict(embedding=embeddings) | {"index": index})
