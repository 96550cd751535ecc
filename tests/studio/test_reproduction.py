from __future__ import annotations

import io
import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.generation.lora_files import write_lora
from tests.studio.conftest import DOUBT, NOTHING
from tests.tiny import ip_adapters
from tests.tiny.generation import INIT_IMAGE, MASK

from safelight.errors import (
    CheckpointMissingError,
    NotReproducibleError,
    RecordInvalidError,
    RecordMissingError,
)
from safelight.generation.progress import RunProgress, Watcher
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.checkpoints.loading import load_checkpoint
from safelight.models.digests import file_digest
from safelight.settings import Settings
from safelight.studio import Picture, Studio

SMALL: dict[str, Any] = {"prompt": "a red cat", "steps": 3, "seed": 7, "width": 64, "height": 64}
EDIT = {name: value for name, value in SMALL.items() if name not in ("width", "height")}

CASES: dict[str, dict[str, Any]] = {
    "text": {**SMALL, "negative_prompt": "blue", "sampler": "Euler a"},
    "image": {**EDIT, "init_image": INIT_IMAGE, "strength": 0.7, "sampler": "DPM++ SDE"},
    "inpaint": {**EDIT, "init_image": INIT_IMAGE, "mask": MASK, "inpaint": {"fill": "noise"}},
    "outpaint": {**EDIT, "init_image": INIT_IMAGE, "outpaint": {"left": 9}},
    "hires": {**SMALL, "hires": {"scale": 1.5, "upscaler": "lanczos", "sampler": "DDIM"}},
    "hires latent": {**SMALL, "hires": {"scale": 1.5}},
    "hires eta": {**SMALL, "sampler": "DDIM", "hires": {"scale": 1.5, "sampler": "TCD", "steps": 4}},
    "variation": {**SMALL, "variation": {"seed": 3, "strength": 0.2}, "schedule": "beta"},
    "wildcards": {
        **SMALL,
        "prompt": r"a __colours__ {cat|dog} \{x\}",
        "count": 3,
        "eta": 0.3,
        "sampler": "DDIM",
    },
    "left out": {
        **SMALL,
        "prompt": "a <net:ink:1> red cat AND a dog",
        "negative_prompt": "<lora:ink:1> blue",
        "ignore_unsupported": True,
    },
    "fast": {**SMALL, "steps": 8, "quality": "fast", "token_merging": 0.5},
    "fading": {**SMALL, "pag_scale": 3, "pag_adaptive": 0.002},
    "schedule": {**SMALL, "prompt": "a [red:(blue:1.2):0.5] cat", "guidance_end": 0.7, "clip_skip": 2},
}


def saved_image(studio: Studio, fields: dict[str, Any]) -> Picture:
    return studio.generate(**fields)[-1]


def inputs(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in ("init_image", "mask") if name in fields}


@pytest.mark.parametrize("case", CASES)
def test_the_same_bytes_again(case: str, drawing_studio: Studio, tmp_path: Path) -> None:
    fields = CASES[case]
    path = saved_image(drawing_studio, fields).save(tmp_path / "a.png")
    found = drawing_studio.reproduce(path, **inputs(fields))
    assert found.differences == ()
    assert found.identical
    assert found.data == path.read_bytes()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("jpeg", {"quality": 60}), ("jpeg", {}), ("webp", {"quality": 70}), ("webp", {"lossless": True})],
)
def test_in_every_format(kind: Any, options: dict[str, Any], drawing_studio: Studio) -> None:
    data = saved_image(drawing_studio, SMALL).encode(kind, **options)
    assert drawing_studio.reproduce(data).identical


def test_images_may_be_given_as_files(drawing_studio: Studio, tmp_path: Path) -> None:
    fields = CASES["inpaint"]
    path = saved_image(drawing_studio, fields).save(tmp_path / "a.png")
    INIT_IMAGE.save(tmp_path / "init.png")
    MASK.save(tmp_path / "mask.png")
    with path.open("rb") as source:
        found = drawing_studio.reproduce(
            source, init_image=io.BytesIO((tmp_path / "init.png").read_bytes()), mask=tmp_path / "mask.png"
        )
    assert found.identical


