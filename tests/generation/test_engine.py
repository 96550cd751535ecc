from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.generation.conftest import COLOURS, SIDE, Draw, pixels
from tests.generation.stock import load_stock, stock
from tests.tiny import TINY
from tests.tiny.drawing import MASK, PICTURE

from safelight.errors import (
    BackendError,
    CheckpointMissingError,
    ImageError,
    MaskError,
    MemoryBudgetError,
    PromptError,
    RequestError,
    SafelightError,
    SamplerUnknownError,
    StoppedError,
    StyleUnknownError,
    UnsupportedError,
    UpscalerUnknownError,
    WildcardError,
)
from safelight.generation.engine import Engine, picture_bytes
from safelight.generation.painting import Progress, Watcher
from safelight.generation.request import GenerationRequest
from safelight.models.loading import Loaded
from safelight.settings import Settings

Tiny = Callable[[str], Path]
Memory = Callable[[str], Loaded]
SIZE = {"width": SIDE, "height": SIDE}
EDIT = {"init_image": PICTURE, "strength": 0.7}
MASKED = {"init_image": PICTURE, "mask": MASK, "inpaint": {"blur": 0}}


def same(first: Any, second: Any) -> bool:
    return np.array_equal(pixels(first), pixels(second))


# Every family in every mode


def cases() -> Iterator[tuple[str, str]]:
    from safelight.models.families import FAMILIES

    thorough = ("sd1", "sdxl", "sd3", "flux", "qwen-image", "z-image", "flux2-klein", "chroma")
    for name in TINY:
        modes = FAMILIES[name.removesuffix("-base")].modes
        yield from ((name, mode) for mode in (modes if name in thorough else modes[:1]))


@pytest.mark.parametrize(("name", "mode"), list(cases()))
def test_every_family_draws_with_previews_of_the_latents_size(name: str, mode: str, draw: Draw) -> None:
    fields = {"text-to-image": {}, "image-to-image": EDIT, "inpainting": MASKED}[mode]
    told: list[tuple[Progress, Any]] = []
    (drawn,) = draw(
        name, Watcher(lambda each: told.append((each, each.preview()))), negative_prompt="blue", **fields
    )
    steps = told[0][0].steps
    assert steps >= 2
    assert [(each.step, each.steps, each.stage) for each, _ in told] == [
        (step, steps, "first pass") for step in range(1, steps + 1)
    ]
    latents = SIDE // (32 if name == "sana" else 8)
    assert {preview.size for _, preview in told} == {(latents, latents)}
    assert drawn.image.size == (SIDE, SIDE)
    assert drawn.image.mode == "RGB"
    assert (drawn.record.mode, drawn.record.seed, drawn.stopped_at) == (mode, 7, None)
    assert pixels(drawn).std() > 0
    if mode == "inpainting":
        outside = np.asarray(MASK) == 0
        assert np.array_equal(pixels(drawn)[outside], np.asarray(PICTURE)[outside])


# Against diffusers alone


@pytest.mark.parametrize("sampler", ["DPM++ 2M Karras", "Euler a", "Heun"])
@pytest.mark.parametrize(("name", "family"), [("sd1", "StableDiffusion"), ("sdxl", "StableDiffusionXL")])
def test_text_to_image_is_diffusers_own_to_the_bit(
    name: str, family: str, sampler: str, draw: Draw, tiny: Tiny
) -> None:
    expected = stock(
        tiny(name),
        f"{family}Pipeline",
        sampler,
        negative_prompt="blue",
        guidance_scale=7.0,
        **SIZE,
    )
    (drawn,) = draw(name, sampler=sampler, negative_prompt="blue")
    assert np.array_equal(pixels(drawn), expected)


@pytest.mark.parametrize(
    ("name", "pipeline"),
    [("sd3", "StableDiffusion3Pipeline"), ("flux", "FluxPipeline"), ("z-image", "ZImagePipeline")],
)
def test_other_families_too(name: str, pipeline: str, draw: Draw, tiny: Tiny) -> None:
    own = {"guidance_scale": 2.5} if name == "z-image" else {"guidance_scale": 3.5}
    expected = stock(tiny(name), pipeline, "Euler", **own, **SIZE)
    assert np.array_equal(pixels(*draw(name, guidance_scale=3.5)), expected)


