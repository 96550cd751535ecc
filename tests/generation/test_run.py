from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.generation.conftest import SIDE, GenerateImages, same_pixels, to_array
from tests.generation.diffusers_reference import generate_with_diffusers, nearly_equal
from tests.tiny.distinct import DISTINCT
from tests.tiny.generation import INIT_IMAGE, MASK

from safelight.errors import MaskError, RunStoppedError
from safelight.generation.infotext import infotext_from_record
from safelight.generation.philox import cuda_normals
from safelight.generation.progress import RunProgress, Watcher
from safelight.models.families import FAMILIES

Tiny = Callable[[str], Path]
SIZE = {"width": SIDE, "height": SIDE}
EDIT = {"init_image": INIT_IMAGE, "strength": 0.7}
MASKED = {"init_image": INIT_IMAGE, "mask": MASK, "inpaint": {"blur": 0}}


# Every family in every mode


DOWNSCALING = {
    "sana": 32,
    "sana-sprint": 32,
    "hunyuan-image": 32,
    "hunyuan-image-distilled": 32,
    "qwen-image-21": 16,
}
"""Pixels per latent of the families whose autoencoders scale down more than eight times."""


def family_modes() -> Iterator[tuple[str, str]]:
    from safelight.models.families import FAMILIES

    thorough = ("sd1", "sdxl", "kolors", "sd3", "flux", "qwen-image", "z-image", "flux2-klein", "chroma")
    for name in DISTINCT:
        modes = FAMILIES[name.removesuffix("-base")].modes
        yield from ((name, mode) for mode in (modes if name in thorough else modes[:1]))


@pytest.mark.parametrize(("name", "mode"), list(family_modes()))
def test_every_family_generates_with_previews_of_the_latents_size(
    name: str, mode: str, draw: GenerateImages
) -> None:
    fields = {"text-to-image": {}, "image-to-image": EDIT, "inpainting": MASKED}[mode]
    told: list[tuple[RunProgress, Any]] = []
    (drawn,) = draw(
        name, Watcher(lambda each: told.append((each, each.preview()))), negative_prompt="blue", **fields
    )
    steps = told[0][0].steps
    assert steps >= 2
    assert [(each.step, each.steps, each.stage) for each, _ in told] == [
        (step, steps, "first pass") for step in range(1, steps + 1)
    ]
    latents = SIDE // DOWNSCALING.get(name, 8)
    assert {preview.size for _, preview in told} == {(latents, latents)}
    assert drawn.image.size == (SIDE, SIDE)
    assert drawn.image.mode == "RGB"
    assert (drawn.record.mode, drawn.record.seed, drawn.stopped_at) == (mode, 7, None)
    assert to_array(drawn).std() > 0
    if mode == "inpainting":
        outside = np.asarray(MASK) == 0
        assert np.array_equal(to_array(drawn)[outside], np.asarray(INIT_IMAGE)[outside])


# Against diffusers alone


@pytest.mark.parametrize("sampler", ["DPM++ 2M Karras", "Euler a", "Heun"])
@pytest.mark.parametrize(
    ("name", "family"), [("sd1", "StableDiffusion"), ("sdxl", "StableDiffusionXL"), ("kolors", "Kolors")]
)
def test_text_to_image_equals_diffusers(
    name: str, family: str, sampler: str, draw: GenerateImages, tiny: Tiny
) -> None:
    expected = generate_with_diffusers(
        tiny(name),
        f"{family}Pipeline",
        sampler,
        negative_prompt="blue",
        guidance_scale=7.0,
        **SIZE,
    )
    (drawn,) = draw(name, sampler=sampler, negative_prompt="blue", guidance_scale=7.0)
    assert nearly_equal(to_array(drawn), expected)


@pytest.mark.parametrize(
    ("name", "pipeline"),
    [
        ("sd3", "StableDiffusion3Pipeline"),
        ("flux", "FluxPipeline"),
        ("z-image", "ZImagePipeline"),
        ("cogview4", "CogView4Pipeline"),
    ],
)
def test_other_families_equal_diffusers(name: str, pipeline: str, draw: GenerateImages, tiny: Tiny) -> None:
    own = {"guidance_scale": 2.5} if name == "z-image" else {"guidance_scale": 3.5}
    expected = generate_with_diffusers(tiny(name), pipeline, "Euler", **own, **SIZE)
    assert nearly_equal(to_array(*draw(name, guidance_scale=3.5)), expected)


