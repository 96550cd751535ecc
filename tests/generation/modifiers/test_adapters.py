"""Adapters change what is drawn exactly as their changes merged into the weights by hand do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.generation.conftest import GenerateImages, Pixels, to_array
from tests.generation.diffusers_reference import load_diffusers_pipeline, nearly_equal
from tests.generation.lora_files import LoRAFile, component_networks, merged, write_lora
from tests.tiny import TINY

from safelight.errors import (
    AdapterFamilyError,
    AdapterInvalidError,
    AdapterMissingError,
    PromptError,
    UnsupportedError,
)
from safelight.generation.engine import Engine
from safelight.generation.infotext import infotext_from_record
from safelight.generation.progress import Watcher
from safelight.generation.recall import recall_text
from safelight.generation.recall.field_builder import AvailableModels, KnownAdapter
from safelight.models.checkpoints.loading import LoadedCheckpoint
from safelight.models.families import FAMILIES
from safelight.runtime.changed_weights import KEPT_FORM

InMemory = Callable[[str], LoadedCheckpoint]


@pytest.fixture(scope="module")
def loras(drawing_home: Path) -> Iterator[Path]:
    folder = drawing_home / "loras"
    folder.mkdir()
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@pytest.fixture(scope="module")
def sd1(in_memory: InMemory) -> dict[str, Any]:
    return dict(component_networks(in_memory("sd1"), ("unet", "text_encoder")))


@pytest.fixture(scope="module")
def ink(loras: Path, sd1: dict[str, Any]) -> LoRAFile:
    return write_lora(loras / "ink.safetensors", sd1, seed=1)


@pytest.fixture(scope="module")
def oil(loras: Path, sd1: dict[str, Any]) -> LoRAFile:
    return write_lora(loras / "oil.safetensors", sd1, seed=2)


@pytest.fixture
def by_hand(draw: GenerateImages, engine: Engine, sd1: dict[str, Any]) -> Callable[..., Pixels]:
    """A picture of the tiny checkpoint with changes merged into its weights."""

    def run(unet: list[dict[str, Any]], text: list[dict[str, Any]], **fields: Any) -> Pixels:
        engine._embeddings.clear()
        try:
            with merged(sd1["unet"], *unet), merged(sd1["text_encoder"], *text):
                return to_array(*draw(**fields))
        finally:
            engine._embeddings.clear()

    return run


def test_a_picture_is_that_of_merged_weights(
    draw: GenerateImages, ink: LoRAFile, by_hand: Callable[..., Pixels]
) -> None:
    plain = to_array(*draw())
    expected = by_hand([ink.deltas("unet", 0.8)], [ink.deltas("text_encoder", 0.8)])
    (drawn,) = draw(prompt="a <lora:ink:0.8> red cat")
    assert np.array_equal(to_array(drawn), expected)
    assert not np.array_equal(expected, plain)
    assert np.array_equal(to_array(*draw(adapters=["ink:0.8"])), expected)
    assert np.array_equal(to_array(*draw(prompt="a red cat<lyco:ink.safetensors:0.8>")), expected)
    assert np.array_equal(to_array(*draw()), plain), "the networks are as before"
    assert np.array_equal(to_array(*draw(adapters=["ink:0"])), plain)


def test_changed_weights_are_kept_and_changed_where_they_do_not_fit(
    draw: GenerateImages, engine: Engine, ink: LoRAFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = to_array(*draw(adapters=["ink:0.7"]))
    assert {key.form for key in engine._pool.keys} >= {KEPT_FORM}
    engine._pool.evict([key for key in engine._pool.keys if key.form == KEPT_FORM])
    monkeypatch.setattr(Engine, "_keep", lambda *_args, **_kwargs: None)
    changed = to_array(*draw(adapters=["ink:0.7"]))
    assert KEPT_FORM not in {key.form for key in engine._pool.keys}
    assert np.array_equal(changed, kept)


def test_adapters_add_up(
    draw: GenerateImages, ink: LoRAFile, oil: LoRAFile, by_hand: Callable[..., Pixels]
) -> None:
    unet, text = ([ink.deltas(name, 0.5), oil.deltas(name, -0.75)] for name in ("unet", "text_encoder"))
    assert np.array_equal(
        to_array(*draw(prompt="a red cat <lora:oil:-0.75>", adapters=["ink:0.5"])), by_hand(unet, text)
    )


@pytest.mark.parametrize(
    ("tag", "text", "groups"),
    [
        ("te=0:unet=0.8", 0, (0.8, 0.8, 0.8)),
        ("te=0.8:unet=0", 0.8, (0, 0, 0)),
        ("0.4:0.8", 0.4, (0.8, 0.8, 0.8)),
        ("te=0:in=0.5:mid=0:out=1", 0, (0.5, 0, 1)),
        ("0:0.3:mid=1", 0, (0.3, 1, 0.3)),
    ],
)
def test_strengths_of_parts(
    tag: str,
    text: float,
    groups: tuple[float, ...],
    draw: GenerateImages,
    ink: LoRAFile,
    by_hand: Callable[..., Pixels],
) -> None:
    blocks = zip(("down_blocks", "mid_block", "up_blocks"), groups, strict=True)
    unet = [
        ink.deltas("unet", strength, lambda name, block=block: name.startswith(block))
        for block, strength in blocks
    ]
    expected = by_hand(unet, [ink.deltas("text_encoder", text)])
    assert np.array_equal(to_array(*draw(prompt=f"a red cat <lora:ink:{tag}>")), expected)


def test_a_schedule_changes_the_strength_from_step_to_step(draw: GenerateImages, ink: LoRAFile) -> None:
    def picture(tag: str) -> Pixels:
        return to_array(*draw(adapters=[f"ink:te=0:unet={tag}"], steps=4, sampler="Euler"))

    constant = picture("0.5")
    assert np.array_equal(picture("0.5@0,0.5@1"), constant)
    assert np.array_equal(picture("0@0,0@1"), to_array(*draw(steps=4, sampler="Euler")))
    # Of four steps the third is at a half; as a number it is step 2.
    late = picture("0@0,0@0.25,0.5@0.5")
    assert np.array_equal(picture("0@1,0.5@2"), late)
    assert not np.array_equal(late, constant)
    rising = picture("0@0,1@1")
    assert not np.array_equal(rising, late)
    assert np.array_equal(picture("0@0,0.25@1,0.75@3"), rising), "0, 0.25, 0.5 and 0.75"


def test_the_second_pass_has_the_same_adapters(
    draw: GenerateImages, ink: LoRAFile, by_hand: Callable[..., Pixels]
) -> None:
    hires = {"hires": {"scale": 1.25, "strength": 0.9, "upscaler": "lanczos"}, "width": 128, "height": 128}
    expected = by_hand([ink.deltas("unet", 1)], [ink.deltas("text_encoder", 1)], **hires)
    assert np.array_equal(to_array(*draw(prompt="a red cat <lora:ink>", **hires)), expected)


def test_jobs_with_different_adapters_at_once_get_their_own_pictures(
    draw: GenerateImages, ink: LoRAFile, oil: LoRAFile
) -> None:
    used: list[list[str]] = [["ink:0.9"], ["oil:0.9"], [], ["ink:te=0:unet=0@0,1@1"]]
    alone = [to_array(*draw(adapters=each, steps=4, alone=True)) for each in used]
    barrier = Barrier(len(used))

    def in_step(adapters: list[str]) -> Pixels:
        watcher = Watcher(lambda _: barrier.wait(30) and None)
        return to_array(*draw(adapters=adapters, steps=4, watcher=watcher))

    with ThreadPoolExecutor(len(used)) as pool:
        together = list(pool.map(in_step, used))
    assert [np.array_equal(*pair) for pair in zip(together, alone, strict=True)] == [True] * 4
    assert len({each.tobytes() for each in together}) == 4


def test_wildcards_and_variants_choose_adapters(draw: GenerateImages, ink: LoRAFile, oil: LoRAFile) -> None:
    drawn = draw(prompt="a red cat <lora:{ink|oil}:{0.4|0.8}>", count=6, steps=1)
    said = {(each.record.adapters[0].name, each.record.adapters[0].strength) for each in drawn}
    assert len(said) > 1
    for each in drawn[:2]:
        (adapter,) = each.record.adapters
        again = draw(adapters=[f"{adapter.name}:{adapter.strength}"], seed=each.record.seed, steps=1)
        assert np.array_equal(to_array(each), to_array(*again))


def test_the_record_and_the_infotext_say_what_was_used(draw: GenerateImages, ink: LoRAFile) -> None:
    (drawn,) = draw(prompt="a red cat <lora:ink:te=0.5:unet=0.8>", steps=1)
    record, layers = drawn.record, {name: len(own) for name, own in ink.layers.items()}
    assert record.expanded_prompt == "a red cat"
    assert record.machine.backend == "eager"
    (adapter,) = record.to_dict()["adapters"]
    assert adapter.items() >= {"name": "ink", "strength": 0.5, "denoiser": 0.8, "layers": layers}.items()
    text = infotext_from_record(record)
    assert text.startswith("a red cat <lora:ink:te=0.5:unet=0.8>\n")
    assert f'Lora hashes: "ink: {record.adapters[0].hash}"' in text

    def find(name: str, digits: str | None) -> KnownAdapter | None:
        return KnownAdapter("here") if digits and digits in adapter["digest"] + adapter["hash"] else None

    here = AvailableModels((), lambda name: name, find_adapter=find)
    for source in (text, record.to_json()):
        found = recall_text(source, here)
        assert found.fields["prompt"] == "a red cat <lora:here:te=0.5:unet=0.8>"
        assert not any("adapter" in each.name for each in found.unfilled)
    (missing,) = [
        each for each in recall_text(text, AvailableModels((), str)).unfilled if each.name == "adapter"
    ]
    assert missing.value == "<lora:ink:te=0.5:unet=0.8>"


@pytest.mark.parametrize(
    ("name", "fields", "error", "message"),
    [
        ("sd1", {"adapters": ["nowhere"]}, AdapterMissingError, "nowhere"),
        ("sd1", {"prompt": "<lora:nowhere:1>"}, AdapterMissingError, "nowhere"),
        ("sd1", {"prompt": "<lora:ink:dyn=4>"}, PromptError, "dyn"),
        ("sd1", {"prompt": "<lora:/etc/ink:1>"}, PromptError, "no path"),
        ("flux", {"adapters": ["real"]}, AdapterFamilyError, "is for Stable Diffusion 1"),
        ("flux", {"adapters": ["ink:in=0"]}, UnsupportedError, "blocks"),
        ("sd1", {"adapters": ["stranger"]}, AdapterInvalidError, "None of the 1 layers"),
    ],
)
def test_what_cannot_be_used_is_an_error(
    name: str,
    fields: dict[str, Any],
    error: type[Exception],
    message: str,
    draw: GenerateImages,
    loras: Path,
    ink: LoRAFile,
) -> None:
    stranger = {"lora_unet_no_such_layer.lora_down.weight": torch.ones(2, 32)}
    stranger["lora_unet_no_such_layer.lora_up.weight"] = torch.ones(32, 2)
    save_file(stranger, loras / "stranger.safetensors")
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    real = {f"{layer}.lora_down.weight": torch.ones(2, 768), f"{layer}.lora_up.weight": torch.ones(320, 2)}
    save_file(real, loras / "real.safetensors")
    with pytest.raises(error, match=message):
        draw(name, **fields)


def test_layers_without_a_match_are_noted(draw: GenerateImages, loras: Path, sd1: dict[str, Any]) -> None:
    from safetensors.torch import load_file

    whole = load_file(write_lora(loras / "partly.safetensors", sd1).path)
    whole["lora_unet_no_such_layer.lora_down.weight"] = torch.ones(2, 32)
    whole["lora_unet_no_such_layer.lora_up.weight"] = torch.ones(32, 2)
    save_file(whole, loras / "partly.safetensors")
    (drawn,) = draw(adapters=["partly"], steps=1)
    assert any("1 of the" in note and "no_such_layer" in note for note in drawn.record.notes)


@pytest.mark.parametrize("name", [name for name in TINY if FAMILIES[name.removesuffix("-base")].key == name])
def test_every_family_takes_adapters(
    name: str, draw: GenerateImages, in_memory: InMemory, loras: Path, engine: Engine
) -> None:
    """Denoiser and text encoders; the prediction is that of merged weights, and the text encoders' change shows."""
    loaded = in_memory(name)
    family, mode = loaded.family, {"steps": max(1, loaded.family.min_steps)}
    networks = component_networks(loaded, (family.denoiser, *family.text_encoders))
    lora = write_lora(loras / f"for-{name}.safetensors", networks, style="diffusers")
    denoiser = to_array(*draw(name, adapters=[f"for-{name}:te=0:unet=1"], **mode))
    with merged(networks[family.denoiser], lora.deltas(family.denoiser, 1)):
        assert np.array_equal(denoiser, to_array(*draw(name, **mode)))
    (both,) = draw(name, adapters=[f"for-{name}"], **mode)
    assert both.record.adapters[0].layers == {each: len(own) for each, own in lora.layers.items()}
    assert not np.array_equal(to_array(both), denoiser)


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3", "flux"])
def test_a_lora_is_as_diffusers_fuses_it(
    name: str, draw: GenerateImages, in_memory: InMemory, loras: Path, tiny: Callable[[str], Path]
) -> None:
    pytest.importorskip("peft")
    loaded = in_memory(name)
    parts = (loaded.family.denoiser, *loaded.family.text_encoders[:2])
    if name in ("sd3", "flux"):
        parts = parts[:1]
    networks = component_networks(loaded, parts)
    lora = write_lora(loras / f"diffusers-{name}.safetensors", networks, style="diffusers", alpha=False)
    sampler = "Euler FlowMatch" if name in ("sd3", "flux") else "DPM++ 2M Karras"
    pipe = load_diffusers_pipeline(tiny(name), loaded.family.pipeline_name("text-to-image"), sampler)
    pipe.load_lora_weights(lora.path.parent, weight_name=lora.path.name)
    scale = {} if loaded.family.guidance_parameter is None else {loaded.family.guidance_parameter: 4.0}

    def reference() -> np.ndarray:
        result = pipe(
            "a red cat",
            num_inference_steps=3,
            generator=torch.Generator().manual_seed(7),
            output_type="np",
            width=64,
            height=64,
            **scale,
        ).images[0]
        return (result * 255).round().astype(np.uint8)

    ours = to_array(*draw(name, adapters=[lora.path.stem], guidance_scale=4, sampler=sampler))
    assert nearly_equal(ours, reference()), "as peft computes it"
    pipe.fuse_lora()
    assert np.array_equal(ours, reference()), "as it is fused"
    assert not nearly_equal(ours, to_array(*draw(name, guidance_scale=4, sampler=sampler)))