@pytest.mark.parametrize(("name", "family"), [("sd1", "StableDiffusion"), ("sdxl", "StableDiffusionXL")])
def test_image_to_image_is_diffusers_own_to_the_bit(name: str, family: str, draw: Draw, tiny: Tiny) -> None:
    expected = stock(tiny(name), f"{family}Img2ImgPipeline", image=PICTURE, strength=0.7, guidance_scale=7.0)
    assert np.array_equal(pixels(*draw(name, **EDIT)), expected)


@pytest.mark.parametrize(("name", "family"), [("sd1", "StableDiffusion"), ("sdxl", "StableDiffusionXL")])
def test_inpainting_is_diffusers_own_to_the_bit_under_the_mask(
    name: str, family: str, draw: Draw, tiny: Tiny
) -> None:
    expected = stock(
        tiny(name),
        f"{family}InpaintPipeline",
        image=PICTURE,
        mask_image=MASK,
        strength=1.0,
        guidance_scale=7.0,
        **SIZE,
    )
    found, inside = pixels(*draw(name, **MASKED)), np.asarray(MASK) == 255
    assert np.array_equal(found[inside], expected[inside])


# Seeds and batches

BATCHES: list[dict[str, Any]] = [
    {"sampler": "Euler a"},
    {"sampler": "DPM++ SDE"},
    {"prompt": "a __colours__ {cat|dog|bird|fish}"},
    {"init_image": PICTURE, "strength": 0.7, "sampler": "DPM++ 2M SDE"},
    {**MASKED, "inpaint": {"fill": "noise", "blur": 2}, "sampler": "Euler a"},
    {"init_image": PICTURE, "outpaint": {"right": 16}, "inpaint": {"fill": "noise"}},
    {"hires": {"scale": 1.5}, "sampler": "Euler a"},
    {"hires": {"scale": 1.5, "upscaler": "lanczos", "sampler": "DDPM"}, "sampler": "Euler"},
]


@pytest.mark.parametrize("fields", BATCHES, ids=lambda fields: ",".join(fields))
def test_picture_i_of_a_batch_is_its_seed_alone(fields: dict[str, Any], draw: Draw) -> None:
    batch = draw(count=3, seed=40, **fields)
    assert [each.record.seed for each in batch] == [40, 41, 42]
    for index in (2, 0):
        (alone,) = draw(seed=40 + index, **fields)
        assert same(alone, batch[index])
        assert alone.record == batch[index].record
    assert not same(batch[0], batch[1])


def test_a_batch_of_variations_takes_the_other_seeds_in_turn(draw: Draw) -> None:
    batch = draw(count=2, seed=40, variation={"seed": 90, "strength": 0.3}, sampler="Euler a")
    (alone,) = draw(seed=41, variation={"seed": 91, "strength": 0.3}, sampler="Euler a")
    assert same(alone, batch[1])
    assert alone.record == batch[1].record


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3", "z-image"])
def test_a_variation_leads_from_one_seed_to_the_other(name: str, draw: Draw) -> None:
    def varied(strength: float) -> Any:
        return draw(name, sampler="Euler", variation={"seed": 9, "strength": strength})[0]

    (own,), (other,) = draw(name, sampler="Euler"), draw(name, seed=9, sampler="Euler")
    assert same(varied(0), own)
    assert same(varied(1), other)
    a_little, much = (np.abs(pixels(varied(s)).astype(int) - pixels(own)).mean() for s in (0.05, 0.5))
    assert 0 < a_little < much


def test_a_largest_seed_draws_with_every_kind_of_noise(draw: Draw) -> None:
    for sampler in ("Euler a", "DPM++ SDE"):
        (drawn,) = draw(seed=2**63 - 1, sampler=sampler, steps=2)
        assert drawn.record.seed == 2**63 - 1


def test_a_drawn_seed_is_in_the_record_and_makes_the_picture_again(draw: Draw) -> None:
    first = draw(seed=None, count=2)
    again = draw(seed=first[0].record.seed, count=2)
    assert all(same(*pair) for pair in zip(first, again, strict=True))


# Prompts


