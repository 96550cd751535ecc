"""Textual inversions take their places in prompts as in diffusers' pipelines and as A1111 reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.generation.conftest import GenerateImages, Pixels, to_array
from tests.generation.diffusers_reference import load_diffusers_pipeline, nearly_equal
from torch import Tensor

from safelight.errors import AdapterFamilyError, AdapterMissingError
from safelight.generation.engine import Engine
from safelight.generation.infotext import infotext_from_record
from safelight.generation.recall import AvailableModels, KnownAdapter, recall_text
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.loading import LoadedCheckpoint

InMemory = Callable[[str], LoadedCheckpoint]


def vectors(loaded: LoadedCheckpoint, encoder: str, count: int, seed: int) -> Tensor:
    network: Any = loaded.networks[encoder].network
    width = network.get_input_embeddings().weight.shape[1]
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def embeddings(drawing_home: Path, in_memory: InMemory) -> Iterator[dict[str, dict[str, Tensor]]]:
    """dotty and mossy of the tiny SD 1, of one and of three vectors; glassy of the tiny SDXL."""
    folder = drawing_home / "embeddings"
    folder.mkdir()
    found: dict[str, dict[str, Tensor]] = {}
    for name, count in (("dotty", 1), ("mossy", 3)):
        found[name] = {"text_encoder": vectors(in_memory("sd1"), "text_encoder", count, count)}
        save_file({"emb_params": found[name]["text_encoder"]}, folder / f"{name}.safetensors")
    xl = {name: vectors(in_memory("sdxl"), name, 2, 9) for name in ("text_encoder", "text_encoder_2")}
    found["glassy"] = xl
    save_file({"clip_l": xl["text_encoder"], "clip_g": xl["text_encoder_2"]}, folder / "glassy.safetensors")
    yield found
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@pytest.fixture
def picture(draw: GenerateImages, embeddings: dict[str, dict[str, Tensor]]) -> Callable[..., Pixels]:
    def run(prompt: str, negative_prompt: str = "", name: str = "sd1", **fields: Any) -> Pixels:
        fields = {"guidance_scale": 4} | fields
        return to_array(*draw(name, prompt=prompt, negative_prompt=negative_prompt, **fields))

    return run


@pytest.mark.parametrize(
    ("name", "prompt", "negative"),
    [
        ("sd1", "a dotty cat", ""),
        ("sd1", "mossy, a cat", "a dotty dog, mossy"),
        ("sdxl", "a glassy cat", "a dog, glassy"),
    ],
)
def test_a_picture_is_that_of_diffusers(
    name: str,
    prompt: str,
    negative: str,
    picture: Callable[..., Pixels],
    embeddings: dict[str, dict[str, Tensor]],
    tiny: Callable[[str], Path],
    in_memory: InMemory,
) -> None:
    family = in_memory(name).family
    pipe = load_diffusers_pipeline(tiny(name), family.pipeline_name("text-to-image"))
    for word, parts in embeddings.items():
        if set(parts) == set(family.text_encoders):
            for encoder, tensor in parts.items():
                pipe.load_textual_inversion(
                    tensor,
                    token=word,
                    text_encoder=getattr(pipe, encoder),
                    tokenizer=getattr(pipe, encoder.replace("text_encoder", "tokenizer")),
                )
    result = pipe(
        prompt,
        negative_prompt=negative,
        num_inference_steps=3,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(7),
        output_type="np",
        width=64,
        height=64,
    ).images[0]
    ours = picture(prompt, negative, name)
    assert nearly_equal(ours, (result * 255).round().astype(np.uint8))
    assert not nearly_equal(ours, picture(prompt.replace("y", "i"), negative.replace("y", "i"), name))


def test_names_are_found_as_whole_words_in_any_case(picture: Callable[..., Pixels]) -> None:
    named = picture("a dotty cat")
    for prompt in ("a Dotty cat", "a embedding:dotty cat", "a embedding:dotty.safetensors cat"):
        assert np.array_equal(picture(prompt), named), prompt
    words = picture("a \\dotty cat")
    assert not np.array_equal(words, named)
    weighted = picture("a (embedding:dotty:1.3) cat")
    assert np.array_equal(weighted, picture("a (dotty:1.3) cat"))
    assert not np.array_equal(weighted, named)
    for prompt in ("a dottyness cat", "a spotdotty cat"):
        assert not np.array_equal(picture(prompt), named)
    scheduled = picture("a [embedding:dotty:mossy:0.5] cat", steps=4)
    assert np.array_equal(scheduled, picture("a [dotty:mossy:0.5] cat", steps=4))


def test_a_name_that_is_for_another_family_is_a_word(picture: Callable[..., Pixels]) -> None:
    assert np.array_equal(picture("a dotty cat", name="sdxl"), picture("a \\dotty cat", name="sdxl"))


def test_each_vector_takes_the_place_of_a_token(
    engine: Engine, embeddings: dict[str, dict[str, Tensor]], tiny: Callable[[str], Path]
) -> None:
    long = "cat " * 24  # of three tokens each
    request = GenerationRequest.parse(
        prompt=f"{long}dotty mossy", negative_prompt="[dotty:blue:0.5]", checkpoint=str(tiny("sd1")), steps=4
    )
    explained = engine.explain(request)
    (phase,) = explained["prompt"].to_dict()["phases"]  # type: ignore[misc]
    chunks: Any = phase["chunks"]
    assert [len(chunk) for chunk in chunks] == [73, 3], "it is not split"
    assert [token["text"] for token in chunks[1]] == ["mossy 1/3", "mossy 2/3", "mossy 3/3"]
    assert "'dotty'" in str(explained["negative prompt"])


def test_the_record_names_them(
    draw: GenerateImages, embeddings: dict[str, dict[str, Tensor]], engine: Engine
) -> None:
    (drawn,) = draw(
        prompt="a dotty cat", negative_prompt="embedding:mossy, \\dotty", steps=1, guidance_scale=4
    )
    record = drawn.record
    assert [(each.name, each.vectors) for each in record.embeddings] == [("dotty", 1), ("mossy", 3)]
    text = infotext_from_record(record)
    dotty, mossy = (each.digest[:12] for each in record.embeddings)
    assert f'TI hashes: "dotty: {dotty}, mossy: {mossy}"' in text

    def find(name: str, digits: str | None) -> KnownAdapter | None:
        return KnownAdapter(name, differs=not str(digits).startswith(dotty)) if name == "dotty" else None

    for source in (text, record.to_json()):
        found = recall_text(source, AvailableModels((), str, find_embedding=find))
        assert (found.fields["prompt"], found.fields["negative_prompt"]) == (
            "a dotty cat",
            "embedding:mossy, \\dotty",
        )
        assert [each.value for each in found.unfilled if "textual inversion" in each.name] == ["mossy"]
    (again,) = engine.generate(record.to_request())
    assert np.array_equal(to_array(again), to_array(drawn))
    assert again.record.embeddings == record.embeddings


@pytest.mark.parametrize(
    ("name", "prompt", "error", "message"),
    [
        ("sd1", "embedding:nowhere", AdapterMissingError, "nowhere"),
        ("sdxl", "embedding:dotty", AdapterFamilyError, "the checkpoint is a Stable Diffusion XL"),
        ("flux", "embedding:dotty", AdapterFamilyError, "no use"),
    ],
)
def test_what_cannot_be_used_is_an_error(
    name: str,
    prompt: str,
    error: type[Exception],
    message: str,
    draw: GenerateImages,
    embeddings: dict[str, dict[str, Tensor]],
) -> None:
    for fields in ({"prompt": prompt}, {"prompt": "a cat", "negative_prompt": prompt}):
        with pytest.raises(error, match=message):
            draw(name, **fields)