def test_a_mask_with_transparency_is_read_as_originally(drawing_studio: Studio) -> None:
    mask = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    mask.paste((255, 255, 255, 255), (0, 0, 32, 64))
    fields = {**EDIT, "init_image": INIT_IMAGE, "mask": mask}
    data = saved_image(drawing_studio, fields).encode()
    assert drawing_studio.reproduce(data, init_image=INIT_IMAGE, mask=mask).identical


def test_required_images_are_named(drawing_studio: Studio) -> None:
    data = saved_image(drawing_studio, CASES["inpaint"]).encode()
    text = saved_image(drawing_studio, SMALL).encode()
    with pytest.raises(NotReproducibleError, match="takes the initial picture whose pixels") as caught:
        drawing_studio.reproduce(data)
    assert "--init" in caught.value.hint
    with pytest.raises(NotReproducibleError, match="takes the mask"):
        drawing_studio.reproduce(data, init_image=INIT_IMAGE)
    with pytest.raises(NotReproducibleError, match="This is not the mask"):
        drawing_studio.reproduce(data, init_image=INIT_IMAGE, mask=INIT_IMAGE)
    with pytest.raises(NotReproducibleError, match="This is not the initial picture"):
        drawing_studio.reproduce(data, init_image=MASK, mask=MASK)
    with pytest.raises(NotReproducibleError, match="generated without any initial picture"):
        drawing_studio.reproduce(text, init_image=INIT_IMAGE)


def test_references_are_reproduced_in_any_order(drawing_studio: Studio, tiny: Callable[[str], Path]) -> None:
    fields = {**SMALL, "checkpoint": str(tiny("flux2-klein")), "steps": 2}
    pictures = [INIT_IMAGE, INIT_IMAGE.rotate(90)]
    data = saved_image(
        drawing_studio, {**fields, "references": [{"image": image} for image in pictures]}
    ).encode()
    assert drawing_studio.reproduce(data, references=pictures[::-1]).identical
    with pytest.raises(NotReproducibleError, match="takes the reference whose pixels") as caught:
        drawing_studio.reproduce(data, references=pictures[1:])
    assert "--reference" in caught.value.hint


def test_controls_are_reproduced_with_their_pictures_in_any_order(
    drawing_studio: Studio, drawing_control: str, tmp_path: Path
) -> None:
    INIT_IMAGE.save(tmp_path / "shown.png")
    MASK.save(tmp_path / "mask.png")
    control = {"model": drawing_control, "image": tmp_path / "shown.png", "mask": tmp_path / "mask.png"}
    preprocessed = {**control, "mask": None, "preprocessor": {"name": "canny"}, "weight": 0.5}
    data = saved_image(drawing_studio, {**SMALL, "control": [control, preprocessed]}).encode()
    given = [tmp_path / "mask.png", tmp_path / "shown.png"]
    assert drawing_studio.reproduce(data, control=given).identical
    with pytest.raises(NotReproducibleError, match=f"the mask of the control {drawing_control}") as caught:
        drawing_studio.reproduce(data, control=given[1:])
    assert "--control" in caught.value.hint
    with pytest.raises(NotReproducibleError, match="the picture of the control"):
        drawing_studio.reproduce(data)


def test_ip_adapters_are_reproduced(
    drawing_studio: Studio, drawing_settings: Settings, drawing_ip_adapter: str, tmp_path: Path
) -> None:
    INIT_IMAGE.save(tmp_path / "shown.png")
    control = {"model": drawing_ip_adapter, "image": tmp_path / "shown.png", "weight": 0.7}
    data = saved_image(drawing_studio, {**SMALL, "control": [control]}).encode()
    encoders = drawing_settings.home / "image_encoders"
    (encoders / "tiny-clip").rename(encoders / "renamed")
    try:
        assert drawing_studio.reproduce(data, control=[tmp_path / "shown.png"]).identical
        shutil.copytree(encoders / "renamed", tmp_path / "kept")
        ip_adapters.clip_vision(encoders / "renamed", seed=1)
        again = drawing_studio.reproduce(data, control=[tmp_path / "shown.png"])
        assert any("control" in each for each in again.differences)
        shutil.rmtree(encoders / "renamed")
        shutil.move(tmp_path / "kept", encoders / "renamed")
    finally:
        (encoders / "renamed").rename(encoders / "tiny-clip")


