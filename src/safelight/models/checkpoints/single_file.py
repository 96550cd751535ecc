"""Identify a checkpoint in one .safetensors file, in the layout of the original Stable Diffusion code.

Such a file holds weights only. Its family is detected from keys and shapes; the component configs are bundled in
``configs/``, one diffusers folder without weights for each family, so that nothing has to be downloaded. This module
does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safelight.errors import CheckpointFamilyError, CheckpointInvalidError
from safelight.models import BUNDLED
from safelight.models.checkpoints.family_detection import detect_unet_variant
from safelight.models.checkpoints.safetensors_header import Header, TensorEntry, read_header
from safelight.models.families import FAMILIES, Family

UNET, VAE = "model.diffusion_model.", "first_stage_model."
CONFIGS = BUNDLED / "configs"

Prediction = Literal["epsilon", "v_prediction"]

_CLIP = "cond_stage_model.transformer."
_OPEN_CLIP = "cond_stage_model.model."
_XL_CLIP = "conditioner.embedders.0.transformer."
_XL_OPEN_CLIP = "conditioner.embedders.1.model."
_REFINER_OPEN_CLIP = "conditioner.embedders.0.model."

PREFIXES: Mapping[str, Mapping[str, str]] = {
    "sd1": {"unet": UNET, "vae": VAE, "text_encoder": _CLIP},
    "sd2": {"unet": UNET, "vae": VAE, "text_encoder": _OPEN_CLIP},
    "sdxl": {"unet": UNET, "vae": VAE, "text_encoder": _XL_CLIP, "text_encoder_2": _XL_OPEN_CLIP},
    "sdxl-refiner": {"unet": UNET, "vae": VAE, "text_encoder_2": _REFINER_OPEN_CLIP},
}
"""The prefix of each component's keys, by the name of the component configs."""

_TEXT_ENCODER_KEYS = {
    "sdxl": (_XL_OPEN_CLIP, _XL_CLIP),
    "sdxl-refiner": (_REFINER_OPEN_CLIP,),
    "sd2": (_OPEN_CLIP,),
    "sd1": (_CLIP,),
}
_TITLES = {
    "unet": "the U-Net",
    "vae": "the VAE",
    "text_encoder": "the text encoder",
    "text_encoder_2": "the OpenCLIP text encoder",
}
_OTHER_KINDS = {
    "lora_unet_": "a LoRA",
    "lora_te_": "a LoRA",
    "lora_A.weight": "a LoRA",
    "lora_down.weight": "a LoRA",
    "control_model.": "a ControlNet",
    "controlnet_cond_embedding": "a ControlNet",
    "emb_params": "a textual inversion",
    "double_blocks.": "a Flux-like transformer",
    "joint_blocks.": "a Stable Diffusion 3 transformer",
    "transformer_blocks.": "a transformer alone",
    "down_blocks.": "one component in diffusers' layout",
}
"""Other kinds of files, by a substring of their keys."""


@dataclass(frozen=True)
class SingleFile:
    """The contents of a single file.

    Args:
        family: Its family.
        config_name: The name of its component configs.
        prediction: What the U-Net predicts; None if the file does not state it and both are common (Stable
            Diffusion 2).
        zero_snr: The model was trained with zero terminal signal-to-noise ratio.
    """

    family: Family
    config_name: str
    prediction: Prediction | None
    zero_snr: bool


def identify_single_file(path: Path) -> SingleFile:
    """Identify a file's family and check that it has all components.

    Raises:
        CheckpointInvalidError: The file is damaged, or lacks a component.
        CheckpointFamilyError: Its family is not supported as a single file.
        PickleRefusedError, FileMissingError: The file is a pickle; it cannot be read.
    """
    header = read_header(path)
    if f"{UNET}input_blocks.0.0.weight" not in header.tensors:
        raise _unknown_file_error(path, header)
    configs = _detect_configs(header)
    _check_components(path, header, PREFIXES[configs])
    variant = detect_unet_variant(_input_channels(header), _output_channels(header))
    name = f"{configs}-{variant}" if variant else configs
    if name not in FAMILIES:
        raise CheckpointFamilyError(f"{path} is an inpainting model of a family that has none.")
    return SingleFile(FAMILIES[name], configs, _detect_prediction(configs, header), "ztsnr" in header.tensors)


def _detect_configs(header: Header) -> str:
    """The name of the component configs, by the text encoders' keys, or the U-Net's if there are no text encoders."""
    for configs, signs in _TEXT_ENCODER_KEYS.items():
        if any(key.startswith(signs) for key in header.tensors):
            return configs
    context = next(
        (t.shape[-1] for key, t in header.tensors.items() if key.endswith("attn2.to_k.weight")), 768
    )
    return {1024: "sd2", 2048: "sdxl", 1280: "sdxl-refiner"}.get(context, "sd1")


def _check_components(path: Path, header: Header, prefixes: Mapping[str, str]) -> None:
    missing = [
        _TITLES[part]
        for part, prefix in prefixes.items()
        if not any(key.startswith(prefix) for key in header.tensors)
    ]
    if missing:
        raise CheckpointInvalidError(
            f"{path} lacks {' and '.join(missing)}.",
            hint="Give a file with all its components, or a diffusers folder.",
        )


def _input_channels(header: Header) -> int:
    return _dimension(header.tensors[f"{UNET}input_blocks.0.0.weight"], 1)


def _output_channels(header: Header) -> int:
    last = header.tensors.get(f"{UNET}out.2.weight")
    return _dimension(last, 0) if last else 4


def _dimension(tensor: TensorEntry, axis: int) -> int:
    return tensor.shape[axis] if len(tensor.shape) > axis else 0


def _detect_prediction(configs: str, header: Header) -> Prediction | None:
    """What the U-Net predicts, by the marker key of v-prediction fine-tunes or Stability AI's model specification."""
    if "edm_mean" in header.tensors:
        raise CheckpointFamilyError(
            "The file is an EDM model (Playground 2.5), which Safelight does not support."
        )
    declared = header.metadata.get("modelspec.prediction_type", "").lower()
    if "v_pred" in header.tensors or declared in ("v", "v_prediction"):
        return "v_prediction"
    return None if configs == "sd2" and declared != "epsilon" else "epsilon"


def _unknown_file_error(path: Path, header: Header) -> CheckpointFamilyError:
    keys = " ".join(header.tensors)
    what = next((title for part, title in _OTHER_KINDS.items() if part in keys), None)
    return CheckpointFamilyError(
        f"{path} is {what}, not a whole checkpoint."
        if what
        else f"{path} holds no checkpoint that is known.",
        hint="Single files are opened for Stable Diffusion 1, 2 and XL; give other families as diffusers folders.",
    )
