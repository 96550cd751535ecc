"""The packaged few-step LoRA of the starter: small, whole, and as good in four steps as the starter in twenty."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import torch

from safelight.generation.engine import Engine
from safelight.generation.request import GenerationRequest
from safelight.models.adapters.adapter_names import find_adapter
from safelight.models.adapters.loading import load_adapter
from safelight.models.adapters.packaged import FEW_STEPS, adapter_folders
from safelight.models.checkpoints.discovery import STARTER_PATH
from safelight.models.digests import file_digest
from safelight.models.families import FAMILIES
from safelight.models.inventory.weights_file import describe_weights_file
from safelight.settings import Settings
from safelight.studio.starter_judge import StarterJudge


def test_it_says_what_it_is(tmp_path: Path) -> None:
    path = find_adapter(FEW_STEPS, adapter_folders(tmp_path, ()), "LoRA").path
    assert path.stat().st_size < 4.1e6
    described = describe_weights_file(path)
    assert described.found.kind == "LoRA"
    assert described.metadata["modelspec.license"] == "Apache-2.0"
    weights = STARTER_PATH / "unet" / "diffusion_pytorch_model.safetensors"
    assert described.metadata["ss_new_sd_model_hash"] == file_digest(weights, None)


def test_four_steps_without_guidance_show_the_right_things_in_the_right_styles(tmp_path: Path) -> None:
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        STARTER_PATH, dtype=torch.float32, local_files_only=True, safety_checker=None
    )
    path = find_adapter(FEW_STEPS, adapter_folders(tmp_path, ()), "LoRA").path
    loaded = load_adapter(path, {"unet": pipeline.unet}, FAMILIES["sd1-starter"], file_digest(path, None))
    assert (loaded.matched, loaded.unmatched) == (129, ())
    parameters = dict(pipeline.unet.named_parameters())
    with torch.no_grad():
        for name, change in loaded.changes["unet"].items():
            parameters[name] += change.delta(parameters[name], 1.0)
    pipeline.scheduler = diffusers.TCDScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    judge = StarterJudge()
    images = pipeline(
        judge.captions,
        num_inference_steps=4,
        guidance_scale=1.0,
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(judge.captions))],
        output_type="np",
    ).images
    score = judge.score((images * 255).round().astype(np.uint8))
    assert score.right_thing >= 0.9
    assert score.right_thing_and_style >= 0.85


def test_the_level_fast_draws_with_it(tmp_path: Path) -> None:
    engine = Engine(Settings(home=tmp_path, device="cpu", checkpoint="starter", generation_backend="eager"))
    fields = {"prompt": "a red apple, 3d style", "seed": 7}
    (fast,) = engine.generate(GenerationRequest.parse(**fields, quality="fast"))
    record = fast.record
    assert (record.steps, record.sampler, record.eta, record.guidance_scale) == (4, "TCD", 0, 1)
    assert [adapter.name for adapter in record.adapters or ()] == [FEW_STEPS]
    (again,) = engine.generate(record.to_request())
    assert np.array_equal(np.asarray(fast.image), np.asarray(again.image))
    assert again.record == record
    (usual,) = engine.generate(GenerationRequest.parse(**fields, quality="fast", steps=6))
    assert (usual.record.sampler, usual.record.adapters or None) == ("DPM++ 2M", None)