def test_regions_are_reproduced_with_their_masks(drawing_studio: Studio, tmp_path: Path) -> None:
    MASK.save(tmp_path / "mask.png")
    region = {"prompt": "a {blue|blue} dog", "mask": tmp_path / "mask.png", "weight": 0.5}
    prompt = "a red cat AND a tree :0.5"
    data = saved_image(drawing_studio, {**SMALL, "prompt": prompt, "regions": [region]}).encode()
    assert drawing_studio.reproduce(data, control=[tmp_path / "mask.png"]).identical
    with pytest.raises(NotReproducibleError, match="the mask of region 1") as caught:
        drawing_studio.reproduce(data)
    assert "--region" in caught.value.hint


@pytest.fixture
def own(tiny: Callable[[str], Path], drawing_settings: Settings, tmp_path: Path) -> tuple[Studio, Path]:
    """A studio whose data directory has a checkpoint that a test may change."""
    folder = tmp_path / "home" / "checkpoints" / "mine"
    shutil.copytree(tiny("sd1"), folder)
    settings = drawing_settings.model_copy(update={"home": tmp_path / "home", "checkpoint": "mine"})
    return Studio(settings), folder


def test_changed_weights_are_named(own: tuple[Studio, Path]) -> None:
    studio, folder = own
    data = saved_image(studio, SMALL).encode()
    assert studio.reproduce(data).identical
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * 1.5 for name, tensor in load_file(weights).items()}, weights)
    found = studio.reproduce(data)
    assert not found.identical
    assert any(line.startswith("checkpoint.digest is ") for line in found.differences)
    assert found.differences[-1].startswith("Pixels differ by up to ")


def test_changed_configs_are_named(own: tuple[Studio, Path]) -> None:
    studio, folder = own
    picture = saved_image(studio, SMALL)
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"beta_end": 0.02}))
    found = studio.reproduce(picture.encode("png"))
    assert not found.identical
    assert any(each.startswith("checkpoint.configs is ") for each in found.differences)
    assert not any("checkpoint.digest" in each for each in found.differences)


def test_an_older_record_without_config_digests_gives_the_same_file(drawing_studio: Studio) -> None:
    picture = saved_image(drawing_studio, SMALL)
    older = picture.record.checkpoint.model_copy(update={"configs": None})
    data = replace(picture, record=picture.record.model_copy(update={"checkpoint": older})).encode("png")
    assert b'"configs"' not in data
    assert b'"upscaler":null' not in data
    assert drawing_studio.reproduce(data).identical


def test_an_older_record_that_read_networks_literally_gives_the_same_file(drawing_studio: Studio) -> None:
    picture = saved_image(drawing_studio, SMALL | {"prompt": r"a \<lora:ink:1> cat \AND a dog"})
    words = {"prompt": "a <lora:ink:1> cat AND a dog", "expanded_prompt": "a <lora:ink:1> cat AND a dog"}
    data = replace(picture, record=picture.record.model_copy(update=words)).encode("png")
    assert drawing_studio.reproduce(data).identical


@pytest.fixture
def with_adapters(own: tuple[Studio, Path], tmp_path: Path) -> tuple[Studio, Path]:
    """The same with a LoRA and a textual inversion in its data directory."""
    studio, _ = own
    networks = load_checkpoint(find_checkpoint("mine", tmp_path / "home")).networks
    unet, encoder = (networks[name].network for name in ("unet", "text_encoder"))
    write_lora(tmp_path / "home" / "loras" / "ink.safetensors", {"unet": unet, "text_encoder": encoder})
    (tmp_path / "home" / "embeddings").mkdir()
    vectors = torch.randn(2, encoder.get_input_embeddings().weight.shape[1])
    save_file({"emb_params": vectors}, tmp_path / "home" / "embeddings" / "mossy.safetensors")
    return studio, tmp_path / "home"


