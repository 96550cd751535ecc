"""References in pictures of tiny checkpoints, beside diffusers' own pipelines."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.pipelines.flux import pipeline_flux_kontext, pipeline_flux_kontext_inpaint
from diffusers.pipelines.qwenimage import (
    pipeline_qwenimage_edit,
    pipeline_qwenimage_edit_inpaint,
    pipeline_qwenimage_edit_plus,
)
from PIL import Image
from safetensors.torch import load_file
from tests.generation.conftest import SIDE, GenerateImages, same_pixels, to_array
from tests.generation.diffusers_reference import generate_with_diffusers, load_diffusers_pipeline
from tests.tiny.checkpoint_files import write, write_whole

from safelight.errors import (
    CheckpointFamilyError,
    CheckpointInvalidError,
    FieldConflictError,
    FieldMissingError,
    PictureNeededError,
    ReferenceSizeError,
    RunStoppedError,
    UnsupportedError,
)
from safelight.generation.canvas.references import encoded_share, result_size
from safelight.generation.engine import Engine
from safelight.generation.infotext import infotext_from_record, parse_infotext
from safelight.generation.memory_planning import (
    picture_cost,
    planned_checkpoint,
    planned_precisions,
    usual_plan,
)
from safelight.generation.progress import RunProgress, Watcher
from safelight.generation.record import ReproductionRecord, pixels_digest
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.families import FAMILIES, flux, qwen_image, z_image
from safelight.settings import Settings

Tiny = Callable[[str], Path]
SIZES = ((48, 80), (64, 64), (80, 48))
"""Instead of those of about a megapixel, which take minutes with random weights too."""
FLOW = "Euler FlowMatch"


def picture(seed: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels.repeat(8, 0).repeat(8, 1))


def shown(*pictures: Image.Image) -> list[dict[str, Image.Image]]:
    return [{"image": each} for each in pictures]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let diffusers, and our table, know smaller sizes."""
    for module in (pipeline_flux_kontext, pipeline_flux_kontext_inpaint):
        monkeypatch.setattr(module, "PREFERRED_KONTEXT_RESOLUTIONS", list(SIZES))
    monkeypatch.setattr(flux, "KONTEXT_SIZES", SIZES)

    def dimensions(area: int, ratio: float) -> tuple[int, int]:
        width = math.sqrt(area / 200 * ratio)
        return round(width / 32) * 32, round(width / ratio / 32) * 32

    monkeypatch.setattr(
        pipeline_qwenimage_edit, "calculate_dimensions", lambda *given: (*dimensions(*given), None)
    )
    monkeypatch.setattr(
        pipeline_qwenimage_edit_inpaint, "calculate_dimensions", lambda *given: (*dimensions(*given), None)
    )
    monkeypatch.setattr(pipeline_qwenimage_edit_plus, "calculate_dimensions", dimensions)
    monkeypatch.setattr(qwen_image, "edited_size", lambda size, _: dimensions(1024 * 1024, size[0] / size[1]))

    encode = AutoencoderKL.encode

    def encode_in_its_precision(vae: AutoencoderKL, pixels: torch.Tensor, *rest: Any, **named: Any) -> Any:
        """Z-Image Omni's pipeline gives it bf16, whatever its precision is."""
        return encode(vae, pixels.to(vae.dtype), *rest, **named)

    monkeypatch.setattr(AutoencoderKL, "encode", encode_in_its_precision)


