"""What a trained file says about itself, by the names of kohya's trainer and Stability AI's model specification.

Nothing depends on the time or the machine, so that the same training writes the same file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from safelight.generation.training.embedding_training import EmbeddingOptions
from safelight.generation.training.examples import Example, count_tags
from safelight.generation.training.lora_training import LoraOptions
from safelight.generation.training.trainer import TrainingOptions, TrainingResult
from safelight.models.checkpoints.discovery import Checkpoint

_BASES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "sd1": ("sd_v1", "stable-diffusion-v1"),
        "sd2": ("sd_v2", "stable-diffusion-v2-512"),
        "sdxl": ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
    }
)
"""A family's names: kohya's, and the specification's."""


def describe_training(
    name: str,
    checkpoint: Checkpoint,
    options: TrainingOptions,
    trained: TrainingResult,
    examples: Sequence[Example],
    trigger: str = "",
) -> dict[str, str]:
    """The metadata of a file.

    Args:
        name: Its name.
        checkpoint: What it was trained for.
        options: How it was trained.
        trained: The result.
        examples: What it was trained on.
        trigger: The words that all captions have.
    """
    base, architecture = _BASES[checkpoint.family.key]
    folder = examples[0].path.parent.name
    entries: dict[str, object] = {
        "ss_output_name": name,
        "ss_base_model_version": base,
        "ss_sd_model_name": checkpoint.name,
        "ss_v2": checkpoint.family.key == "sd2",
        "ss_resolution": (trained.resolution, trained.resolution),
        "ss_num_train_images": len(examples),
        "ss_steps": trained.steps,
        "ss_max_train_steps": options.steps,
        "ss_total_batch_size": options.batch,
        "ss_learning_rate": options.learning_rate,
        "ss_lr_scheduler": "cosine",
        "ss_optimizer": "torch.optim.adamw.AdamW",
        "ss_caption_dropout_rate": options.caption_dropout,
        "ss_min_snr_gamma": options.min_snr or None,
        "ss_mixed_precision": "no" if options.precision == "fp32" else options.precision,
        "ss_gradient_checkpointing": options.gradient_checkpointing,
        "ss_seed": options.seed,
        "ss_dataset_dirs": json.dumps({folder: {"n_repeats": 1, "img_count": len(examples)}}),
        "ss_tag_frequency": json.dumps({folder: count_tags(examples)}, ensure_ascii=False),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.implementation": "diffusers",
        "modelspec.title": name,
        "modelspec.resolution": f"{trained.resolution}x{trained.resolution}",
    }
    if isinstance(options, LoraOptions):
        entries |= {
            "ss_network_module": "networks.lora",
            "ss_network_dim": options.rank,
            "ss_network_alpha": options.rank if options.alpha is None else options.alpha,
            "ss_unet_lr": options.learning_rate,
            "modelspec.architecture": f"{architecture}/lora",
        }
    elif isinstance(options, EmbeddingOptions):
        entries |= {
            "ss_num_vectors_per_token": options.vectors,
            "ss_init_word": options.words,
            "modelspec.architecture": f"{architecture}/textual-inversion",
        }
    if trigger:
        entries["modelspec.trigger_phrase"] = trigger
    return {key: str(value) for key, value in entries.items()}