def test_adapters_and_textual_inversions_give_the_same_bytes(with_adapters: tuple[Studio, Path]) -> None:
    studio, home = with_adapters
    used = {"prompt": "a <lora:ink:te=0.5:unet=0@0,1@0.5> mossy cat", "adapters": ["ink:-0.25"]}
    picture = saved_image(studio, SMALL | used)
    data = picture.encode("png")
    assert studio.reproduce(data).identical
    plain = saved_image(studio, SMALL | {"prompt": "a brave mossy cat"}).encode("png")
    # Another file whose name is a word of the prompt changes nothing, and neither does one that is renamed.
    shutil.copy(home / "embeddings" / "mossy.safetensors", home / "embeddings" / "brave.safetensors")
    assert studio.reproduce(plain).identical
    assert picture.to_dict()["adapters"] == picture.record.to_dict()["adapters"]
    loras = home / "loras"
    shutil.copy(loras / "ink.safetensors", loras / "sepia.safetensors")
    (loras / "ink.safetensors").unlink()
    with pytest.raises(NotReproducibleError, match="adapter ink, which is missing"):
        studio.reproduce(data)
    file_digest(loras / "sepia.safetensors", studio.settings.cache_folder)
    assert studio.reproduce(data).identical


def test_an_adapter_that_was_replaced_is_not_used(with_adapters: tuple[Studio, Path]) -> None:
    studio, home = with_adapters
    data = saved_image(studio, SMALL | {"prompt": "a mossy cat <lora:ink:1>"}).encode("png")
    path = home / "loras" / "ink.safetensors"
    save_file({name: 2 * tensor for name, tensor in load_file(path).items()}, path)
    with pytest.raises(NotReproducibleError, match="adapter ink, which was replaced"):
        studio.reproduce(data)
    vectors = home / "embeddings" / "mossy.safetensors"
    data = saved_image(studio, SMALL | {"prompt": "a mossy cat"}).encode("png")
    vectors.unlink()
    with pytest.raises(NotReproducibleError, match="textual inversion mossy, which is missing"):
        studio.reproduce(data)


def test_a_checkpoint_of_another_name_may_be_used(own: tuple[Studio, Path]) -> None:
    studio, folder = own
    data = saved_image(studio, SMALL).encode()
    folder.rename(folder.with_name("renamed"))
    with pytest.raises(CheckpointMissingError):
        studio.reproduce(data)
    assert studio.reproduce(data, checkpoint="renamed").identical


def test_another_policy_is_a_difference_that_keeps_the_pixels(drawing_studio: Studio) -> None:
    data = saved_image(drawing_studio, SMALL).encode()
    found = drawing_studio.reproduce(data, policy=DOUBT)
    assert 'verdict.policy is "anything" in the record and "doubt" here.' in found.differences
    assert found.differences[-1] == "The pixels are the same; the file's other bytes differ."
    (doubted,) = drawing_studio.generate(**SMALL, policy=DOUBT)
    assert drawing_studio.reproduce(doubted.encode(), policy=DOUBT).identical
    blocked = drawing_studio.reproduce(data, policy=NOTHING)
    assert blocked.data is None
    assert blocked.differences[-1] == "The policy blocks it here."


def test_an_image_that_was_edited_afterwards_differs(drawing_studio: Studio) -> None:
    picture = saved_image(drawing_studio, SMALL)
    record = picture.record.to_json()
    for other, said in (
        (Image.new("RGB", (64, 64)), "Pixels differ by up to"),
        (Image.new("RGB", (32, 64)), "The picture is 32 x 64 in the file and 64 x 64 here."),
    ):
        data = encode_image(other, "png", Metadata(infotext="", record=record))
        assert drawing_studio.reproduce(data).differences[-1].startswith(said)


# Batched with others


def generate_together(studio: Studio, seeds: list[int]) -> list[Picture]:
    """Images of which none goes beyond its first step before all have made it."""
    ready = threading.Barrier(len(seeds))
    fields = {**SMALL, "sampler": "Euler a"}

    def draw(seed: int) -> Picture:
        watcher = Watcher(lambda progress: progress.step == 1 and ready.wait(30))
        return studio.generate(**(fields | {"seed": seed}), watcher=watcher)[0]

    with ThreadPoolExecutor(len(seeds)) as pool:
        return list(pool.map(draw, seeds))