WIDE = picture(1, (96, 48))
WIDER = picture(1, (128, 64))
CALLS: dict[str, tuple[str, list[Image.Image], dict[str, Any], dict[str, Any]]] = {
    "flux-kontext": (
        "FluxKontextPipeline",
        [WIDE],
        {"guidance_scale": 2.5, "max_area": SIDE * SIDE},
        {},
    ),
    "flux2": ("Flux2Pipeline", [WIDER, picture(2)], {"guidance_scale": 4.0}, {}),
    "flux2-klein": ("Flux2KleinPipeline", [picture(2)], {"guidance_scale": 3.0}, {"guidance_scale": 3.0}),
    "qwen-image-edit": (
        "QwenImageEditPipeline",
        [WIDE],
        {"true_cfg_scale": 3.0, "negative_prompt": "blue"},
        {"guidance_scale": 3.0, "negative_prompt": "blue"},
    ),
    "qwen-image-edit-plus": (
        "QwenImageEditPlusPipeline",
        [WIDE, picture(2)],
        {"true_cfg_scale": 3.0, "negative_prompt": "blue"},
        {"guidance_scale": 3.0, "negative_prompt": "blue"},
    ),
    "z-image-omni": (
        "ZImageOmniPipeline",
        [WIDER, picture(2)],
        {"guidance_scale": 2.0, "negative_prompt": "blue"},
        {"guidance_scale": 3.0, "negative_prompt": "blue"},
    ),
    "sd1-instruct-pix2pix": (
        "StableDiffusionInstructPix2PixPipeline",
        [picture(2)],
        {"guidance_scale": 4.0, "image_guidance_scale": 1.8, "negative_prompt": "blue"},
        {"guidance_scale": 4.0, "image_guidance_scale": 1.8, "negative_prompt": "blue"},
    ),
    "sdxl-instruct-pix2pix": (
        "StableDiffusionXLInstructPix2PixPipeline",
        [picture(2)],
        {"guidance_scale": 4.0, "image_guidance_scale": 1.5, "negative_prompt": "blue"},
        {"guidance_scale": 4.0, "negative_prompt": "blue"},
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_each_family_draws_what_diffusers_draws(name: str, draw: GenerateImages, tiny: Tiny) -> None:
    pipeline, pictures, call, fields = CALLS[name]
    sampler = FAMILIES[name].sampler
    (ours,) = draw(name, alone=True, references=shown(*pictures), sampler=sampler, **fields)
    if not pipeline.startswith("StableDiffusionInstruct"):  # which has the size of its picture
        call = {"width": SIDE, "height": SIDE, **call}
    if name.startswith("flux2"):  # as many tokens as its text encoder reads here
        call["max_sequence_length"] = 512
    image = pictures if len(pictures) > 1 else pictures[0]
    theirs = generate_with_diffusers(tiny(name), pipeline, sampler, image=image, **call)
    assert np.array_equal(to_array(ours), theirs), np.abs(to_array(ours).astype(int) - theirs).max()
    others = [Image.eval(each, lambda value: 255 - value) for each in pictures]
    (other,) = draw(name, alone=True, references=shown(*others), sampler=sampler, **fields)
    assert not same_pixels(ours, other), "the references have an effect"


@pytest.mark.parametrize(
    ("name", "pipeline", "reference"),
    [
        ("flux-kontext", "FluxKontextInpaintPipeline", None),
        ("flux-kontext", "FluxKontextInpaintPipeline", WIDE),
        ("flux2-klein", "Flux2KleinInpaintPipeline", picture(2)),
        ("qwen-image-edit", "QwenImageEditInpaintPipeline", None),
    ],
)
def test_what_is_masked_is_painted_looking_at_the_picture_or_at_another_too(
    name: str, pipeline: str, reference: Image.Image | None, draw: GenerateImages, tiny: Tiny
) -> None:
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (16, 16, 48, 48))
    fields = {"init_image": picture(3), "mask": mask, "inpaint": {"blur": 0}, "strength": 0.7}
    references = shown(reference) if reference else []
    (ours,) = draw(name, alone=True, references=references, sampler=FLOW, guidance_scale=2.5, **fields)
    call: dict[str, Any] = {"guidance_scale": 2.5}
    if name == "qwen-image-edit":
        call = {"true_cfg_scale": 2.5, "negative_prompt": ""}
    if reference is not None:
        call["image_reference"] = reference
    theirs = generate_with_diffusers(
        tiny(name), pipeline, FLOW, image=picture(3), mask_image=mask, strength=0.7, **call
    )
    inside = (slice(16, 48), slice(16, 48))  # what is not masked is put back
    assert np.array_equal(to_array(ours)[inside], theirs[inside])


def test_an_initial_picture_is_a_reference_unless_there_is_a_strength(draw: GenerateImages) -> None:
    image = picture(4)
    size = {"width": SIDE, "height": SIDE}
    (looked_at,) = draw("flux-kontext", init_image=image, **size)
    (shown_one,) = draw("flux-kontext", references=shown(image))
    (begun_with,) = draw("flux-kontext", init_image=image, strength=0.7, **size)
    assert same_pixels(looked_at, shown_one)
    assert not same_pixels(looked_at, begun_with)
    assert looked_at.record.init_image is None
    assert (looked_at.record.strength, looked_at.record.mode) == (None, "text-to-image")
    assert looked_at.record == shown_one.record
    assert begun_with.record.references == ()


@pytest.mark.parametrize("name", ["flux-kontext", "z-image-omni"])
def test_a_reference_changes_nothing_about_the_noise_and_is_recorded(name: str, draw: GenerateImages) -> None:
    """Picture i of a request is that of its seed alone, and the record makes it again."""
    pictures = draw(name, references=shown(WIDER), count=2, alone=True)
    (alone,) = draw(name, references=shown(WIDER), seed=8, alone=True)
    assert same_pixels(pictures[1], alone)
    record = ReproductionRecord.parse(pictures[0].record.to_json())
    digest = pixels_digest(np.asarray(WIDER))
    assert [each.image for each in record.references] == [digest]
    request = record.to_request(references={digest: WIDER})
    assert request.references[0].image is WIDER
    infotext = parse_infotext(infotext_from_record(record))
    assert infotext.parameters["References"] == digest[:12]


@pytest.mark.parametrize("name", ["flux-kontext", "z-image-omni"])
def test_a_picture_with_references_is_previewed_and_stopped(name: str, draw: GenerateImages) -> None:
    sizes: list[tuple[int, int]] = []

    def see(progress: RunProgress) -> None:
        image = progress.preview()
        assert image is not None
        sizes.append(image.size)

    with pytest.raises(RunStoppedError):
        draw(name, Watcher(see, lambda: len(sizes) == 2), references=shown(WIDER), steps=4)
    assert sizes == [(8, 8), (8, 8)]


@pytest.mark.parametrize(
    ("name", "fields", "kind", "message"),
    [
        ("sd1", {"references": shown(WIDE)}, UnsupportedError, "does not look at references"),
        ("flux-kontext", {"references": shown(WIDE, WIDE)}, UnsupportedError, "at most 1 reference; 2 came"),
        ("sd1-instruct-pix2pix", {}, PictureNeededError, "edits a picture, and there is none"),
        (
            "flux-kontext",
            {"init_image": WIDE, "strength": 0.5, "references": shown(WIDE)},
            UnsupportedError,
            "does not look at references in image-to-image",
        ),
        (
            "qwen-image-edit",
            {"init_image": WIDE, "mask": Image.new("L", WIDE.size, 255), "references": shown(WIDE)},
            UnsupportedError,
            "does not look at references in inpainting",
        ),
        (
            "flux-kontext",
            {"references": shown(WIDE), "hires": {"upscaler": "lanczos"}},
            FieldConflictError,
            "second pass",
        ),
        (
            "flux-kontext",
            {"references": shown(WIDE), "control": [{"kind": "canny", "image": WIDE}]},
            FieldConflictError,
            "control",
        ),
        ("flux2", {"references": shown(picture(1, (640, 64)))}, ReferenceSizeError, "too narrow"),
        ("z-image-omni", {"references": shown(WIDE)}, ReferenceSizeError, "too small"),
        ("z-image-omni", {"init_image": WIDER, "strength": 0.5}, UnsupportedError, "no image-to-image"),
        ("flux2", {"references": shown(picture(1, (32, 64)))}, ReferenceSizeError, "too small"),
        ("sd1-instruct-pix2pix", {"init_image": WIDE, "strength": 0.5}, UnsupportedError, "image-to-image"),
    ],
)
def test_what_a_checkpoint_does_not_look_at_is_refused(
    name: str, fields: dict[str, Any], kind: type[Exception], message: str, draw: GenerateImages
) -> None:
    with pytest.raises(kind, match=message) as caught:
        draw(name, **fields)
    if name == "sd1":
        assert "Flux Kontext" in caught.value.hint  # type: ignore[attr-defined]


def test_a_reference_needs_its_picture() -> None:
    with pytest.raises(FieldMissingError, match="needs its picture") as caught:
        GenerationRequest.parse(prompt="a", references=[{}])
    assert caught.value.field == "references.0.image"


def test_prompts_change_from_step_to_step_with_three_rows(draw: GenerateImages) -> None:
    """InstructPix2Pix computes the prompt, the negative prompt, and that without the picture."""
    plain, changing = (
        draw("sd1-instruct-pix2pix", prompt=prompt, references=shown(WIDE))[0]
        for prompt in ("a red cat", "a [red:blue:1] cat")
    )
    assert not same_pixels(plain, changing)
    (unguided,) = draw("sd1-instruct-pix2pix", guidance_scale=1, references=shown(WIDE))
    assert not same_pixels(plain, unguided)


def test_a_variation_of_the_noise_with_a_reference(draw: GenerateImages) -> None:
    plain, varied = (
        draw("sd1-instruct-pix2pix", references=shown(WIDE), variation={"seed": 3, "strength": strength})[0]
        for strength in (0.0, 0.5)
    )
    assert not same_pixels(plain, varied)


@pytest.mark.parametrize(
    ("name", "size", "native", "expected"),
    [
        ("flux-kontext", (640, 360), 1024, (80, 48)),
        ("flux2", (640, 360), 1024, (640, 352)),
        ("flux2", (4000, 1000), 1024, (2048, 512)),
        ("z-image-omni", (640, 360), 1024, (640, 352)),
        ("qwen-image-edit", (300, 300), 1024, (1024, 1024)),
        ("qwen-image-edit-plus", (1600, 900), 1024, (1376, 768)),
        ("sd1-instruct-pix2pix", (1024, 1024), 512, (512, 512)),
    ],
)
def test_the_size_of_the_result_follows_the_first_reference(
    name: str, size: tuple[int, int], native: int, expected: tuple[int, int]
) -> None:
    pictures = [Image.new("RGB", size), Image.new("RGB", (10, 10))]
    assert result_size(pictures, FAMILIES[name], native) == expected
    assert result_size([], FAMILIES[name], native) is None


def test_the_sizes_of_kontext_are_diffusers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert list(flux.KONTEXT_SIZES) == pipeline_flux_kontext.PREFERRED_KONTEXT_RESOLUTIONS
    assert flux.kontext_size((3000, 2000), None) == (1248, 832)


def test_the_size_of_painting_is_one_that_the_pipeline_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for width, height in ((512, 512), (640, 360), (2048, 144), (1000, 3001)):
        size = qwen_image.painted_size((width, height))
        kept = pipeline_qwenimage_edit_inpaint.calculate_dimensions(1024 * 1024, size[0] / size[1])
        assert size == kept[:2]


def test_a_huge_reference_counts_as_a_megapixel() -> None:
    assert encoded_share([], (512, 512)) == 1
    assert encoded_share([(512, 512)], (512, 512)) == 2
    assert encoded_share([(8000, 8000)], (1024, 1024)) == pytest.approx(2, abs=0.01)


def test_a_file_gives_what_the_folder_gives_if_its_text_encoder_sees(
    draw: GenerateImages, tiny: Tiny, tmp_path: Path
) -> None:
    path = write_whole("qwen-image", tiny("qwen-image-edit"), tmp_path / "qwen_image_edit.safetensors")
    fields = {"references": shown(WIDE), "steps": 2}
    (folder,) = draw("qwen-image-edit", **fields)
    (file,) = draw(checkpoint=str(path), **fields)
    assert same_pixels(folder, file)
    blind = {name: tensor for name, tensor in load_file(path).items() if "visual" not in name}
    write(path, blind)
    draw(checkpoint=str(path), steps=2)
    with pytest.raises(CheckpointInvalidError, match="cannot see"):
        draw(checkpoint=str(path), **fields)


@pytest.mark.parametrize("name", ["flux-kontext", "sd1-instruct-pix2pix", "z-image-omni"])
def test_the_plan_of_the_memory_counts_references(name: str, tiny: Tiny, tmp_path: Path) -> None:
    found = planned_checkpoint(find_checkpoint(str(tiny(name)), tmp_path))
    precisions = planned_precisions(Settings(home=tmp_path), found.family, "cpu")
    plain = usual_plan(found, SIDE, width=SIDE, height=SIDE, steps=2)
    seen = replace(plain, reference_sizes=((SIDE, SIDE),))
    costs = [picture_cost(found, plan, "cpu", precisions, tmp_path) for plan in (plain, seen)]
    before, after = ({stage.name: stage.activations for stage in cost.stages} for cost in costs)
    assert "encode" in after
    assert ("siglip" in after) == (name == "z-image-omni")
    if name == "sd1-instruct-pix2pix":  # which always looks at one
        assert before == after
    else:
        assert after["denoise"] > before["denoise"]


def test_omni_in_bf16_is_diffusers_own_as_it_is(drawing_home: Path, tiny: Tiny) -> None:
    """The one precision in which its pipeline encodes references without help."""
    path, name = tiny("z-image-omni"), "ZImageOmniPipeline"
    engine = Engine(Settings(home=drawing_home, device="cpu", generation_precision="bf16"))
    request = GenerationRequest.parse(
        prompt="a red cat",
        seed=7,
        steps=2,
        checkpoint=str(path),
        references=shown(WIDER),
        width=SIDE,
        height=SIDE,
    )
    (ours,) = engine.generate(request, unbatched=True)
    pipeline = load_diffusers_pipeline(path, name, FLOW, dtype=torch.bfloat16)
    theirs = pipeline(
        prompt="a red cat",
        negative_prompt="",
        image=WIDER,
        width=SIDE,
        height=SIDE,
        num_inference_steps=2,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(7),
        output_type="np",
    ).images[0]
    assert np.array_equal(to_array(ours), (theirs * 255).round().astype(np.uint8))


def test_omni_without_references_is_diffusers_own(draw: GenerateImages, tiny: Tiny) -> None:
    (ours,) = draw("z-image-omni", alone=True, sampler=FLOW, guidance_scale=3.0)
    theirs = generate_with_diffusers(
        tiny("z-image-omni"), "ZImageOmniPipeline", FLOW, width=SIDE, height=SIDE, guidance_scale=2.0
    )
    assert np.array_equal(to_array(ours), theirs)


def test_prompts_are_composed_while_omni_looks(draw: GenerateImages) -> None:
    one, both = (
        draw("z-image-omni", prompt=prompt, references=shown(WIDER), steps=2)[0]
        for prompt in ("a red cat", "a red cat AND a fat dog")
    )
    assert not same_pixels(one, both)


@pytest.mark.parametrize(
    ("size", "result", "expected"),
    [
        ((1000, 1000), (2048, 2048), (1000, 1000)),
        ((3000, 2000), (512, 512), (3000, 2000)),  # its pipeline shrinks it
        ((3000, 2000), (2048, 2048), (1254, 836)),
    ],
)
def test_omni_sees_no_reference_larger_than_a_megapixel_or_the_result(
    size: tuple[int, int], result: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert z_image.seen_size(size, result) == expected


def test_a_size_stays_one_that_omni_looks_at() -> None:
    for longest in range(2900, 8000, 7):
        width, height = z_image.seen_size((longest, math.ceil(longest / 8)), (2048, 2048))
        assert width <= 8 * height
        assert 0.98 * 1024 * 1024 < width * height <= 1024 * 1024


def test_omni_in_a_file_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "omni.safetensors"
    shutil.copy(tiny("z-image-omni") / "transformer" / "diffusion_pytorch_model.safetensors", path)
    with pytest.raises(CheckpointFamilyError, match="as a diffusers folder only"):
        find_checkpoint(str(path), tmp_path)
