"""Depth, normals and segmentation by networks of transformers that users have pulled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import gaussian_filter, sobel

from safelight.errors import ModelInvalidError
from safelight.generation.control.preprocessors.ade20k_colors import label_colors
from safelight.generation.control.preprocessors.filters import Floats, to_bytes
from safelight.generation.control.preprocessors.preprocessor import (
    Parameters,
    Pixels,
    PreprocessContext,
    Preprocessor,
)
from safelight.generation.control.preprocessors.pulled_model import NAME_PATTERN, ModelKind, to_unit
from safelight.plugins import Registry, hookimpl

DEPTH = ModelKind("depth", "AutoModelForDepthEstimation", "depth-anything/Depth-Anything-V2-Small-hf")
SEGMENTATION = ModelKind(
    "segmentation", "AutoModelForSemanticSegmentation", "openmmlab/upernet-convnext-small"
)
_DISTANCES = frozenset({"depth_pro", "glpn", "zoedepth"})
"""Types of models that predict distances; the others predict nearness, up to scale and shift."""
_LEAST_DISTANCE = 1e-3


class DepthParameters(Parameters):
    """Parameters of the depth."""

    model: str = Field(
        DEPTH.example,
        pattern=NAME_PATTERN,
        max_length=200,
        description="The model's name on the hub, or its folder's.",
    )


class NormalParameters(DepthParameters):
    """Parameters of the normals."""

    strength: float = Field(
        6.0, ge=0.1, le=50, allow_inf_nan=False, description="How steep the surfaces are taken to be."
    )
    background: float = Field(
        0.0, ge=0, le=1, allow_inf_nan=False, description="What is farther than this nearness is flat."
    )


class SegmentationParameters(Parameters):
    """Parameters of the segmentation."""

    model: str = Field(
        SEGMENTATION.example,
        pattern=NAME_PATTERN,
        max_length=200,
        description="The model's name on the hub, or its folder's; of the 150 labels of ADE20K.",
    )


def depth(pixels: Pixels, parameters: DepthParameters, context: PreprocessContext) -> NDArray[np.uint8]:
    """What is nearest is white, what is farthest black."""
    return to_bytes(nearness(pixels, parameters.model, context) * 255)


def normal(pixels: Pixels, parameters: NormalParameters, context: PreprocessContext) -> NDArray[np.uint8]:
    """The direction that surfaces face, from the depth: red to the left, green to the top, blue to the viewer."""
    near = nearness(pixels, parameters.model, context)
    smooth = gaussian_filter(near, 1.0)
    steps = np.stack([sobel(smooth, axis=1), sobel(smooth, axis=0)], axis=2) * (
        parameters.strength * min(near.shape) / 64
    )
    steps[near < parameters.background] = 0
    vectors = np.concatenate([steps, np.ones_like(near)[..., None]], axis=2)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    return to_bytes((vectors + 1) * 127.5)


def segmentation(
    pixels: Pixels, parameters: SegmentationParameters, context: PreprocessContext
) -> NDArray[np.uint8]:
    """Each pixel in the colour of its label.

    Raises:
        ModelInvalidError: The model has other labels than those of ADE20K.
    """
    colors = label_colors()
    with SEGMENTATION.lease(parameters.model, context) as network:
        context.check_not_stopped()
        if (count := network.config.num_labels) != len(colors):
            raise ModelInvalidError(
                f"{parameters.model} has {count} labels, not the {len(colors)} of ADE20K.",
                hint=f"A model that has them is {SEGMENTATION.example}.",
            )
        labels = network.predict(pixels, "logits").argmax(dim=0).numpy()
    found: NDArray[np.uint8] = colors[labels]
    return found


def nearness(pixels: Pixels, model: str, context: PreprocessContext) -> Floats:
    """How near each pixel is, float32 [height, width]: 0 the farthest, 1 the nearest.

    Args:
        pixels: The picture.
        model: The model's name.
        context: Folders and pool.
    """
    with DEPTH.lease(model, context) as network:
        context.check_not_stopped()
        predicted: Floats = network.predict(pixels, "predicted_depth")[0].numpy()
        if _predicts_distance(network.config):
            predicted = np.reciprocal(np.maximum(predicted, np.float32(_LEAST_DISTANCE)))
    return to_unit(predicted)


def _predicts_distance(config: Any) -> bool:
    return config.model_type in _DISTANCES or getattr(config, "depth_estimation_type", "relative") == "metric"


@hookimpl
def register_preprocessors(registry: Registry[Preprocessor]) -> None:
    """Register depth, normals and segmentation."""
    for each in (
        Preprocessor(
            "depth",
            "Depth",
            "What is nearest is white, by a model that you have pulled.",
            "Depth",
            DepthParameters,
            depth,
            available=DEPTH.is_installed,
            uses_torch=True,
        ),
        Preprocessor(
            "normal",
            "Normals",
            "The direction that surfaces face, from the depth by a model that you have pulled.",
            "NormalMap",
            NormalParameters,
            normal,
            available=DEPTH.is_installed,
            uses_torch=True,
        ),
        Preprocessor(
            "segmentation",
            "Segmentation",
            "What each pixel shows, in the colours of ADE20K, by a model that you have pulled.",
            "Segmentation",
            SegmentationParameters,
            segmentation,
            aliases=("seg",),
            available=SEGMENTATION.is_installed,
            uses_torch=True,
        ),
    ):
        registry.register(each.name, each)