def changed_image(picture: Picture, values: int, by: int, **record: Any) -> Picture:
    """The image with some values changed."""
    pixels = np.asarray(picture.image).copy()
    flat = pixels.reshape(-1)
    flat[:values] = np.where(flat[:values] < 128, flat[:values] + by, flat[:values] - by)
    return replace(
        picture, image=Image.fromarray(pixels), record=picture.record.model_copy(update=dict(record))
    )


@pytest.fixture(scope="module")
def batched(drawing_settings: Settings) -> Picture:
    settings = drawing_settings.model_copy(update={"batch_timeout": 500.0})
    pictures = generate_together(Studio(settings), [7, 8, 9])
    assert all(picture.record.batched for picture in pictures)
    return pictures[0]


def test_a_batched_image_is_the_same_within_tolerance(batched: Picture, drawing_studio: Studio) -> None:
    found = drawing_studio.reproduce(batched.encode())
    assert found.identical or found.within_tolerance
    assert not found.identical or found.data == batched.encode()
    exact = replace(batched, image=found.picture.image)
    assert drawing_studio.reproduce(exact.encode()).identical
    near = drawing_studio.reproduce(changed_image(exact, 12, 1).encode())  # of 12,288
    assert not near.identical
    assert near.within_tolerance
    assert near.differences[0].startswith("Pixels differ by up to 1 of 255")


@pytest.mark.parametrize(
    ("values", "by", "record"),
    [
        (13, 1, {}),  # too many
        (1, 2, {}),  # too far
        (1, 1, {"batched": False}),  # not batched: no bit may differ
        (1, 1, {"sampler": "Euler", "steps": 3, "prompt": "x", "notes": ("x",)}),  # not the same request
    ],
)
def test_differences_that_batching_does_not_explain(
    values: int, by: int, record: dict[str, Any], batched: Picture, drawing_studio: Studio
) -> None:
    exact = replace(batched, image=drawing_studio.reproduce(batched.encode()).picture.image)
    found = drawing_studio.reproduce(changed_image(exact, values, by, **record).encode())
    assert not found.identical
    assert not found.within_tolerance


def test_a_lossy_file_hides_it(batched: Picture, drawing_studio: Studio) -> None:
    exact = replace(batched, image=drawing_studio.reproduce(batched.encode()).picture.image)
    assert drawing_studio.reproduce(exact.encode("jpeg")).identical
    near = drawing_studio.reproduce(changed_image(exact, 1, 60).encode("jpeg"))
    assert not near.identical
    assert not near.within_tolerance
    lossless = drawing_studio.reproduce(changed_image(exact, 1, 1).encode("webp", lossless=True))
    assert lossless.within_tolerance


def test_reproducing_is_exact_while_others_generate(
    drawing_settings: Settings, drawing_studio: Studio
) -> None:
    data = saved_image(drawing_studio, {**SMALL, "sampler": "Euler a"}).encode()
    studio = Studio(drawing_settings.model_copy(update={"batch_timeout": 500.0}))
    found: list[Any] = []

    def meanwhile(progress: RunProgress) -> None:
        if progress.step == 1:
            found.append(studio.reproduce(data))

    (other,) = studio.generate(**SMALL, watcher=Watcher(meanwhile))
    assert found[0].identical
    assert not other.record.batched


def test_an_unfinished_image_is_not_taken_for_a_finished_one(drawing_studio: Studio) -> None:
    told: list[RunProgress] = []
    watcher = Watcher(told.append, lambda: len(told) >= 1, keep_partial=True)
    (partial,) = drawing_studio.generate(**SMALL, watcher=watcher)
    assert partial.stopped_at == 1
    assert partial.to_dict()["stopped_at"] == 1
    assert "unfinished" in partial.record.notes[-1]
    found = drawing_studio.reproduce(partial.encode())
    assert not found.identical
    assert any(line.startswith("notes") for line in found.differences)


def test_files_without_or_with_invalid_records(drawing_studio: Studio, tmp_path: Path) -> None:
    INIT_IMAGE.save(tmp_path / "plain.png")
    with pytest.raises(RecordMissingError):
        drawing_studio.reproduce(tmp_path / "plain.png")
    for record in ("{}", "no json", '{"format": 99}'):
        data = encode_image(INIT_IMAGE, "png", Metadata(record=record))
        with pytest.raises(RecordInvalidError):
            drawing_studio.reproduce(data)