@pytest.mark.parametrize(("name", "family"), [("sd1", "StableDiffusion"), ("sdxl", "StableDiffusionXL")])
@pytest.mark.parametrize("sampler", ["Euler", "Heun"])
def test_a_prompt_changes_at_its_step(
    name: str, family: str, sampler: str, draw: Draw, tiny: Tiny, in_memory: Memory
) -> None:
    """Step 2 of 4 on is drawn with other words: the stock pipeline gets their embeddings from a callback."""
    from safelight.generation.conditioning import prompts_for
    from safelight.generation.prompts.cache import EmbeddingCache
    from safelight.generation.settle import Words

    prompts = prompts_for(in_memory(name), EmbeddingCache(10**6))
    (later,) = prompts.phases(Words("a blue cat", ""), 1, 1)
    changed = {"prompt_embeds": torch.cat([later.negative.embeddings, later.positive.embeddings])}
    if later.positive.pooled is not None:
        changed["add_text_embeds"] = torch.cat([later.negative.pooled, later.positive.pooled])
    calls_before = 4 if sampler == "Heun" else 2

    def change(_: Any, call: int, __: Any, ___: Any) -> dict[str, Any]:
        return dict(changed) if call == calls_before - 1 else {}

    expected = stock(
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
        assert np.array_equal(pixels(drawn), expected)


def test_alternation_takes_turns(draw: Draw) -> None:
    turns = "a [[[red|blue]:[red|blue]:1]:[red|blue]:2] cat"
    assert same(*draw(prompt="a [red|blue] cat"), *draw(prompt=turns))
    assert not same(*draw(prompt="a [red|blue] cat"), *draw(prompt="a red cat"))
    assert same(*draw(prompt="a [red|blue] cat", steps=1), *draw(prompt="a red cat", steps=1))


@pytest.mark.parametrize("prompt", ["a (red:1.5) cat", "a [red] cat", "a red BREAK cat"])
@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_weights_and_breaks_count(name: str, prompt: str, draw: Draw) -> None:
    assert not same(*draw(name, prompt=prompt), *draw(name))


def test_a_long_negative_prompt_has_its_say(draw: Draw) -> None:
    long = "red blue cat dog " * 60
    assert not same(*draw(negative_prompt=long + "green"), *draw(negative_prompt=long + "yellow"))


def test_clip_skip_takes_an_earlier_layer(draw: Draw, tiny: Tiny) -> None:
    pipe = load_stock(tiny("sd1"), "StableDiffusionPipeline")
    embeddings = []
    for text in ("a red cat", ""):
        ids = pipe.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
        with torch.no_grad():
            states = pipe.text_encoder(ids, output_hidden_states=True).hidden_states
            embeddings.append(pipe.text_encoder.final_layer_norm(states[-2]))
    expected = stock(
        tiny("sd1"),
        "StableDiffusionPipeline",
        prompt=None,
        prompt_embeds=embeddings[0],
        negative_prompt_embeds=embeddings[1],
        guidance_scale=7.0,
        **SIZE,
    )
    (drawn,) = draw(clip_skip=2)
    assert np.array_equal(pixels(drawn), expected)
    assert not same(drawn, *draw())
    assert not same(*draw("sd3", clip_skip=2), *draw("sd3"))


@pytest.mark.parametrize("name", ["sd3", "flux", "pixart-sigma"])
def test_plain_text_encoders_say_what_they_cannot_do(name: str, draw: Draw) -> None:
    for prompt in ("a [red:blue:2] cat", "a [red|blue] cat"):
        with pytest.raises(UnsupportedError, match="one prompt from the first step to the last"):
            draw(name, prompt=prompt)
    (weighted,), (plain,) = draw(name, prompt="a (red:1.5) cat"), draw(name, prompt="a red cat")
    assert same(weighted, plain)
    assert any("takes no weights" in note for note in weighted.record.notes)
    assert plain.record.notes == ()


# Second pass, edits


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3"])
@pytest.mark.parametrize("upscaler", ["latent", "lanczos"])
def test_a_second_pass_draws_over_at_a_larger_size(name: str, upscaler: str, draw: Draw) -> None:
    told: list[Progress] = []
    hires = {"scale": 1.5, "upscaler": upscaler, "strength": 0.7, "steps": 4}
    (drawn,) = draw(name, Watcher(told.append), hires=hires)
    assert drawn.image.size == (96, 96)
    assert (drawn.record.width, drawn.record.height) == (64, 64)
    assert drawn.record.hires is not None
    stages = list(dict.fromkeys(each.stage for each in told))
    middle = ["upscaling"] if upscaler != "latent" else []
    assert stages == ["first pass", *middle, "second pass"]
    second = [each.step for each in told if each.stage == "second pass"]
    assert second == list(range(1, len(second) + 1))
    assert len(second) == (3 if name == "sd3" else 2)
    (first,) = draw(name)
    small = np.asarray(drawn.image.resize((64, 64), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - pixels(first)).mean() > 0


def test_a_weak_second_pass_stays_near_the_first(draw: Draw) -> None:
    (first,) = draw(steps=10)
    hires = {"scale": 2, "upscaler": "lanczos", "strength": 0.1, "steps": 10}
    far = draw(steps=10, hires=hires | {"strength": 1.0})[0]
    near = draw(steps=10, hires=hires)[0]
    small = [np.asarray(each.image.resize((64, 64), Image.Resampling.BOX)) for each in (near, far)]
    distances = [np.abs(each.astype(int) - pixels(first)).mean() for each in small]
    assert distances[0] < distances[1]


def test_another_sampler_and_schedule_in_the_second_pass(draw: Draw) -> None:
    hires = {"scale": 1.5, "strength": 0.9}
    plain, other = (draw(hires=hires | more)[0] for more in ({}, {"sampler": "DDIM"}))
    assert not same(plain, other)


def test_a_masked_part_alone_leaves_the_rest_of_a_large_picture(draw: Draw) -> None:
    large = Image.effect_noise((400, 300), 60).convert("RGB")
    mask = Image.new("L", large.size, 0)
    mask.paste(255, (300, 200, 330, 240))
    (drawn,) = draw(
        init_image=large, mask=mask, inpaint={"only_masked": True, "blur": 3, "padding": 8}, **SIZE
    )
    assert drawn.image.size == (400, 300)
    assert (drawn.record.width, drawn.record.height) == (64, 64)
    changed = (pixels(drawn) != np.asarray(large)).any(-1)
    assert changed[205:235, 305:325].mean() > 0.9
    changed[200 - 12 : 240 + 12, 300 - 12 : 330 + 12] = False
    assert not changed.any()


def test_without_a_size_a_masked_part_is_drawn_at_the_checkpoints_own(draw: Draw) -> None:
    large = Image.new("RGB", (400, 300), "grey")
    mask = Image.new("L", large.size, 0)
    mask.paste(255, (300, 200, 330, 240))
    (drawn,) = draw(init_image=large, mask=mask, inpaint={"only_masked": True})
    assert (drawn.record.width, drawn.record.height) == (64, 64)


@pytest.mark.parametrize("fill", ["original", "blur", "noise"])
def test_what_is_under_the_mask_matters_below_full_strength(fill: str, draw: Draw) -> None:
    found = draw(**{**MASKED, "inpaint": {"fill": fill}}, strength=0.5)[0]
    others = [f for f in ("original", "blur", "noise") if f != fill]
    for other in others:
        assert not same(found, draw(**{**MASKED, "inpaint": {"fill": other}}, strength=0.5)[0])


def test_a_transparent_mask_marks_nothing(draw: Draw) -> None:
    mask = Image.new("RGBA", (SIDE, SIDE), (255, 255, 255, 0))
    with pytest.raises(MaskError, match="marks nothing"):
        draw(init_image=PICTURE, mask=mask)
    mask.paste((255, 255, 255, 255), (32, 0, 64, 64))
    assert same(
        draw(init_image=PICTURE, mask=mask, inpaint={"blur": 0})[0],
        draw(**MASKED)[0],
    )


def test_outpainting_keeps_the_picture_but_for_the_seam(draw: Draw) -> None:
    (drawn,) = draw(init_image=PICTURE, outpaint={"right": 30, "top": 8}, inpaint={"blur": 2})
    assert drawn.image.size == (94, 72)
    assert (drawn.record.width, drawn.record.height) == (96, 72)
    found, before, seam = pixels(drawn), np.asarray(PICTURE), 2 * 2 + 3 * 2
    assert np.array_equal(found[8 + seam :, : 64 - seam], before[seam:, : 64 - seam])
    assert found[:, 64:].std() > 0


# What cannot be done

REFUSED: list[tuple[dict[str, Any], type[SafelightError]]] = [
    ({"width": 130}, RequestError),
    ({"width": 7777, "height": 7777}, RequestError),
    ({"width": 16384, "height": 16384}, MemoryBudgetError),
    ({"width": 4096, "height": 4096, "hires": {"scale": 2}}, MemoryBudgetError),
    ({"sampler": "nonsense"}, SamplerUnknownError),
    ({"schedule": "nonsense"}, SamplerUnknownError),
    ({"styles": ["nonsense"]}, StyleUnknownError),
    ({"prompt": "__nonsense__"}, WildcardError),
    ({"prompt": "{2$$a}"}, PromptError),
    ({"hires": {"upscaler": "nonsense"}}, UpscalerUnknownError),
    ({"hires": {"sampler": "nonsense"}}, SamplerUnknownError),
    ({"checkpoint": "nonsense"}, CheckpointMissingError),
    ({"clip_skip": 9}, RequestError),
    ({"init_image": b"no picture"}, ImageError),
    ({"init_image": PICTURE, "mask": b""}, ImageError),
    ({"init_image": PICTURE, "mask": Image.new("L", (32, 32), 255)}, MaskError),
    ({"init_image": PICTURE, "mask": Image.new("L", (64, 64), 0)}, MaskError),
    ({"init_image": PICTURE, "outpaint": {}}, MaskError),
    ({"init_image": PICTURE, "strength": 0.1}, RequestError),
    ({"init_image": PICTURE, "strength": 0}, RequestError),
]


@contextmanager
def silent(loaded: Loaded) -> Iterator[list[str]]:
    """Which networks are called meanwhile."""
    called: list[str] = []
    parts: dict[str, Any] = {
        name: part for name, part in loaded.components.items() if isinstance(part, torch.nn.Module)
    }
    inner = {**parts, "vae": parts["vae"].encoder, "decoder": parts["vae"].decoder}
    handles = [
        part.register_forward_pre_hook(lambda *_, name=name: called.append(name))
        for name, part in inner.items()
    ]
    yield called
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(("fields", "error"), REFUSED)
def test_what_cannot_be_drawn_is_said_before_any_network_runs(
    fields: dict[str, Any], error: type[SafelightError], draw: Draw, in_memory: Memory
) -> None:
    with silent(in_memory("sd1")) as called, pytest.raises(error) as caught:
        draw(**fields)
    assert called == []
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_a_picture_that_does_not_fit_the_memory(tiny: Tiny, drawing_home: Path, in_memory: Memory) -> None:
    loaded = in_memory("sd1")
    budget = loaded.nbytes + picture_bytes(loaded, 128, 128)
    engine = Engine(Settings(home=drawing_home, device="cpu", memory_budget=budget))
    fields = {"prompt": "", "steps": 2, "checkpoint": str(tiny("sd1"))}
    assert len(list(engine.draw(GenerationRequest.parse(**fields, width=128, height=128)))) == 1
    for more in ({"width": 136, "height": 128}, {"width": 64, "height": 64, "hires": {"scale": 3}}):
        with pytest.raises(MemoryBudgetError, match="the budget is"):
            list(engine.draw(GenerationRequest.parse(**fields, **more)))


def test_memory_that_runs_out_on_the_way_is_our_error(draw: Draw, in_memory: Memory) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    unet: Any = in_memory("sd1").components["unet"]
    handle = unet.register_forward_pre_hook(full)
    with pytest.raises(MemoryBudgetError, match="no memory left"):
        draw()
    handle.remove()
    assert len(draw()) == 1


def test_a_device_there_is_not() -> None:
    with pytest.raises(BackendError, match="'nonsense' cannot be used"):
        Engine(Settings(device="nonsense"))
    with pytest.raises(BackendError):
        Engine(Settings(device="cuda:99"))


# Several at once


def test_between_two_pictures_others_may_draw(draw: Draw, engine: Engine, tiny: Tiny) -> None:
    request = GenerationRequest.parse(
        prompt="a red cat", seed=7, steps=3, count=2, checkpoint=str(tiny("sd1")), **SIZE
    )
    pictures = engine.draw(request)
    first = next(pictures)
    (other,) = draw("sdxl")  # in this very thread: a lock held here would hold for ever
    second = next(pictures)
    assert same(first, *draw(seed=7))
    assert same(second, *draw(seed=8))
    assert same(other, *draw("sdxl"))
    abandoned = engine.draw(request)
    next(abandoned)
    del abandoned
    assert len(draw()) == 1


def test_threads_draw_the_same_pictures_as_one(draw: Draw) -> None:
    jobs: list[tuple[str, dict[str, Any]]] = [
        ("sd1", {"seed": 1, "sampler": "Euler a", "count": 2}),
        ("sdxl", {"seed": 2, "prompt": "a [red:blue:1] cat"}),
        ("sd1", {"seed": 3, "sampler": "DPM++ SDE", **EDIT}),
        ("sd3", {"seed": 4}),
    ]
    alone = [draw(name, **fields) for name, fields in jobs]
    gate = threading.Barrier(len(jobs))

    def together(job: tuple[str, dict[str, Any]]) -> Any:
        gate.wait()
        return draw(job[0], **job[1])

    with ThreadPoolExecutor(len(jobs)) as pool:
        threaded = list(pool.map(together, jobs))
    for one, other in zip(alone, threaded, strict=True):
        assert all(same(*pair) for pair in zip(one, other, strict=True))
        assert [each.record for each in one] == [each.record for each in other]


def test_an_iterator_may_be_finished_by_another_thread(engine: Engine, tiny: Tiny) -> None:
    request = GenerationRequest.parse(prompt="", steps=2, count=3, checkpoint=str(tiny("sd1")), **SIZE)
    pictures = engine.draw(request)
    next(pictures)
    with ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(list, pictures).result()) == 2


def test_two_checkpoints_take_turns_in_a_memory_for_one(
    tiny: Tiny, drawing_home: Path, in_memory: Memory, draw: Draw
) -> None:
    sizes = [in_memory(name).nbytes for name in ("sd1", "sd2")]
    room = picture_bytes(in_memory("sd1"), SIDE, SIDE)
    engine = Engine(
        Settings(home=drawing_home, device="cpu", memory_budget=max(sizes) + room + min(sizes) // 2)
    )
    for name in ("sd1", "sd2", "sd1", "sd2"):
        fields = {"prompt": "a red cat", "seed": 7, "steps": 3, "checkpoint": str(tiny(name)), **SIZE}
        (drawn,) = engine.draw(GenerationRequest.parse(**fields))
        assert same(drawn, *draw(name))
        assert [each.path for each in engine._loaded.checkpoints()] == [tiny(name)]


def test_a_picture_takes_its_room_from_checkpoints_that_are_idle(
    tiny: Tiny, drawing_home: Path, in_memory: Memory
) -> None:
    both = sum(in_memory(name).nbytes for name in ("sd1", "sd2"))
    engine = Engine(Settings(home=drawing_home, device="cpu", memory_budget=both + 10))
    for name, left in (("sd1", 1), ("sd2", 1)):
        list(
            engine.draw(
                GenerationRequest.parse(prompt="", steps=2, checkpoint=str(tiny(name)), width=32, height=32)
            )
        )
        assert len(engine._loaded.checkpoints()) == left


def test_a_checkpoint_that_was_replaced_is_loaded_anew(tiny: Tiny, tmp_path: Path, engine: Engine) -> None:
    folder = Path(shutil.copytree(tiny("sd1"), tmp_path / "sd1"))
    fields = {"prompt": "a red cat", "seed": 7, "steps": 2, "checkpoint": str(folder), **SIZE}
    (before,) = engine.draw(GenerationRequest.parse(**fields))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * 1.5 for name, tensor in load_file(weights).items()}, weights)
    (after,) = engine.draw(GenerationRequest.parse(**fields))
    assert not same(before, after)
    assert before.record.checkpoint.digest != after.record.checkpoint.digest


