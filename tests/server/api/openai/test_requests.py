from __future__ import annotations

import io
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from tests.server.api.factories import INFOTEXT

from safelight.errors import MaskError, UnsupportedFieldError
from safelight.generation.request import GenerationRequest
from safelight.images import DecodeLimits
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata
from safelight.models.families import FAMILIES
from safelight.server.api.checkpoint_names import SelectedCheckpoint
from safelight.server.api.openai.requests import (
    MAX_DEFAULT_PIXELS,
    check_form,
    edit_fields,
    fit_size,
    generation_fields,
    inpaint_mask,
    quality_of,
    variation_fields,
)
from safelight.server.api.openai.schemas import EditForm, GenerationBody, VariationForm

CHOSEN = SelectedCheckpoint("mine", FAMILIES["sd1"])
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


def generation_request(**sent: Any) -> GenerationRequest:
    form = GenerationBody(prompt="a cat", **sent)
    check_form(form)
    return GenerationRequest.parse(**generation_fields(form, CHOSEN))


def edit_request(mask: bytes | None = None, image: bytes = OPAQUE, **sent: Any) -> GenerationRequest:
    form = EditForm(prompt="a cat", **sent)
    check_form(form)
    return GenerationRequest.parse(**edit_fields(form, CHOSEN, [image], mask, LIMITS))


def test_a_prompt_alone() -> None:
    assert generation_request() == GenerationRequest(
        prompt="a cat", checkpoint="mine", ignore_unsupported=True
    )


