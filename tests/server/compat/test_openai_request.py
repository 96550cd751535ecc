from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError
from tests.server.compat.made import INFOTEXT

from safelight.errors import FieldError, MaskError
from safelight.generation.request import GenerationRequest
from safelight.images import DecodeLimits
from safelight.images.encode import encode_picture
from safelight.images.metadata import Metadata
from safelight.models.families import FAMILIES
from safelight.server.compat.checkpoints import Chosen
from safelight.server.compat.openai_fields import EditForm, GenerationBody, VariationForm
from safelight.server.compat.openai_request import (
    check,
    drawing_fields,
    edit_fields,
    mask_of,
    quality_of,
    variation_fields,
)

CHOSEN = Chosen("mine", FAMILIES["sd1"])
LIMITS = DecodeLimits()
USUAL = FAMILIES["sd1"].steps


def file_of(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


OPAQUE = file_of(Image.new("RGB", (8, 8), "red"))
HOLE = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
HOLE.paste((0, 0, 0, 0), (0, 0, 4, 8))
HOLED = file_of(HOLE)


def drawn(**sent: Any) -> GenerationRequest:
    form = GenerationBody(prompt="a cat", **sent)
    check(form)
    return GenerationRequest.parse(**drawing_fields(form, CHOSEN))


def edited(mask: bytes | None = None, image: bytes = OPAQUE, **sent: Any) -> GenerationRequest:
    form = EditForm(prompt="a cat", **sent)
    check(form)
    return GenerationRequest.parse(**edit_fields(form, CHOSEN, image, mask, LIMITS))


def test_a_prompt_alone() -> None:
    assert drawn() == GenerationRequest(prompt="a cat", checkpoint="mine")


def test_every_field_arrives() -> None:
    request = drawn(
        n=3,
        size="256x128",
        negative_prompt="dogs",
        seed=4,
        steps=7,
        quality="high",
        guidance_scale=5,
        sampler="DDIM",
        schedule="karras",
        user="anna",
        style="vivid",
        moderation="low",
        background="opaque",
    )
    assert request == GenerationRequest(
        prompt="a cat",
        checkpoint="mine",
        count=3,
        width=256,
        height=128,
        negative_prompt="dogs",
        seed=4,
        steps=7,
        guidance_scale=5,
        sampler="DDIM",
        schedule="karras",
    )


@pytest.mark.parametrize(
    ("quality", "steps", "name"),
    [
        (None, None, "medium"),
        ("auto", None, "medium"),
        ("standard", None, "medium"),
        ("medium", None, "medium"),
        ("low", round(USUAL / 2), "low"),
        ("high", round(USUAL * 1.5), "high"),
        ("hd", round(USUAL * 1.5), "high"),
        ("xhigh", USUAL * 2, "xhigh"),
        ("max", USUAL * 3, "max"),
    ],
)
def test_quality_is_a_number_of_steps(quality: Any, steps: int | None, name: str) -> None:
    assert drawn(quality=quality).steps == steps
    assert quality_of(GenerationBody(prompt="x", quality=quality)) == name


def test_quality_of_an_unknown_family_is_refused() -> None:
    form = GenerationBody(prompt="x", quality="high")
    with pytest.raises(FieldError, match="quality"):
        drawing_fields(form, Chosen(None, None))


@pytest.mark.parametrize("size", [None, "auto"])
def test_size_may_be_left_open(size: str | None) -> None:
    assert drawn(size=size).width is None


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"background": "transparent"}, "background"),
        ({"output_compression": 50}, "output_compression"),
        ({"response_format": "url", "output_format": "webp"}, "response_format"),
        ({"response_format": "url", "stream": True}, "response_format"),
        ({"partial_images": 2}, "partial_images"),
    ],
)
def test_fields_that_do_not_fit(sent: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldError) as caught:
        drawn(**sent)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "sent",
    [
        {"n": 0},
        {"n": 11},
        {"size": "512"},
        {"size": "0x512"},
        {"size": "512x512x3"},
        {"output_format": "gif"},
        {"partial_images": 4},
        {"svg": {"model": "x"}},
        {"frame_count": 4},
        {"complexity": "low"},
        {"output_compression": 101},
        {"prompt": ""},
    ],
)
def test_what_is_out_of_range_or_unknown_is_refused(sent: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GenerationBody(**{"prompt": "x", **sent})


def test_transparent_parts_of_the_mask_are_drawn_anew() -> None:
    request = edited(HOLED)
    assert request.strength is None
    mask = Image.open(io.BytesIO(request.mask))  # type: ignore[arg-type]
    assert [mask.getpixel((x, 0)) for x in (0, 7)] == [255, 0]


def test_without_a_mask_the_pictures_own_holes_count() -> None:
    request = edited(image=HOLED)
    assert request.mask is not None
    assert edited().mask is None


@pytest.mark.parametrize(("fidelity", "strength"), [(None, 0.75), ("low", 0.75), ("high", 0.5)])
def test_without_any_mask_all_of_the_picture_is_drawn_from(fidelity: Any, strength: float) -> None:
    assert edited(input_fidelity=fidelity).strength == strength
    assert edited(input_fidelity=fidelity, strength=0.2).strength == 0.2


def test_a_mask_without_transparent_parts_is_refused() -> None:
    with pytest.raises(MaskError, match="transparent"):
        edited(OPAQUE)
    assert mask_of(OPAQUE, LIMITS) is None


def test_variations_take_the_pictures_own_words() -> None:
    image = Image.new("RGB", (8, 8))
    told = encode_picture(image, "png", Metadata(parameters=INFOTEXT.format(seed=1)))
    fields = variation_fields(VariationForm.model_construct(n=2), CHOSEN, told, LIMITS)
    request = GenerationRequest.parse(**fields)
    assert (request.prompt, request.negative_prompt) == ("a cat", "dogs")
    assert (request.strength, request.count, request.seed, request.checkpoint) == (0.6, 2, None, "mine")
    silent = variation_fields(VariationForm.model_construct(), CHOSEN, OPAQUE, LIMITS)
    assert silent["prompt"] == ""
