"""Control pictures, and what diffusers' own pipelines draw from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image
from tests.generation.conftest import SIDE

from safelight.generation.solvers.samplers import build_scheduler, prediction_process_of, resolve_sampler


def picture(seed: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Squares of random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels.repeat(8, 0).repeat(8, 1))


def reference(
    folder: Path,
    pipeline: str,
    networks: Any,
    *,
    sampler: str = "DPM++ 2M Karras",
    seed: int = 7,
    **call: Any,
) -> np.ndarray:
    """The picture of diffusers' own pipeline, uint8 [height, width, 3].

    Args:
        folder: The checkpoint.
        pipeline: The class of the pipeline.
        networks: Its control networks.
        sampler: The sampler.
        seed: Of the noise.
        call: Further arguments of its call.
    """
    more = {"safety_checker": None} if pipeline.startswith("StableDiffusionControl") else {}
    pipe = getattr(diffusers, pipeline).from_pretrained(
        folder, controlnet=networks, local_files_only=True, **more
    )
    config = dict(pipe.scheduler.config) | {"_class_name": type(pipe.scheduler).__name__}
    choice = resolve_sampler(sampler, None, prediction_process_of(config))
    pipe.scheduler = build_scheduler(choice, config, [seed])
    pipe.set_progress_bar_config(disable=True)
    usual = {"prompt": "a red cat", "num_inference_steps": 3, "output_type": "np"}
    drawn = pipe(**usual | {"generator": torch.Generator().manual_seed(seed)} | call).images[0]
    return np.asarray((drawn * 255).round(), dtype=np.uint8)
