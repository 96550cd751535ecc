"""Pictures that do not fit the memory at once: in phases, in tiles, in eight bits, block by block, after a shortage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AsymmetricAutoencoderKL
from PIL import Image
from tests.generation.lora_files import write_lora
from torch import nn

from safelight.errors import MemoryBudgetError, MemoryExhaustedError
from safelight.generation import memory_costs, memory_placement, memory_tiling
from safelight.generation.artifact import Artifact
from safelight.generation.autoencoder import AutoencoderProxy
from safelight.generation.engine import Engine
from safelight.generation.memory_planning import picture_cost, planned_checkpoint, planned_precisions
from safelight.generation.modifiers.adapters import UNPACKED_NOTE
from safelight.generation.plan import make_plan
from safelight.generation.request import GenerationRequest
from safelight.images import decode
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.checkpoints.empty_networks import empty_networks
from safelight.models.checkpoints.loading import pixels_per_latent
from safelight.runtime.memory_plan.planner import PictureCost
from safelight.samples import sample_photographs
from safelight.settings import Settings

Tiny = Callable[[str], Path]
SIDE = 64


@pytest.fixture(autouse=True)
def _exact_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny networks take less than what plans leave to the allocator, and everything is counted."""
    monkeypatch.setattr(memory_costs, "CPU_SLACK", 0)
    monkeypatch.setattr(memory_placement, "SPARE", 10**12)


def request(checkpoint: Path | str, side: int = SIDE, **fields: Any) -> GenerationRequest:
    usual = {"prompt": "a red apple", "seed": 7, "steps": 2, "checkpoint": str(checkpoint)}
    return GenerationRequest.parse(**(usual | {"width": side, "height": side} | fields))


def cost_of(
    checkpoint: Path | str, home: Path, wanted: GenerationRequest, precision: str = ""
) -> PictureCost:
    found = planned_checkpoint(find_checkpoint(str(checkpoint), home))
    plan = make_plan(wanted, found.family, found.scheduler, native_side=SIDE)
    settings = Settings(home=home)
    precisions = planned_precisions(settings, found.family, "cpu", precision)
    return picture_cost(found, plan, "cpu", precisions, settings.cache_folder)


def largest_stage(cost: PictureCost) -> int:
    return max(cost.components[stage.component].nbytes + stage.activations for stage in cost.stages)


def generate(home: Path, wanted: GenerationRequest, budget: int = 4 * 10**9, **settings: Any) -> Artifact:
    engine = Engine(Settings(home=home, device="cpu", memory_budget=budget, **settings))
    return next(iter(engine.generate(wanted)))


def psnr(one: Artifact, other: Artifact) -> float:
    first, second = (np.asarray(each.image, dtype=np.float64) for each in (one, other))
    return float(10 * np.log10(255**2 / max(((first - second) ** 2).mean(), 1e-9)))


@pytest.mark.parametrize("name", ["sdxl", "flux", "qwen-image", "sana"])
def test_in_phases_a_picture_is_the_same_to_the_bit(name: str, tiny: Tiny, tmp_path: Path) -> None:
    wanted = request(tiny(name))
    budget = largest_stage(cost_of(tiny(name), tmp_path, wanted))
    usual, phased = generate(tmp_path, wanted), generate(tmp_path, wanted, budget)
    assert usual.memory is not None
    assert usual.memory.plan is not None
    assert usual.memory.plan.steps == ()
    assert phased.memory is not None
    assert phased.memory.plan is not None
    assert phased.memory.plan.steps == ("phases",)
    assert phased.image.tobytes() == usual.image.tobytes()
    assert phased.record.notes == usual.record.notes


def test_what_is_forbidden_is_not_done(tiny: Tiny, tmp_path: Path) -> None:
    wanted = request(tiny("sd1"))
    budget = largest_stage(cost_of(tiny("sd1"), tmp_path, wanted))
    with pytest.raises(MemoryBudgetError, match="needs at least"):
        generate(tmp_path, wanted, budget, memory_steps=())


@pytest.mark.parametrize(
    "fields", [{}, {"hires": {"scale": 1.5, "upscaler": "latent"}}, {"pag_scale": 2.0}, {"init_image": True}]
)
def test_phases_with_everything_that_a_run_can_have(
    fields: dict[str, Any], tmp_path: Path, tiny: Tiny
) -> None:
    if "init_image" in fields:
        fields = {"init_image": Image.new("RGB", (SIDE, SIDE), "green"), "strength": 1.0}
    wanted = request(tiny("sd1"), **fields)
    budget = largest_stage(cost_of(tiny("sd1"), tmp_path, wanted))
    phased = generate(tmp_path, wanted, budget)
    assert phased.memory is not None
    assert phased.memory.plan is not None
    assert phased.memory.plan.phases
    assert phased.image.tobytes() == generate(tmp_path, wanted).image.tobytes()