# Stopping between pictures, and records


@pytest.mark.parametrize("keep", [False, True])
def test_a_wish_to_stop_between_pictures_begins_no_other(keep: bool, engine: Engine, tiny: Tiny) -> None:
    finished: list[Any] = []
    told: list[Progress] = []
    request = GenerationRequest.parse(prompt="", steps=2, count=5, checkpoint=str(tiny("sd1")), **SIZE)
    pictures = engine.draw(request, Watcher(told.append, lambda: bool(finished), keep))
    finished.append(next(pictures))
    assert [each.step for each in told] == [1, 2]
    with pytest.raises(StoppedError):
        next(pictures)
    assert len(told) == 2


def test_the_record_holds_every_value_as_it_was_used(draw: Draw, engine: Engine) -> None:
    (drawn,) = draw(prompt="a __colours__ cat")
    record = drawn.record
    assert record.prompt == "a __colours__ cat"
    assert record.expanded_prompt.removeprefix("a ").removesuffix(" cat") in COLOURS
    assert (record.sampler, record.schedule, record.steps) == ("DPM++ 2M", "karras", 3)
    assert record.guidance_scale == 7.0
    assert record.checkpoint.family == "sd1"
    assert record.machine == engine.machine
    assert record.machine.device == "cpu"
    assert record.machine.precision == "fp32"
    assert record.inpaint is None
    assert drawn.seconds > 0


