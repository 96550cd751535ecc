"""The openai package, unmodified, against a real server with a real worker."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image, ImageChops

from safelight.models.adapters.packaged import FEW_STEPS

SMALL: dict[str, Any] = {"seed": 7, "steps": 2}
RUN = pytest.mark.timeout(600)


@pytest.fixture
def client(server: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key="unused", max_retries=0) as client:
        yield client


def opened(text: str | None) -> Image.Image:
    assert text is not None
    return Image.open(io.BytesIO(base64.b64decode(text)))


def drawn(client: openai.OpenAI, **fields: Any) -> list[Image.Image]:
    answer = client.images.generate(prompt="a red apple, 3d style", size="64x64", extra_body=SMALL, **fields)
    assert answer.data is not None
    return [opened(each.b64_json) for each in answer.data]


@RUN
def test_generate(client: openai.OpenAI) -> None:
    first, second = drawn(client, n=2)
    assert first.size == (64, 64)
    assert "Seed: 7" in first.info["parameters"]
    assert ImageChops.difference(first, second).getbbox() is not None
    (again,) = drawn(client, model="starter")
    assert ImageChops.difference(first, again).getbbox() is None
    (webp,) = drawn(client, output_format="webp", output_compression=50, quality="auto", user="anna")
    assert webp.format == "WEBP"


@RUN
def test_an_image_url(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="x", size="64x64", response_format="url", extra_body=SMALL)
    assert answer.data is not None
    assert answer.data[0].url is not None
    response = httpx2.get(answer.data[0].url)
    assert Image.open(io.BytesIO(response.content)).size == (64, 64)


@RUN
def test_edit_and_variation(client: openai.OpenAI) -> None:
    (apple,) = drawn(client)
    file, hole = io.BytesIO(), io.BytesIO()
    apple.save(file, "PNG")
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (32, 0, 64, 64))
    mask.save(hole, "PNG")
    picture = ("apple.png", file.getvalue(), "image/png")
    edited = client.images.edit(
        image=picture, mask=("mask.png", hole.getvalue(), "image/png"), prompt="a pear", extra_body=SMALL
    )
    assert edited.data is not None
    result, far = opened(edited.data[0].b64_json), (0, 0, 16, 64)
    assert ImageChops.difference(result.crop(far), apple.crop(far)).getbbox() is None
    assert ImageChops.difference(result, apple).getbbox() is not None
    whole = client.images.edit(
        image=[picture], prompt="a pear", size="64x64", extra_body=SMALL | {"strength": 1}
    )
    assert whole.size == "64x64"
    with pytest.warns(
        DeprecationWarning, match="deprecated"
    ):  # OpenAI's own service has no variations any more
        varied = client.images.create_variation(image=picture, n=1, size="64x64")  # type: ignore[arg-type]
    assert varied.data is not None
    assert opened(varied.data[0].b64_json).size == (64, 64)


@RUN
def test_streams(client: openai.OpenAI) -> None:
    with client.images.generate(
        prompt="a red apple", size="128x128", stream=True, partial_images=2, extra_body={"steps": 60}
    ) as events:
        found = list(events)
    assert len(found) > 1, "a job of seconds has a preview"
    assert [each.type for each in found][-1] == "image_generation.completed"
    assert {each.type for each in found[:-1]} <= {"image_generation.partial_image"}
    assert [each.partial_image_index for each in found[:-1]] == list(range(len(found) - 1))  # type: ignore[union-attr]
    assert all(opened(each.b64_json).format == "PNG" for each in found)
    file = io.BytesIO()
    opened(found[-1].b64_json).save(file, "PNG")
    ours = {"steps": 4, "adapters": [f"{FEW_STEPS}:0.5"], "outpaint": {"left": 64}, "inpaint": {"blur": 2}}
    with client.images.edit(
        image=("a.png", file.getvalue(), "image/png"), prompt="a pear", stream=True, extra_body=ours
    ) as edits:
        (edited,) = edits
    assert edited.type == "image_edit.completed"
    written = opened(edited.b64_json).info["parameters"]
    assert f"<lora:{FEW_STEPS}:0.5>" in written
    assert opened(edited.b64_json).width == opened(found[-1].b64_json).width + 64


def test_a_stream_that_fails(client: openai.OpenAI) -> None:
    with (
        pytest.raises(openai.APIError, match="no multiple of 8"),
        client.images.generate(prompt="x", size="65x64", stream=True) as events,
    ):
        list(events)


def test_moderations(client: openai.OpenAI, photographs: list[Path]) -> None:
    uri = f"data:image/jpeg;base64,{base64.b64encode(photographs[1].read_bytes()).decode()}"
    answer = client.moderations.create(input=[{"type": "image_url", "image_url": {"url": uri}}])
    (result,) = answer.results
    assert not result.flagged
    assert 0 <= result.category_scores.sexual < 0.5
    assert result.category_applied_input_types.violence == []


@pytest.mark.parametrize("name", ["omni-moderation-latest", "text-moderation-007"])
def test_openai_moderation_models_mean_the_configured_classifier(
    client: openai.OpenAI, name: str, photographs: list[Path]
) -> None:
    url = f"data:image/jpeg;base64,{base64.b64encode(photographs[0].read_bytes()).decode()}"
    answer = client.moderations.create(model=name, input=[{"type": "image_url", "image_url": {"url": url}}])
    assert answer.model == "open-nsfw"
    assert client.models.retrieve(name).id == "open-nsfw"


@RUN
@pytest.mark.parametrize("name", ["gpt-image-1", "dall-e-2"])
def test_openai_image_models_mean_the_configured_checkpoint(client: openai.OpenAI, name: str) -> None:
    answer = client.images.generate(prompt="a red apple", model=name, size="64x64", extra_body=SMALL)
    assert answer.model_extra is not None
    assert answer.model_extra["checkpoint"] == "starter"
    assert client.models.retrieve(name).id == "starter"
    with client.images.generate(
        prompt="a red apple", model=name, size="64x64", stream=True, extra_body=SMALL
    ) as events:
        (last,) = [each for each in events if each.type == "image_generation.completed"]
    assert (last.model_extra or {})["checkpoint"] == "starter"


@RUN
def test_unsupported_parts_of_a_prompt_are_removed_and_reported(client: openai.OpenAI) -> None:
    def extra(prompt: str, **fields: Any) -> tuple[Image.Image, list[str] | None]:
        answer = client.images.generate(prompt=prompt, size="64x64", extra_body=SMALL, **fields)
        assert answer.data is not None
        assert answer.model_extra is not None
        return opened(answer.data[0].b64_json), answer.model_extra.get("ignored_fields")

    plain, nothing = extra("a red apple, 3d style")
    asked, told = extra("a red apple<net:ink:1>, 3d style", style="vivid", moderation="low")
    assert (nothing, told) == (None, ["moderation", "style", "<net:ink:1>"])
    assert ImageChops.difference(plain, asked).getbbox() is None
    assert "Left out: " in asked.info["parameters"]


def test_models(client: openai.OpenAI) -> None:
    assert "starter" in [model.id for model in client.models.list()]
    assert client.models.retrieve("starter").object == "model"


@pytest.mark.parametrize(
    ("call", "kind", "code"),
    [
        (lambda c: c.images.generate(prompt="x", model="gpt-4o"), openai.NotFoundError, "model_not_found"),
        (lambda c: c.models.retrieve("gpt-4o"), openai.NotFoundError, "model.missing"),
        (
            lambda c: c.images.generate(prompt="x", background="transparent"),
            openai.BadRequestError,
            "request.field",
        ),
        (lambda c: c.images.generate(prompt="x", n=11), openai.BadRequestError, "request.invalid"),
        (
            lambda c: c.images.edit(image=b"nothing", prompt="x"),
            openai.APIStatusError,
            "image.not_recognised",
        ),
        (
            lambda c: c.moderations.create(input="words"),
            openai.BadRequestError,
            "moderation.text_unjudged",
        ),
    ],
)
def test_errors_are_exceptions_of_the_client(client: openai.OpenAI, call: Any, kind: type, code: str) -> None:
    with pytest.raises(kind) as caught:
        call(client)
    assert caught.value.code == code
