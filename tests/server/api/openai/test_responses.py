from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from openai.types import (
    ImageEditCompletedEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImagesResponse,
)
from PIL import Image
from tests.server.api.factories import job, output_image

from safelight.images import DecodeLimits
from safelight.images.encoding import encode_image as encode_file
from safelight.images.metadata.file_metadata import Metadata, read_metadata
from safelight.jobs.job import JobState
from safelight.jobs.result import GeneratedImage
from safelight.server.api.openai.responses import (
    ImageItem,
    completed_event,
    encode_image,
    images_response,
    partial_event,
)
from safelight.server.api.openai.schemas import GenerationBody, VariationForm
from safelight.server.api.outcomes import OutputImage, outcome_of

LIMITS = DecodeLimits()
PNG = encode_file(Image.new("RGB", (64, 32), "red"), "png", Metadata(infotext="a cat"))


def form(**sent: Any) -> GenerationBody:
    return GenerationBody(prompt="x", **sent)


def test_the_response_parses_with_openais_client() -> None:
    outcome = outcome_of(job(JobState.SUCCEEDED, output_image(1), output_image(2, 1, "block")))
    sent = form(output_format="webp", quality="hd", user="anna")
    body = images_response(sent, outcome, [ImageItem(b64_json="aGk=")], "mine").model_dump(exclude_none=True)
    read = ImagesResponse.model_validate(body)
    assert read.data is not None
    assert (len(read.data), read.size, read.quality, read.output_format) == (1, "64x32", "high", "webp")
    assert (read.background, read.safety_identifier, body["blocked"]) == ("opaque", "anna", 1)
    assert read.created == 1767323045


def test_the_response_to_a_variation_has_no_quality() -> None:
    outcome = outcome_of(job(JobState.SUCCEEDED, output_image(1)))
    body = images_response(VariationForm.model_construct(), outcome, [], "mine").model_dump(exclude_none=True)
    assert "quality" not in body
    assert "blocked" not in body


@pytest.mark.parametrize(("kind", "compression"), [("png", None), ("webp", 60), ("jpeg", 0)])
def test_pictures_in_every_format_keep_their_metadata(kind: Any, compression: int | None) -> None:
    data = base64.b64decode(
        encode_image(form(output_format=kind, output_compression=compression), PNG, LIMITS)
    )
    assert Image.open(io.BytesIO(data)).format == kind.upper()
    assert read_metadata(data, limits=LIMITS).infotext == "a cat"


def test_the_response_to_a_variation_is_the_stored_file() -> None:
    assert base64.b64decode(encode_image(VariationForm.model_construct(), PNG, LIMITS)) == PNG


def test_events_parse_with_openais_client() -> None:
    sent = form(stream=True, output_format="jpeg", safety_identifier="anna")
    partial = ImageGenPartialImageEvent.model_validate(partial_event("image_generation", sent, 1, "aGk="))
    assert (partial.partial_image_index, partial.size, partial.output_format) == (1, "auto", "jpeg")
    made = OutputImage(GeneratedImage.model_validate(output_image()), PNG)
    done = ImageGenCompletedEvent.model_validate(
        completed_event("image_generation", sent, made, "aGk=", "mine")
    )
    assert (done.size, done.usage.total_tokens, done.safety_identifier) == ("64x32", 0, "anna")
    ImageEditCompletedEvent.model_validate(completed_event("image_edit", sent, made, "aGk=", "mine"))
