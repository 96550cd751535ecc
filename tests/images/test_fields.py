from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from safelight.generation.request import GenerationRequest
from safelight.images.fields import ImageField, find_images, image_fields, models_in, replace_images

Image = Annotated[bytes, ImageField()]
Mask = Annotated[bytes | None, ImageField(judged=False)]


class Depth(BaseModel):
    kind: Literal["depth"] = "depth"
    image: Image
    mask: Mask = None


class Words(BaseModel):
    kind: Literal["words"] = "words"
    text: str


class Asked(BaseModel):
    prompt: str = ""
    init_image: Image | None = None
    control: tuple[Annotated[Depth | Words, Field(discriminator="kind")], ...] = ()
    references: list[Image] = []
    best: Depth | None = None


ASKED: dict[str, Any] = {
    "prompt": "a cat",
    "init_image": b"init",
    "control": (
        {"kind": "words", "text": "image"},
        {"kind": "depth", "image": b"depth", "mask": b"mask"},
    ),
    "references": [b"one", b"two"],
    "best": {"image": b"best"},
}
FOUND = {
    "init_image": b"init",
    "control[1].image": b"depth",
    "control[1].mask": b"mask",
    "references[0]": b"one",
    "references[1]": b"two",
    "best.image": b"best",
}


@pytest.mark.parametrize("values", [ASKED, Asked(**ASKED)], ids=["fields", "model"])
def test_images_are_found_at_any_depth(values: dict[str, Any] | Asked) -> None:
    found = list(find_images(Asked, values))
    assert {each.name: each.value for each in found} == FOUND
    assert found[2].path == ("control", 1, "mask")
    assert [each.name for each in found if not each.field.judged] == ["control[1].mask"]


def test_only_images_are_replaced() -> None:
    request = Asked(**ASKED)
    changed = replace_images(Asked, request, lambda found: found.value.upper())
    assert {each.name: each.value for each in find_images(Asked, changed)} == {
        name: data.upper() for name, data in FOUND.items()
    }
    assert changed.control[0] is request.control[0]
    assert changed.prompt == "a cat"
    assert request == Asked(**ASKED), "the request itself stays as it is"
    assert replace_images(Asked, request, lambda found: found.value) is request


def test_fields_round_trip() -> None:
    images: dict[str, bytes] = {}

    def take(found: Any) -> dict[str, str]:
        images[found.name] = found.value
        return {"blob": found.name}

    stored = replace_images(Asked, Asked(**ASKED).model_dump(exclude_unset=True), take)
    assert not any(isinstance(found.value, bytes) for found in find_images(Asked, stored))
    back = replace_images(Asked, stored, lambda found: images[found.value["blob"]])
    assert Asked(**back) == Asked(**ASKED)


def test_unset_fields_are_not_found() -> None:
    assert list(find_images(Asked, Asked())) == []
    assert list(find_images(Asked, {"init_image": None, "control": None, "unknown": b"x"})) == []
    assert list(find_images(Asked, {"control": "no list", "best": 3})) == []


def test_single_and_multiple_image_fields() -> None:
    assert image_fields(Asked) == {"init_image": False, "references": True}
    assert image_fields(GenerationRequest) == {"init_image": False, "mask": False}
    assert models_in(Asked.model_fields["control"].annotation) == (Depth, Words)


def test_an_initial_image_is_judged_and_a_mask_is_not() -> None:
    request = GenerationRequest.parse(prompt="", init_image=b"one", mask=b"two")
    assert {found.name: found.field.judged for found in find_images(GenerationRequest, request)} == {
        "init_image": True,
        "mask": False,
    }