@pytest.mark.parametrize(
    ("pipeline", "ours", "theirs"),
    [
        ("FluxPipeline", {}, SIZE),
        ("FluxImg2ImgPipeline", EDIT, SIZE | {"image": INIT_IMAGE, "strength": 0.7}),
    ],
)
def test_true_guidance_of_flux_equals_diffusers(
    pipeline: str, ours: dict[str, Any], theirs: dict[str, Any], draw: GenerateImages, tiny: Tiny
) -> None:
    scales = {"guidance_scale": 3.5, "true_cfg_scale": 4.0}
    expected = generate_with_diffusers(
        tiny("flux"), pipeline, "Euler", negative_prompt="blue", **scales, **theirs
    )
    (drawn,) = draw("flux", negative_prompt="blue", **scales, **ours)
    assert nearly_equal(to_array(drawn), expected)
    assert (drawn.record.true_cfg_scale, drawn.record.notes) == (4.0, ())
    (empty,) = draw("flux", **scales, **ours)
    assert not same_pixels(drawn, empty), "an empty negative prompt is another one"


def test_an_empty_negative_prompt_of_kolors_is_encoded(
    draw: GenerateImages, tiny: Tiny, tmp_path: Path
) -> None:
    """diffusers' pipelines zero it only where none is given, and then fail without a pooled embedding."""
    folder = Path(shutil.copytree(tiny("kolors"), tmp_path / "kolors"))
    index = json.loads((folder / "model_index.json").read_text()) | {"force_zeros_for_empty_prompt": True}
    (folder / "model_index.json").write_text(json.dumps(index))
    assert same_pixels(*draw("kolors", checkpoint=str(folder)), *draw("kolors"))


@pytest.mark.parametrize(
    ("name", "family"), [("sd1", "StableDiffusion"), ("sdxl", "StableDiffusionXL"), ("kolors", "Kolors")]
)
def test_image_to_image_is_bit_identical_to_diffusers(
    name: str, family: str, draw: GenerateImages, tiny: Tiny
) -> None:
    expected = generate_with_diffusers(
        tiny(name), f"{family}Img2ImgPipeline", image=INIT_IMAGE, strength=0.7, guidance_scale=7.0
    )
    assert nearly_equal(to_array(*draw(name, guidance_scale=7.0, **EDIT)), expected)


@pytest.mark.parametrize(("name", "family"), [("sd1", "StableDiffusion"), ("sdxl", "StableDiffusionXL")])
def test_inpainting_is_bit_identical_to_diffusers_under_the_mask(
    name: str, family: str, draw: GenerateImages, tiny: Tiny
) -> None:
    expected = generate_with_diffusers(
        tiny(name),
        f"{family}InpaintPipeline",
        image=INIT_IMAGE,
        mask_image=MASK,
        strength=1.0,
        guidance_scale=7.0,
        **SIZE,
    )
    found, inside = to_array(*draw(name, **MASKED)), np.asarray(MASK) == 255
    assert nearly_equal(found[inside], expected[inside])


# Noise as a CUDA device draws it


def test_the_noise_of_a_cuda_device_is_that_of_diffusers_with_these_latents(
    draw: GenerateImages, tiny: Tiny
) -> None:
    latents = torch.from_numpy(cuda_normals(7, 0, 4 * 8 * 8)).reshape(1, 4, 8, 8)
    expected = generate_with_diffusers(
        tiny("sd1"), "StableDiffusionPipeline", "Euler", latents=latents, guidance_scale=7.0
    )
    (drawn,) = draw(sampler="Euler", guidance_scale=7.0, noise_source="gpu")
    assert nearly_equal(to_array(drawn), expected)
    assert drawn.record.noise_source == "gpu"
    assert "RNG: NV" in infotext_from_record(drawn.record)
    (usual,) = draw(sampler="Euler", guidance_scale=7.0)
    assert not same_pixels(drawn, usual)
    assert usual.record.noise_source is None
    assert usual.record.to_request().noise_source == "cpu", "whatever the setting is then"


