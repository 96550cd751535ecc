"""Variants are told by configs: each that tiny checkpoints do not have, and what must not be taken for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safelight.errors import CheckpointFamilyError
from safelight.models.checkpoints.diffusers_layout import ComponentFiles, DiffusersFolder
from safelight.models.checkpoints.family_detection import detect_folder

XL, TRAILING = (
    "StableDiffusionXLPipeline",
    {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"},
)


def folder(
    root: Path, pipeline: str, options: dict[str, Any] | None = None, **configs: Any
) -> DiffusersFolder:
    """A diffusers folder with configs and no weights."""
    components = {}
    for name, config in ({"text_encoder": {}} | configs).items():
        (root / name).mkdir()
        file = "scheduler_config.json" if name == "scheduler" else "config.json"
        (root / name / file).write_text(json.dumps(config))
        components[name] = ComponentFiles(name, "diffusers", "", root / name)
    return DiffusersFolder(root, pipeline, options or {}, components)


@pytest.mark.parametrize(
    ("pipeline", "configs", "family"),
    [
        (XL, {"scheduler": TRAILING, "unet": {"sample_size": 64}}, "sdxl-turbo"),
        (XL, {"scheduler": TRAILING, "unet": {"sample_size": 128}}, "sdxl-lightning"),
        (
            XL,
            {"scheduler": TRAILING | {"prediction_type": "v_prediction"}, "unet": {"sample_size": 128}},
            "sdxl",
        ),
        (XL, {"scheduler": {"_class_name": "EDMEulerScheduler"}, "unet": {}}, "sdxl-playground"),
        ("StableDiffusionXLPAGPipeline", {"scheduler": {}, "unet": {}}, "sdxl"),
        ("StableDiffusion3Pipeline", {"transformer": {}}, "sd3"),
        ("StableDiffusion3Pipeline", {"transformer": {"qk_norm": "rms_norm"}}, "sd3-35-large"),
        (
            "StableDiffusion3Pipeline",
            {"transformer": {"qk_norm": "rms_norm", "dual_attention_layers": [0, 1]}},
            "sd3-35-medium",
        ),
        ("FluxPipeline", {"transformer": {"guidance_embeds": False}}, "flux-schnell"),
        ("FluxKontextInpaintPipeline", {"transformer": {"guidance_embeds": True}}, "flux-kontext"),
        ("QwenImageEditInpaintPipeline", {}, "qwen-image-edit"),
        ("QwenImageEditPlusPipeline", {}, "qwen-image-edit-plus"),
        ("StableDiffusionXLInstructPix2PixPipeline", {"unet": {"in_channels": 8}}, "sdxl-instruct-pix2pix"),
        ("StableDiffusionXLPipeline", {"unet": {"in_channels": 8}}, "sdxl-instruct-pix2pix"),
        (
            "HiDreamImagePipeline",
            {"scheduler": {"_class_name": "FlowMatchLCMScheduler", "shift": 6.0}},
            "hidream-dev",
        ),
        ("HiDreamImagePipeline", {"scheduler": {"_class_name": "UniPCMultistepScheduler"}}, "hidream"),
        ("HunyuanImagePipeline", {"transformer": {"guidance_embeds": True}}, "hunyuan-image-distilled"),
        ("ZImagePipeline", {"scheduler": {"shift": 3.0}}, "z-image-turbo"),
        ("PixArtAlphaPipeline", {"scheduler": {"_class_name": "LCMScheduler"}}, "pixart-alpha-lcm"),
    ],
)
def test_a_variant_is_told_by_its_configs(
    pipeline: str, configs: dict[str, Any], family: str, tmp_path: Path
) -> None:
    assert detect_folder(folder(tmp_path, pipeline, **configs)).name == family


def test_a_distilled_krea_says_so_in_its_index(tmp_path: Path) -> None:
    assert detect_folder(folder(tmp_path, "Krea2Pipeline", {"is_distilled": True})).name == "krea2-distilled"


@pytest.mark.parametrize(
    "pipeline", ["StableCascadeCombinedPipeline", "OmniGenPipeline", "CogView3PlusPipeline"]
)
def test_families_that_are_not_supported_are_refused(pipeline: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointFamilyError, match=f"is for {pipeline}, which Safelight does not support"):
        detect_folder(folder(tmp_path, pipeline))
