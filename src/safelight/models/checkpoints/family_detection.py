"""Detect a checkpoint's family and variant from class names, configs, keys and shapes, never from its name.

Stable Diffusion 2 differs from 1 in its text encoder: OpenCLIP's uses GELU where OpenAI's CLIP uses its quick
approximation. Distilled variants have the same weight shapes as their family, so they are detected by what their
authors set in the scheduler's config: trailing timesteps for the Turbo models, a smaller shift for Z-Image Turbo,
LCMScheduler for merged LCM weights. A single file has no scheduler config and is treated like its family.
"""

from __future__ import annotations

from collections.abc import Mapping

from safelight.errors import CheckpointFamilyError
from safelight.models.checkpoints.diffusers_layout import DiffusersFolder
from safelight.models.families import FAMILIES, Family

_LCM_CLASSES = {"LatentConsistencyModelPipeline": "sd1", "LatentConsistencyModelImg2ImgPipeline": "sd1"}


def detect_folder(folder: DiffusersFolder) -> Family:
    """Detect the family and variant of a diffusers folder.

    Raises:
        CheckpointFamilyError: No known family has its pipeline class.
        CheckpointInvalidError: A config that is needed to decide is missing or damaged.
    """
    # Folders that were saved from a pipeline with perturbed-attention guidance have the same components.
    key = _keys_by_pipeline().get(folder.pipeline_class.replace("PAG", ""))
    if key is None:
        raise CheckpointFamilyError(
            f"{folder.path} is for {folder.pipeline_class}, which Safelight does not support."
        )
    if key in ("sd1", "sd2"):
        key = "sd2" if _config(folder, "text_encoder").get("hidden_act") == "gelu" else "sd1"
    variant = _variant(key, folder)
    return FAMILIES[f"{key}-{variant}" if variant else key]


def detect_unet_variant(in_channels: int, out_channels: int) -> str:
    """The variant that matches a U-Net's channels: "" or "inpaint" (latents, masked latents, mask).

    Raises:
        CheckpointFamilyError: The channels match neither.
    """
    if in_channels == out_channels:
        return ""
    if in_channels == 2 * out_channels + 1:
        return "inpaint"
    raise CheckpointFamilyError(
        f"The U-Net takes {in_channels} channels and gives {out_channels}: neither a plain nor an inpainting model."
    )


def _keys_by_pipeline() -> Mapping[str, str]:
    """Family keys by pipeline class."""
    found = {name: family.key for family in FAMILIES.values() for name in family.pipelines.values()}
    return found | _LCM_CLASSES


def _variant(key: str, folder: DiffusersFolder) -> str:
    if key in ("sd1", "sd2", "sdxl"):
        return _unet_family_variant(key, folder)
    if key == "flux":
        return _flux_variant(folder)
    if key in ("flux2-klein", "krea2"):
        return "distilled" if folder.options.get("is_distilled") else ""
    if key == "hunyuan-image":
        return "distilled" if _config(folder, "transformer").get("guidance_embeds") else ""
    if key == "hidream":
        return _hidream_variant(_config(folder, "scheduler"))
    if key == "z-image":
        return "turbo" if _number(_config(folder, "scheduler"), "shift") <= 3 else ""
    return ""


def _unet_family_variant(key: str, folder: DiffusersFolder) -> str:
    unet = _config(folder, "unet")
    variant = detect_unet_variant(int(_number(unet, "in_channels", 4)), int(_number(unet, "out_channels", 4)))
    if not variant and key == "sdxl" and "text_encoder" not in folder.components:
        variant = "refiner"
    return variant or _distilled_variant(key, folder, unet)


def _distilled_variant(key: str, folder: DiffusersFolder, unet: Mapping[str, object]) -> str:
    scheduler = _config(folder, "scheduler")
    trailing = scheduler.get("timestep_spacing") == "trailing"
    if unet.get("time_cond_proj_dim") and f"{key}-lcm" in FAMILIES:
        return "lcm"
    if scheduler.get("_class_name") == "LCMScheduler" and f"{key}-lcm-cfg" in FAMILIES:
        return "lcm-cfg"
    if trailing and scheduler.get("prediction_type", "epsilon") == "epsilon" and f"{key}-turbo" in FAMILIES:
        return "turbo"
    return ""


def _flux_variant(folder: DiffusersFolder) -> str:
    if folder.pipeline_class == "FluxFillPipeline":
        return "fill"
    return "" if _config(folder, "transformer").get("guidance_embeds") else "schnell"


def _hidream_variant(scheduler: Mapping[str, object]) -> str:
    """The distilled ones have an LCM or an Euler solver; the shift of Dev is 6, that of Fast 3."""
    if str(scheduler.get("_class_name")).startswith("UniPC") or scheduler.get("use_dynamic_shifting"):
        return ""
    return "dev" if _number(scheduler, "shift") > 4 else "fast"


def _config(folder: DiffusersFolder, component: str) -> Mapping[str, object]:
    return folder.components[component].config() if component in folder.components else {}


def _number(config: Mapping[str, object], name: str, default: float = 1.0) -> float:
    value = config.get(name, default)
    return float(value) if isinstance(value, int | float) else default