SMALL, LARGE = 4 * 8 * 8, 4 * 12 * 12
MIXED = {"variation": {"seed": 9, "strength": 0.3}}


@pytest.mark.parametrize(
    ("fields", "draws"),
    [
        ({"sampler": "Euler"}, [(7, 0, SMALL)]),
        ({"sampler": "Euler a"}, [(7, 0, SMALL), (7, 1, SMALL), (7, 2, SMALL), (7, 3, SMALL)]),
        ({"sampler": "Euler", **MIXED}, [(7, 0, SMALL), (9, 0, SMALL)]),
        ({"sampler": "Euler", **EDIT}, [(7, 0, SMALL)]),
        ({"sampler": "Euler", "hires": {"scale": 1.5}}, [(7, 0, SMALL), (7, 0, LARGE)]),
        (
            {"sampler": "Euler", "hires": {"scale": 1.5, "upscaler": "lanczos"}, **MIXED},
            [(7, 0, SMALL), (9, 0, SMALL), (7, 0, LARGE), (9, 0, LARGE)],
        ),
    ],
)
def test_noise_is_drawn_in_the_order_of_a1111(
    fields: dict[str, Any],
    draws: list[tuple[int, int, int]],
    draw: GenerateImages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The initial noise first, then the sampler's; each pass begins anew, and encoding draws nothing of it."""
    found: list[tuple[int, int, int]] = []

    def spy(seed: int, number: int, count: int) -> np.ndarray:
        found.append((seed, number, count))
        return cuda_normals(seed, number, count)

    monkeypatch.setattr("safelight.generation.noise.cuda_normals", spy)
    draw(noise_source="gpu", **fields)
    assert found == draws


# Seeds and batches

BATCHES: list[dict[str, Any]] = [
    {"sampler": "Euler a"},
    {"sampler": "DPM++ SDE"},
    {"prompt": "a __colours__ {cat|dog|bird|fish}"},
    {"init_image": INIT_IMAGE, "strength": 0.7, "sampler": "DPM++ 2M SDE"},
    {**MASKED, "inpaint": {"fill": "noise", "blur": 2}, "sampler": "Euler a"},
    {"init_image": INIT_IMAGE, "outpaint": {"right": 16}, "inpaint": {"fill": "noise"}},
    {"hires": {"scale": 1.5}, "sampler": "Euler a"},
    {"hires": {"scale": 1.5, "upscaler": "lanczos", "sampler": "DDPM"}, "sampler": "Euler"},
]


@pytest.mark.parametrize("fields", BATCHES, ids=lambda fields: ",".join(fields))
def test_image_i_of_a_batch_equals_its_seed_alone(fields: dict[str, Any], draw: GenerateImages) -> None:
    batch = draw(count=3, seed=40, **fields)
    assert [each.record.seed for each in batch] == [40, 41, 42]
    for index in (2, 0):
        (alone,) = draw(seed=40 + index, **fields)
        assert same_pixels(alone, batch[index])
        assert alone.record == batch[index].record
    assert not same_pixels(batch[0], batch[1])


def test_a_batch_may_vary_around_one_seed(draw: GenerateImages) -> None:
    variation = {"seed": 90, "strength": 0.3}
    batch = draw(count=2, seed=40, variation=variation | {"same_seed": True}, sampler="Euler a")
    (alone,) = draw(seed=40, variation=variation | {"seed": 91}, sampler="Euler a")
    assert same_pixels(alone, batch[1])
    assert alone.record == batch[1].record
    assert not same_pixels(batch[0], batch[1])


def test_a_second_pass_runs_all_of_its_steps(draw: GenerateImages) -> None:
    told: list[RunProgress] = []
    hires = {"scale": 1.5, "strength": 0.4, "steps": 5, "all_steps": True}
    (drawn,) = draw(watcher=Watcher(told.append), hires=hires)
    assert [each.step for each in told if each.stage == "second pass"] == [1, 2, 3, 4, 5]
    (again,) = draw(hires=drawn.record.hires)
    assert same_pixels(drawn, again)


def test_a_batch_of_variations_uses_consecutive_variation_seeds(draw: GenerateImages) -> None:
    batch = draw(count=2, seed=40, variation={"seed": 90, "strength": 0.3}, sampler="Euler a")
    (alone,) = draw(seed=41, variation={"seed": 91, "strength": 0.3}, sampler="Euler a")
    assert same_pixels(alone, batch[1])
    assert alone.record == batch[1].record


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3", "z-image"])
def test_a_variation_interpolates_between_two_seeds(name: str, draw: GenerateImages) -> None:
    def varied(strength: float) -> Any:
        return draw(name, sampler="Euler", variation={"seed": 9, "strength": strength})[0]

    (own,), (other,) = draw(name, sampler="Euler"), draw(name, seed=9, sampler="Euler")
    assert same_pixels(varied(0), own)
    assert same_pixels(varied(1), other)
    a_little, much = (np.abs(to_array(varied(s)).astype(int) - to_array(own)).mean() for s in (0.05, 0.5))
    assert 0 < a_little < much


def test_the_largest_seed_works_with_every_kind_of_noise(draw: GenerateImages) -> None:
    for sampler in ("Euler a", "DPM++ SDE"):
        (drawn,) = draw(seed=2**63 - 1, sampler=sampler, steps=2)
        assert drawn.record.seed == 2**63 - 1


def test_a_random_seed_is_in_the_record_and_reproduces_the_image(draw: GenerateImages) -> None:
    first = draw(seed=None, count=2)
    again = draw(seed=first[0].record.seed, count=2)
    assert all(same_pixels(*pair) for pair in zip(first, again, strict=True))


# Second pass, edits


SECOND = sorted(
    name
    for name in DISTINCT
    if {"text-to-image", "image-to-image"} <= set(FAMILIES[name.replace("sd2-base", "sd2")].modes)
)


@pytest.mark.parametrize("name", SECOND)
def test_every_family_with_image_to_image_has_a_second_pass(name: str, draw: GenerateImages) -> None:
    """At a size whose latents are no multiple of the family's unit."""
    family = FAMILIES[name.replace("sd2-base", "sd2")]
    latent = family.latent_layout == "spatial" and family.starts_from_latents
    upscaler = "latent" if latent else "lanczos"
    steps = max(2, family.min_steps)
    hires = {"scale": 1.5, "upscaler": upscaler, "strength": 1, "steps": steps}
    (drawn,) = draw(name, hires=hires, width=96, height=64, steps=steps)
    assert drawn.image.size == ((160, 96) if family.size_multiple == 32 else (144, 96))


@pytest.mark.parametrize("keep", [True, False])
def test_a_stop_during_upscaling_returns_the_first_pass(keep: bool, draw: GenerateImages) -> None:
    done: list[RunProgress] = []

    def stop() -> bool:
        return bool(done) and done[-1].step == 3

    asked = {"hires": {"scale": 1.5, "upscaler": "lanczos", "strength": 0.7}}
    if not keep:
        with pytest.raises(RunStoppedError):
            draw(watcher=Watcher(done.append, stop), **asked)
        return
    (drawn,) = draw(watcher=Watcher(done.append, stop, keep), **asked)
    assert drawn.stopped_at == 3
    assert same_pixels(drawn, *draw())
    assert "Stopped after step 3 of the first pass: the picture is unfinished." in drawn.record.notes


@pytest.mark.parametrize("name", ["sd1", "sd1-inpaint", "flux", "flux-fill", "flux2-klein", "sd3"])
def test_a_dot_is_regenerated(name: str, draw: GenerateImages) -> None:
    mask = Image.new("L", (SIDE, SIDE), 0)
    mask.paste(255, (33, 33, 36, 36))  # less than a latent, and no pixel that the pipelines sample
    (drawn,) = draw(name, init_image=INIT_IMAGE, mask=mask, inpaint={"blur": 0}, strength=1)
    (other,) = draw(name, init_image=INIT_IMAGE, mask=mask, inpaint={"blur": 0}, strength=1, seed=8)
    assert not np.array_equal(to_array(drawn)[33:36, 33:36], np.asarray(INIT_IMAGE)[33:36, 33:36])
    assert not np.array_equal(to_array(drawn)[33:36, 33:36], to_array(other)[33:36, 33:36])


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3"])
@pytest.mark.parametrize("upscaler", ["latent", "lanczos"])
def test_a_second_pass_regenerates_at_a_larger_size(name: str, upscaler: str, draw: GenerateImages) -> None:
    told: list[RunProgress] = []
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
    assert np.abs(small - to_array(first)).mean() > 0


def test_a_weak_second_pass_stays_near_the_first(draw: GenerateImages) -> None:
    (first,) = draw(steps=10)
    hires = {"scale": 2, "upscaler": "lanczos", "strength": 0.1, "steps": 10}
    far = draw(steps=10, hires=hires | {"strength": 1.0})[0]
    near = draw(steps=10, hires=hires)[0]
    small = [np.asarray(each.image.resize((64, 64), Image.Resampling.BOX)) for each in (near, far)]
    distances = [np.abs(each.astype(int) - to_array(first)).mean() for each in small]
    assert distances[0] < distances[1]


def test_the_second_pass_may_have_its_own_sampler_and_schedule(draw: GenerateImages) -> None:
    hires = {"scale": 1.5, "strength": 0.9}
    plain, other = (draw(hires=hires | more)[0] for more in ({}, {"sampler": "DDIM"}))
    assert not same_pixels(plain, other)


def test_a_masked_area_alone_keeps_the_rest_of_a_large_image(draw: GenerateImages) -> None:
    large = Image.effect_noise((400, 300), 60).convert("RGB")
    mask = Image.new("L", large.size, 0)
    mask.paste(255, (300, 200, 330, 240))
    (drawn,) = draw(
        init_image=large, mask=mask, inpaint={"only_masked": True, "blur": 3, "padding": 8}, **SIZE
    )
    assert drawn.image.size == (400, 300)
    assert (drawn.record.width, drawn.record.height) == (64, 64)
    changed = (to_array(drawn) != np.asarray(large)).any(-1)
    assert changed[205:235, 305:325].mean() > 0.9
    changed[200 - 12 : 240 + 12, 300 - 12 : 330 + 12] = False
    assert not changed.any()


def test_without_a_size_a_masked_area_uses_the_checkpoints_default_size(draw: GenerateImages) -> None:
    large = Image.new("RGB", (400, 300), "grey")
    mask = Image.new("L", large.size, 0)
    mask.paste(255, (300, 200, 330, 240))
    (drawn,) = draw(init_image=large, mask=mask, inpaint={"only_masked": True})
    assert (drawn.record.width, drawn.record.height) == (64, 64)


@pytest.mark.parametrize("fill", ["original", "blur", "noise"])
def test_the_content_under_the_mask_matters_below_full_strength(fill: str, draw: GenerateImages) -> None:
    found = draw(**{**MASKED, "inpaint": {"fill": fill}}, strength=0.5)[0]
    others = [f for f in ("original", "blur", "noise") if f != fill]
    for other in others:
        assert not same_pixels(found, draw(**{**MASKED, "inpaint": {"fill": other}}, strength=0.5)[0])


def test_a_transparent_mask_marks_nothing(draw: GenerateImages) -> None:
    mask = Image.new("RGBA", (SIDE, SIDE), (255, 255, 255, 0))
    with pytest.raises(MaskError, match="marks nothing"):
        draw(init_image=INIT_IMAGE, mask=mask)
    mask.paste((255, 255, 255, 255), (32, 0, 64, 64))
    assert same_pixels(
        draw(init_image=INIT_IMAGE, mask=mask, inpaint={"blur": 0})[0],
        draw(**MASKED)[0],
    )


def test_outpainting_keeps_the_image_but_for_the_seam(draw: GenerateImages) -> None:
    (drawn,) = draw(init_image=INIT_IMAGE, outpaint={"right": 30, "top": 8}, inpaint={"blur": 2})
    assert drawn.image.size == (94, 72)
    assert (drawn.record.width, drawn.record.height) == (96, 72)
    found, before, seam = to_array(drawn), np.asarray(INIT_IMAGE), 2 * 2 + 3 * 2
    assert np.array_equal(found[8 + seam :, : 64 - seam], before[seam:, : 64 - seam])
    assert found[:, 64:].std() > 0