def test_adapters_where_not_everything_is_in_memory_at_once(tmp_path: Path, tiny: Tiny) -> None:
    """Weights are changed as they compute, also of text encoders that a pipeline calls one after the other."""
    found = find_checkpoint(str(tiny("flux")), tmp_path)
    parts = (found.family.denoiser, *found.family.text_encoders)
    networks = {name: network for name, network in empty_networks(found).items() if name in parts}
    lora = write_lora(tmp_path / "loras" / "ink.safetensors", networks, style="diffusers")
    wanted = request(tiny("flux"), steps=1)
    budget = largest_stage(cost_of(tiny("flux"), tmp_path, wanted)) + 3 * lora.path.stat().st_size
    pictures = []
    for strengths in ("1:1", "1:0"):
        wanted = request(tiny("flux"), steps=1, adapters=[f"ink:{strengths}"])
        usual, phased = generate(tmp_path, wanted), generate(tmp_path, wanted, budget)
        assert phased.memory is not None
        assert phased.memory.plan is not None
        assert phased.memory.plan.phases
        assert phased.image.tobytes() == usual.image.tobytes()
        pictures.append(usual.image.tobytes())
    assert pictures[0] != pictures[1]


def test_adapters_with_packed_weights(tmp_path: Path, tiny: Tiny) -> None:
    found = find_checkpoint(str(tiny("sd1")), tmp_path)
    write_lora(tmp_path / "loras" / "ink.safetensors", {"unet": empty_networks(found)["unet"]})
    budget = largest_stage(cost_of(tiny("sd1"), tmp_path, request(tiny("sd1"), steps=1)))
    pictures = []
    for strength in (0, 0.5):
        wanted = request(tiny("sd1"), steps=1, adapters=[f"ink:{strength}"])
        made = generate(tmp_path, wanted, budget * 9 // 10, memory_steps=("phases", "int8"))
        assert made.memory is not None
        assert made.memory.plan is not None
        assert "int8" in made.memory.plan.steps
        assert (UNPACKED_NOTE in made.record.notes) == (strength > 0)
        pictures.append(made.image.tobytes())
    assert pictures[0] != pictures[1]


def test_an_autoencoder_that_decodes_with_a_mask_keeps_it_in_phases(tmp_path: Path, tiny: Tiny) -> None:
    """Pipelines recognise it by its class, and then hand mask and initial picture to it."""
    checkpoint = tmp_path / "asymmetric"
    shutil.copytree(tiny("sd1"), checkpoint)
    shutil.rmtree(checkpoint / "vae")
    sides = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    channels = {"down_block_out_channels": [8, 8, 8, 8], "up_block_out_channels": [16, 16, 16, 16]}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = AsymmetricAutoencoderKL(**sides, **channels, norm_num_groups=4)
    vae.save_pretrained(checkpoint / "vae")
    index = checkpoint / "model_index.json"
    index.write_text(index.read_text().replace('"AutoencoderKL"', '"AsymmetricAutoencoderKL"'))
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (0, 0, SIDE // 2, SIDE))
    fields: dict[str, Any] = {"init_image": Image.effect_noise((SIDE, SIDE), 90).convert("RGB"), "mask": mask}
    wanted = request(checkpoint, **fields)
    budget = largest_stage(cost_of(checkpoint, tmp_path, wanted))
    with_mask: list[bool] = []
    decode_latents = AsymmetricAutoencoderKL.decode

    def decode(self: Any, *args: Any, **kwargs: Any) -> Any:
        with_mask.append(kwargs.get("mask") is not None)
        return decode_latents(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AsymmetricAutoencoderKL, "decode", decode)
        usual, phased = generate(tmp_path, wanted), generate(tmp_path, wanted, budget)
    assert with_mask
    assert all(with_mask)
    assert phased.memory is not None
    assert phased.memory.plan is not None
    assert phased.memory.plan.phases
    assert phased.image.tobytes() == usual.image.tobytes()


@pytest.fixture
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_tiling, "TILE", 64)
    monkeypatch.setattr(memory_tiling, "OVERLAP", 32)
    monkeypatch.setattr(memory_costs, "TILE", 64)


@pytest.mark.usefixtures("_small_tiles")
def test_an_autoencoder_works_in_tiles_where_it_has_to(tiny: Tiny, tmp_path: Path) -> None:
    wanted = request(tiny("sd1"), 128)
    cost = cost_of(tiny("sd1"), tmp_path, wanted)
    decode = next(stage for stage in cost.stages if stage.name == "decode")
    budget = cost.components["vae"].nbytes + decode.activations - 1
    tiled = generate(tmp_path, wanted, budget, memory_steps=("phases", "tiling"))
    assert tiled.memory is not None
    assert tiled.memory.plan is not None
    assert tiled.memory.plan.steps == ("phases", "tiling")
    assert any("tiles" in note for note in tiled.record.notes)
    assert tiled.image.size == (128, 128)


@pytest.mark.usefixtures("_small_tiles")
def test_tiles_are_blended_without_edges(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photograph through the starter's autoencoder, in tiles and whole."""
    parts = engine._describe(engine.checkpoint("starter"))
    vae = parts.sources["vae"].load().network
    photo = decode(sample_photographs()[0]).image.convert("RGB").resize((160, 128))
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() / 127.5 - 1
    unit = pixels_per_latent(vae)
    with torch.no_grad():
        whole = vae.encode(pixels).latent_dist.mode()
        latents = memory_tiling.tiled_call(vae, "encode", unit)(pixels).latent_dist.mode()
        assert latents.shape == whole.shape
        expected = vae.decode(whole, return_dict=False)[0]
        decoded = memory_tiling.tiled_call(vae, "decode", unit)(whole, return_dict=False)[0]
        monkeypatch.setattr(
            memory_tiling.SharedStatistics, "_normalize", staticmethod(nn.functional.group_norm)
        )
        alone = memory_tiling.tiled_call(vae, "decode", unit)(whole, return_dict=False)[0]
    assert decoded.shape == expected.shape
    shared, separate = (
        10 * torch.log10(1 / ((each - expected).clamp(-1, 1) / 2).square().mean())
        for each in (decoded, alone)
    )
    assert shared > separate + 3  # the tiles are normalized alike


@pytest.mark.parametrize(("step", "least", "most"), [("int8", 30, 90), ("bf16", 25, 90), ("disk", 138, 139)])
def test_smaller_weights(step: str, least: float, most: float, tmp_path: Path) -> None:
    """The starter with eight bits, in bf16, and with blocks from the disk, which changes nothing."""
    wanted = request("starter", 64, steps=4)
    cost = cost_of("starter", tmp_path, wanted)
    budget = largest_stage(cost) - 1000
    smaller = generate(tmp_path, wanted, budget, memory_steps=("phases", step))
    assert smaller.memory is not None
    assert smaller.memory.plan is not None
    assert step in smaller.memory.plan.steps
    assert least < psnr(generate(tmp_path, wanted), smaller) < most  # of equal pictures it is 138.1
    noted = any("To fit the memory" in note for note in smaller.record.notes)
    assert noted == (step != "disk")


def test_after_a_shortage_a_picture_is_begun_again_with_less(
    monkeypatch: pytest.MonkeyPatch, tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = request(tiny("flux"))
    usual = generate(tmp_path, wanted)
    decode_latents, failures = AutoencoderProxy.decode, iter([torch.OutOfMemoryError("out of memory")])

    def fail_once(self: AutoencoderProxy, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(self.network, memory_costs.CountedNetwork):
            for error in failures:
                raise error
        return decode_latents(self, *args, **kwargs)

    monkeypatch.setattr(AutoencoderProxy, "decode", fail_once)
    again = generate(tmp_path, wanted)
    assert again.image.tobytes() == usual.image.tobytes()
    assert any("ran short" in note for note in again.record.notes)
    assert "The memory ran short on cpu" in caplog.text


def test_where_nothing_is_left_to_do_the_error_says_so(
    monkeypatch: pytest.MonkeyPatch, tiny: Tiny, tmp_path: Path
) -> None:
    decode_latents = AutoencoderProxy.decode

    def fail(self: AutoencoderProxy, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.network, memory_costs.CountedNetwork):
            return decode_latents(self, *args, **kwargs)
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(AutoencoderProxy, "decode", fail)
    with pytest.raises(MemoryExhaustedError):
        generate(tmp_path, request(tiny("sd1")))


def test_what_was_measured_is_told(tmp_path: Path) -> None:
    memory = generate(tmp_path, request("starter")).memory
    assert memory is not None
    assert set(memory.measured) <= {"text encoders", "denoise", "decode"}  # nothing was encoded
    assert memory.to_dict()["measured"] == memory.measured
