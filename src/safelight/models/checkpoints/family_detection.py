"""Detect a checkpoint's family and variant from class names, configs, keys and shapes, never from its name.

Stable Diffusion 2 differs from 1 in its text encoder: OpenCLIP's uses GELU where OpenAI's CLIP uses its quick
approximation. Distilled variants have the same weight shapes as their family, so they are detected by what their
authors set in the scheduler's config: trailing timesteps for the Turbo and Lightning models, which differ by the size
they were trained on; a smaller shift for Z-Image Turbo; LCMScheduler and TCDScheduler for LCM and Hyper-SD weights. A
single file has no scheduler config and is treated like its family; so are Stable Diffusion 3.5 Large Turbo,
ERNIE-Image Turbo and Chroma Flash, whose configs are those of their families.
"""

from __future__ import annotations

from collections.abc import Mapping

from safelight.errors import CheckpointFamilyError
from safelight.models.checkpoints.diffusers_layout import DiffusersFolder
from safelight.models.families import FAMILIES, Family

_OTHER_CLASSES = {
    "LatentConsistencyModelPipeline": "sd1",
    "LatentConsistencyModelImg2ImgPipeline": "sd1",
    "FluxKontextPipeline": "flux",
    "FluxKontextInpaintPipeline": "flux",
    "QwenImageEditPipeline": "qwen-image",
    "QwenImageEditPlusPipeline": "qwen-image",
    "QwenImageEditInpaintPipeline": "qwen-image",
}
"""Pipelines whose checkpoints have the networks of a family, which generates with pipelines of its own."""


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
    """The variant that matches a U-Net's channels: "", "inpaint" (latents, masked latents, mask) or "instruct-pix2pix".

    Raises:
        CheckpointFamilyError: The channels match none.
    """
    if in_channels == out_channels:
        return ""
    if in_channels == 2 * out_channels:
        return "instruct-pix2pix"
    if in_channels == 2 * out_channels + 1:
        return "inpaint"
    raise CheckpointFamilyError(
        f"The U-Net takes {in_channels} channels and gives {out_channels}: neither a plain nor an inpainting model."
    )


def _keys_by_pipeline() -> Mapping[str, str]:
    """Family keys by pipeline class."""
    found = {name: family.key for family in FAMILIES.values() for name in family.pipelines.values()}
    return found | _OTHER_CLASSES


def _variant(key: str, folder: DiffusersFolder) -> str:
    if key in ("sd1", "sd2", "sdxl"):
        return _unet_family_variant(key, folder)
    if key == "flux":
        return _flux_variant(folder)
    if key == "qwen-image":
        return _qwen_variant(folder.pipeline_class)
    if key == "sd3":
        return _sd3_variant(_config(folder, "transformer"))
    if key == "pixart-alpha":
        return "lcm" if _config(folder, "scheduler").get("_class_name") == "LCMScheduler" else ""
    if key in ("flux2-klein", "krea2"):
        return "distilled" if folder.options.get("is_distilled") else ""
    if key == "hunyuan-image":
        return "distilled" if _config(folder, "transformer").get("guidance_embeds") else ""
    if key == "hidream":
        return _hidream_variant(_config(folder, "scheduler"))
    if key == "z-image":
        return _z_image_variant(folder)
    return ""


def _unet_family_variant(key: str, folder: DiffusersFolder) -> str:
    unet = _config(folder, "unet")
    variant = detect_unet_variant(int(_number(unet, "in_channels", 4)), int(_number(unet, "out_channels", 4)))
    if not variant and key == "sdxl" and "text_encoder" not in folder.components:
        variant = "refiner"
    return variant or _distilled_variant(key, folder, unet)


def _distilled_variant(key: str, folder: DiffusersFolder, unet: Mapping[str, object]) -> str:
    scheduler = _config(folder, "scheduler")
    solver = str(scheduler.get("_class_name"))
    trailing = scheduler.get("timestep_spacing") == "trailing"
    epsilon = scheduler.get("prediction_type", "epsilon") == "epsilon"
    candidates = {
        "lcm": bool(unet.get("time_cond_proj_dim")),
        "lcm-cfg": solver == "LCMScheduler",
        "hyper": solver == "TCDScheduler",
        "playground": solver.startswith("EDM"),
        "lightning": trailing and epsilon and _number(unet, "sample_size") > 64,
        "turbo": trailing and epsilon,
    }
    return next((name for name, fits in candidates.items() if fits and f"{key}-{name}" in FAMILIES), "")


def _flux_variant(folder: DiffusersFolder) -> str:
    if folder.pipeline_class == "FluxFillPipeline":
        return "fill"
    if "Kontext" in folder.pipeline_class:
        return "kontext"
    return "" if _config(folder, "transformer").get("guidance_embeds") else "schnell"


def _qwen_variant(pipeline_class: str) -> str:
    if "EditPlus" in pipeline_class:
        return "edit-plus"
    return "edit" if "Edit" in pipeline_class else ""


def _z_image_variant(folder: DiffusersFolder) -> str:
    if folder.pipeline_class == "ZImageOmniPipeline":
        return "omni"
    return "turbo" if _number(_config(folder, "scheduler"), "shift") <= 3 else ""


def _sd3_variant(transformer: Mapping[str, object]) -> str:
    """Only 3.5 normalizes queries and keys; only Medium has layers with two attentions."""
    if not transformer.get("qk_norm"):
        return ""
    return "35-medium" if transformer.get("dual_attention_layers") else "35-large"


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