def test_a_record_asks_for_the_same_picture(draw: Draw, engine: Engine) -> None:
    fields: list[dict[str, Any]] = [
        {"prompt": r"a {red|blue} \{cat\}", "seed": 11, "sampler": "DDIM", "eta": 0.5},
        {"hires": {"scale": 1.5, "steps": 5}, "guidance_rescale": 0.5, "guidance_end": 0.6},
        {"init_image": PICTURE.resize((70, 70)), "strength": 0.6},
        {**MASKED, "inpaint": {"fill": "noise", "invert": True}, "clip_skip": 2},
        {"variation": {"seed": 3, "strength": 0.2}, "pag_scale": 2, "schedule": "beta"},
    ]
    for asked in fields:
        (drawn,) = draw(**asked)
        inputs = {name: asked[name] for name in ("init_image", "mask") if name in asked}
        (again,) = engine.draw(drawn.record.to_request(**inputs))
        assert same(drawn, again)
        kept = {"prompt": drawn.record.prompt, "styles": drawn.record.styles}
        assert again.record.model_copy(update=kept) == drawn.record


def test_prompts_are_explained_without_drawing(engine: Engine, tiny: Tiny) -> None:
    request = GenerationRequest.parse(
        prompt="a (red:1.3) [cat:dog:0.5]", negative_prompt="blue", checkpoint=str(tiny("sd1"))
    )
    found = engine.explain(request)
    assert set(found) == {"prompt", "negative prompt"}
    assert "1.3" in str(found["prompt"])
    plain = GenerationRequest.parse(prompt="a cat", checkpoint=str(tiny("flux")))
    assert set(engine.explain(plain)) == {"prompt"}