def test_every_field_is_mapped() -> None:
    request = generation_request(
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
        ignore_unsupported=True,
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


OURS: dict[str, Any] = {
    "adapters": ["ink:0.5", {"name": "mossy", "denoiser": 0.2}],
    "control": [{"kind": "canny", "weight": 0.5, "image": b"a picture"}],
    "hires": {"scale": 1.5},
    "clip_skip": 2,
    "styles": ["photo"],
}


def test_our_other_fields_have_their_own_names() -> None:
    usual = {"prompt": "a cat", "checkpoint": "mine", "ignore_unsupported": True}
    assert generation_request(**OURS) == GenerationRequest.parse(**usual, **OURS)


def test_in_a_form_they_are_written_as_clients_write_them_or_as_json() -> None:
    fields = {**OURS, "strength": 0.5}
    del fields["control"]
    wanted = GenerationRequest.parse(
        prompt="a cat", checkpoint="mine", ignore_unsupported=True, init_image=OPAQUE, **fields
    )
    lists = {"adapters[]": ["ink:0.5", '{"name": "mossy", "denoiser": 0.2}'], "styles[]": "photo"}
    written = edit_request(**lists, **{"hires[scale]": "1.5"}, clip_skip="2", strength="0.5")
    as_json = {"adapters": lists["adapters[]"], "hires": '{"scale": 1.5}', "styles": ["photo"]}
    assert written.model_copy(update={"width": None, "height": None}) == wanted
    assert edit_request(**as_json, clip_skip="2", strength="0.5") == written


@pytest.mark.parametrize(
    "sent",
    [
        {"hires": "x", "hires[scale]": "2"},
        {"adapters[]": "ink", "adapters[name]": "ink"},
        {"hires": "{"},
        {"adapters": ["[" * 100_000]},
    ],
)
def test_fields_of_a_form_that_cannot_be_read_are_refused(sent: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        edit_request(**sent)


@pytest.mark.parametrize(
    ("name", "value", "own"), [("count", 2, "n"), ("width", 64, "size"), ("checkpoint", "x", "model")]
)
def test_what_has_a_name_of_openai_has_no_other(name: str, value: Any, own: str) -> None:
    with pytest.raises(ValidationError, match=f"it is {own} here"):
        generation_request(**{name: value})
    assert name not in GenerationBody.model_json_schema()["properties"]


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
    assert generation_request(quality=quality).steps == steps
    assert quality_of(GenerationBody(prompt="x", quality=quality)) == name


def test_quality_of_an_unknown_family_is_refused() -> None:
    form = GenerationBody(prompt="x", quality="high")
    with pytest.raises(UnsupportedFieldError, match="quality"):
        generation_fields(form, SelectedCheckpoint(None, None))


def test_png_accepts_only_a_compression_of_100() -> None:
    assert (
        generation_request(output_compression=100)
        == generation_request(output_compression=100, output_format="png")
        == generation_request()
    )


@pytest.mark.parametrize("size", [None, "auto"])
def test_size_may_be_omitted(size: str | None) -> None:
    assert generation_request(size=size).width is None


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"background": "transparent"}, "background"),
        ({"output_compression": 50}, "output_compression"),
        ({"output_compression": 0, "output_format": "png"}, "output_compression"),
        ({"response_format": "url", "output_format": "webp"}, "response_format"),
        ({"response_format": "url", "stream": True}, "response_format"),
        ({"partial_images": 2}, "partial_images"),
    ],
)
def test_contradicting_fields(sent: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedFieldError) as caught:
        generation_request(**sent)
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
def test_out_of_range_or_unknown_values_are_refused(sent: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GenerationBody(**{"prompt": "x", **sent})


def test_transparent_parts_of_the_mask_are_regenerated() -> None:
    request = edit_request(HOLED)
    assert request.strength is None
    mask = open_image(request.mask)
    assert [mask.getpixel((x, 0)) for x in (0, 7)] == [255, 0]


def test_without_a_mask_the_pictures_transparent_parts_are_used() -> None:
    request = edit_request(image=HOLED)
    assert request.mask is not None
    assert edit_request().mask is None


def test_partly_transparent_pixels_are_no_mask() -> None:
    shadow = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
    shadow.paste((0, 0, 0, 200), (0, 0, 4, 8))
    assert edit_request(image=file_of(shadow)).mask is None
    shadow.paste((0, 0, 0, 0), (0, 0, 2, 8))
    mask = open_image(edit_request(image=file_of(shadow)).mask)
    assert [mask.getpixel((x, 0)) for x in (0, 3, 7)] == [255, 0, 0]


def open_image(data: Any) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_masked_picture_is_cropped_to_the_size_and_not_distorted() -> None:
    image = Image.new("RGB", (64, 32), "red")
    image.paste("blue", (16, 0, 48, 32))  # the square in the middle
    mask = Image.new("RGBA", (64, 32), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (16, 0, 32, 32))  # its left half
    request = edit_request(file_of(mask), file_of(image), size="128x128")
    assert (request.width, request.height) == (128, 128)
    picture, cover = open_image(request.init_image), open_image(request.mask)
    assert (picture.size, cover.size) == ((128, 128), (128, 128))
    assert {picture.getpixel((x, 64)) for x in (4, 60, 124)} == {(0, 0, 255)}
    assert [cover.getpixel((x, 64)) for x in (4, 50, 78, 124)] == [255, 255, 0, 0]


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(MaskError, match="8 x 8 pixels, its picture 64 x 32"):
        edit_request(HOLED, file_of(Image.new("RGB", (64, 32))), size="64x64")


@pytest.mark.parametrize(
    ("size", "family", "drawn_at"),
    [
        ((4032, 3024), "sd1", (1176, 880)),
        ((3024, 4032), None, (832, 1152)),
        ((1024, 1024), "sd1", None),
        ((1024, 1024), None, None),
        ((16000, 20), "sd1", None),
        ((16384, 100), "sd1", (13104, 80)),
    ],
)
def test_photographs_are_scaled_to_a_supported_size(
    size: tuple[int, int], family: str | None, drawn_at: tuple[int, int] | None
) -> None:
    assert fit_size(size, SelectedCheckpoint(None, FAMILIES[family] if family else None)) == drawn_at


@given(st.integers(1, 16384), st.integers(1, 16384), st.sampled_from(["sd1", "sdxl", "flux", "sd1-starter"]))
def test_a_smaller_size_keeps_the_proportions(width: int, height: int, name: str) -> None:
    family = FAMILIES.get(name, FAMILIES["sd1"])
    found = fit_size((width, height), SelectedCheckpoint(None, family))
    if found is None:
        assert width * height <= max(MAX_DEFAULT_PIXELS, family.side**2)
        return
    unit = family.size_multiple
    assert not any(side % unit for side in found)
    share = math.sqrt(max(MAX_DEFAULT_PIXELS, family.side**2) / (width * height))
    assert all(
        abs(side - share * asked) < unit
        for side, asked in zip(found, (width, height), strict=True)
        if side > unit
    )


def test_an_edit_and_a_variation_of_a_photograph() -> None:
    photograph = file_of(Image.new("RGB", (2000, 1500), "red"))
    request = edit_request(image=photograph)
    assert (request.width, request.height) == (1176, 880)
    whole = VariationForm.model_construct()
    assert variation_fields(whole, CHOSEN, photograph, LIMITS)["width"] == 1176
    hole = Image.new("RGBA", (2000, 1500), (0, 0, 0, 255))
    hole.paste((0, 0, 0, 0), (0, 0, 500, 500))
    masked = edit_request(file_of(hole), photograph)
    assert open_image(masked.init_image).size == open_image(masked.mask).size == (1176, 880)


@pytest.mark.parametrize(("fidelity", "strength"), [(None, 0.75), ("low", 0.75), ("high", 0.5)])
def test_without_any_mask_it_is_image_to_image(fidelity: Any, strength: float) -> None:
    assert edit_request(input_fidelity=fidelity).strength == strength
    assert edit_request(input_fidelity=fidelity, strength=0.2).strength == 0.2


def test_a_mask_without_transparent_parts_is_refused() -> None:
    with pytest.raises(MaskError, match="transparent"):
        edit_request(OPAQUE)
    assert inpaint_mask(OPAQUE, LIMITS) is None


def test_variations_reuse_the_prompt_of_the_picture() -> None:
    image = Image.new("RGB", (8, 8))
    told = encode_image(image, "png", Metadata(infotext=INFOTEXT.format(seed=1)))
    fields = variation_fields(VariationForm.model_construct(n=2), CHOSEN, told, LIMITS)
    request = GenerationRequest.parse(**fields)
    assert (request.prompt, request.negative_prompt) == ("a cat", "dogs")
    assert (request.strength, request.count, request.seed, request.checkpoint) == (0.6, 2, None, "mine")
    silent = variation_fields(VariationForm.model_construct(), CHOSEN, OPAQUE, LIMITS)
    assert silent["prompt"] == ""
