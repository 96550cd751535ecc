from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.generation.conftest import SIDE, GenerateImages, same_pixels, to_array
from tests.generation.diffusers_reference import (
    generate_with_diffusers,
    load_diffusers_pipeline,
    nearly_equal,
)
from tests.tiny.generation import INIT_IMAGE

from safelight.errors import (
    UnsupportedError,
)
from safelight.models.checkpoints.loading import LoadedCheckpoint

Tiny = Callable[[str], Path]
Memory = Callable[[str], LoadedCheckpoint]
SIZE = {"width": SIDE, "height": SIDE}


@pytest.mark.parametrize(("name", "family"), [("sd1", "StableDiffusion"), ("sdxl", "StableDiffusionXL")])
@pytest.mark.parametrize("sampler", ["Euler", "Heun"])
def test_a_prompt_changes_at_its_step(
    name: str, family: str, sampler: str, draw: GenerateImages, tiny: Tiny, in_memory: Memory
) -> None:
    """From step 2 of 4 on the prompt is another: the stock pipeline gets its embeddings from a callback."""
    from safelight.generation.conditioning import EncoderCall, make_conditioning
    from safelight.generation.plan import ExpandedPrompts
    from safelight.generation.prompts.embedding_cache import EmbeddingCache

    prompts = make_conditioning(in_memory(name), EmbeddingCache(10**6))
    (later,) = prompts.phases(EncoderCall(ExpandedPrompts("a blue cat", ""), 1))
    changed = {"prompt_embeds": torch.cat([later.negative.embeddings, later.positive.embeddings])}
    if later.positive.pooled is not None:
        changed["add_text_embeds"] = torch.cat([later.negative.pooled, later.positive.pooled])
    calls_before = 4 if sampler == "Heun" else 2

    def change(_: Any, call: int, __: Any, ___: Any) -> dict[str, Any]:
        return dict(changed) if call == calls_before - 1 else {}

    expected = generate_with_diffusers(
        tiny(name),
        f"{family}Pipeline",
        sampler,
        num_inference_steps=4,
        guidance_scale=7.0,
        callback_on_step_end=change,
        callback_on_step_end_tensor_inputs=["latents", *changed],
        **SIZE,
    )
    for prompt in ("a [red:blue:2] cat", "a [red:blue:0.5] cat"):
        (drawn,) = draw(name, prompt=prompt, steps=4, sampler=sampler)
        assert nearly_equal(to_array(drawn), expected)


def test_fractions_are_of_the_steps_that_run(draw: GenerateImages) -> None:
    edit = {"init_image": INIT_IMAGE, "strength": 0.5, "steps": 4}  # of which two run
    (half,) = draw(prompt="a [red:blue:0.5] cat", **edit)
    assert same_pixels(half, *draw(prompt="a [red:blue:1] cat", **edit))
    assert not same_pixels(half, *draw(prompt="a red cat", **edit))
    assert not same_pixels(half, *draw(prompt="a blue cat", **edit))


def test_a_second_pass_continues_the_schedule_of_the_first(draw: GenerateImages) -> None:
    prompt, hires = "a [red:blue:1.0] cat", {"scale": 1.5, "strength": 0.9}
    assert same_pixels(*draw(prompt=prompt), *draw(prompt="a red cat"))
    (drawn,) = draw(prompt=prompt, hires=hires)
    assert not same_pixels(drawn, *draw(prompt="a red cat", hires=hires))
    assert not same_pixels(drawn, *draw(prompt="a blue cat", hires=hires))


def test_alternation(draw: GenerateImages) -> None:
    turns = "a [[[red|blue]:[red|blue]:1]:[red|blue]:2] cat"
    assert same_pixels(*draw(prompt="a [red|blue] cat"), *draw(prompt=turns))
    assert not same_pixels(*draw(prompt="a [red|blue] cat"), *draw(prompt="a red cat"))
    assert same_pixels(*draw(prompt="a [red|blue] cat", steps=1), *draw(prompt="a red cat", steps=1))


@pytest.mark.parametrize("prompt", ["a (red:1.5) cat", "a [red] cat", "a red BREAK cat"])
@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_weights_and_breaks_have_an_effect(name: str, prompt: str, draw: GenerateImages) -> None:
    assert not same_pixels(*draw(name, prompt=prompt), *draw(name))


def test_a_long_negative_prompt_has_an_effect(draw: GenerateImages) -> None:
    long = "red blue cat dog " * 60
    assert not same_pixels(*draw(negative_prompt=long + "green"), *draw(negative_prompt=long + "yellow"))


def test_clip_skip_uses_an_earlier_layer(draw: GenerateImages, tiny: Tiny) -> None:
    pipe = load_diffusers_pipeline(tiny("sd1"), "StableDiffusionPipeline")
    embeddings = []
    for text in ("a red cat", ""):
        ids = pipe.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
        with torch.no_grad():
            states = pipe.text_encoder(ids, output_hidden_states=True).hidden_states
            embeddings.append(pipe.text_encoder.final_layer_norm(states[-2]))
    expected = generate_with_diffusers(
        tiny("sd1"),
        "StableDiffusionPipeline",
        prompt=None,
        prompt_embeds=embeddings[0],
        negative_prompt_embeds=embeddings[1],
        guidance_scale=7.0,
        **SIZE,
    )
    (drawn,) = draw(clip_skip=2)
    assert nearly_equal(to_array(drawn), expected)
    assert not same_pixels(drawn, *draw())
    assert not same_pixels(*draw("sd3", clip_skip=2), *draw("sd3"))


@pytest.mark.parametrize("name", ["sd3", "flux", "pixart-sigma", "kolors"])
def test_plain_text_encoders_refuse_unsupported_features(name: str, draw: GenerateImages) -> None:
    for prompt in ("a [red:blue:2] cat", "a [red|blue] cat"):
        with pytest.raises(UnsupportedError, match="one prompt from the first step to the last"):
            draw(name, prompt=prompt)
    (weighted,), (plain,) = draw(name, prompt="a (red:1.5) cat"), draw(name, prompt="a red cat")
    assert same_pixels(weighted, plain)
    assert any("takes no weights" in note for note in weighted.record.notes)
    assert plain.record.notes == ()
    (broken,) = draw(name, prompt="a red BREAK cat")
    assert any("BREAK had no effect" in note for note in broken.record.notes)


@pytest.mark.parametrize(
    ("name", "limit"), [("sd3", 256), ("flux", 512), ("pixart-alpha", 120), ("chroma", 512)]
)
def test_syntax_that_plain_text_encoders_do_not_read_is_noted(
    name: str, limit: int, draw: GenerateImages
) -> None:
    long = "red " * limit
    (one,), (other,) = draw(name, prompt=long + "cat"), draw(name, prompt=long + "dog")
    assert same_pixels(one, other)
    (note,) = one.record.notes
    assert f"reads the first {limit}: the rest had no effect" in note
    assert draw(name, prompt="red " * 20)[0].record.notes == ()