def test_no_map_is_fitted_where_nobody_wants_previews(
    tiny: Tiny, drawing_home: Path, in_memory: Memory
) -> None:
    engine = Engine(Settings(home=drawing_home, device="cpu"))
    request = GenerationRequest.parse(prompt="", steps=2, checkpoint=str(tiny("sd1")), **SIZE)
    assert len(list(islice(engine.draw(request, Watcher(lambda _: None)), 1))) == 1
    assert engine._colours == {}


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3", "z-image"])
def test_reduced_precision_draws_and_varies(name: str, tiny: Tiny, drawing_home: Path) -> None:
    engine = Engine(Settings(home=drawing_home, device="cpu", drawing_precision="bf16"))
    fields = {"prompt": "a cat", "seed": 7, "steps": 2, "checkpoint": str(tiny(name)), **SIZE}
    told: list[Any] = []
    watcher = Watcher(lambda each: told.append(each.preview().size))
    (plain,) = engine.draw(GenerationRequest.parse(**fields), watcher)
    assert plain.record.machine.precision == "bf16"
    assert told == [(8, 8), (8, 8)]
    near = {"variation": {"seed": 1, "strength": 0.01}}
    (varied,) = engine.draw(GenerationRequest.parse(**fields, **near))
    far = {"variation": {"seed": 1, "strength": 1.0}}
    (other,) = engine.draw(GenerationRequest.parse(**fields, **far))
    distances = [np.abs(pixels(each).astype(int) - pixels(plain)).mean() for each in (varied, other)]
    assert distances[0] < distances[1]
