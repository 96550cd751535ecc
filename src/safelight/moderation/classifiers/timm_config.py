"""Read a timm classifier's folder: ``config.json`` with label names, and ``model.safetensors``.

The layout is the one timm writes to the hub; Marqo/nsfw-image-detection-384 is the reference. This module does not
import torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from safelight.atomic_write import sha256_of
from safelight.errors import DigestMismatchError, FileMissingError, ModelInvalidError, PickleRefusedError
from safelight.models.classifiers.classifier_store import expected_digests
from safelight.moderation.classifiers.preprocess import Preprocessing, Resize

CONFIG = "config.json"
WEIGHTS = "model.safetensors"

_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_CROP_MODES: dict[str, Resize] = {"center": "short_side", "squash": "squash"}


@dataclass(frozen=True)
class TimmConfig:
    """The configuration of a timm classifier.

    Args:
        folder: The classifier's folder.
        architecture: timm's name of the network.
        labels: Label names in the order of the outputs.
        side: Height and width of the input, in pixels.
        preprocessing: How images are resized and cropped.
        mean: Mean of each channel, in 0..1, which is subtracted.
        std: Standard deviation of each channel, which the result is divided by.
        digest: SHA-256 over the configuration and the weights, in hexadecimal.
    """

    folder: Path
    architecture: str
    labels: tuple[str, ...]
    side: int
    preprocessing: Preprocessing
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    digest: str

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return self.folder / WEIGHTS


def read_timm_config(folder: Path) -> TimmConfig:
    """Read and check a classifier's folder without building the network.

    The files of a pulled classifier must be unchanged since it was pulled: with two labels swapped in ``config.json``,
    everything unsafe would be allowed.

    Raises:
        DigestMismatchError: A file of a pulled classifier has changed.
        FileMissingError: The folder or one of its two files does not exist.
        PickleRefusedError: The weights exist only as a pickle.
        ModelInvalidError: A file is damaged, or a field is missing or contradicts another.
    """
    if folder.suffix in _PICKLE_SUFFIXES:
        raise PickleRefusedError(f"{folder.name} is a pickle file.")
    if not folder.is_dir():
        raise FileMissingError(f"There is no folder {str(folder)!r}.")
    weights = _find_weights(folder)
    config_bytes = _read_config(folder / CONFIG)
    digests = {CONFIG: hashlib.sha256(config_bytes).hexdigest(), WEIGHTS: _sha256(weights)}
    _check_digests(folder, digests)  # before their content is used
    _check_weights(weights)
    config = _parse_object(config_bytes)
    try:
        return _parse_config(folder, config, _combine_digests(digests))
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ModelInvalidError(f"{CONFIG} lacks a field or has one of the wrong kind: {error!r}.") from error


def _find_weights(folder: Path) -> Path:
    weights = folder / WEIGHTS
    if not weights.is_file():
        if pickles := sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLE_SUFFIXES):
            raise PickleRefusedError(f"{folder.name} has its weights only as {', '.join(pickles)}.")
        raise FileMissingError(f"{folder.name} has no {WEIGHTS}.")
    return weights


def _check_weights(weights: Path) -> None:
    try:
        with safe_open(weights, framework="np") as tensors:
            tensors.keys()
    except (SafetensorError, OSError) as error:
        raise ModelInvalidError(f"{weights.name} is not a whole safetensors file: {error}.") from error


def _read_config(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileMissingError(f"{path.parent.name} has no {CONFIG}.") from error


def _check_digests(folder: Path, digests: dict[str, str]) -> None:
    """Check that a pulled classifier's files are unchanged."""
    expected = expected_digests(folder)
    for file, found in digests.items() if expected else ():
        if expected.get(file) != found:
            raise DigestMismatchError(
                f"{folder / file} has SHA-256 {found}, not {expected.get(file)}, which it had when it was pulled."
            )


def _parse_object(data: bytes) -> dict[str, Any]:
    try:
        config = json.loads(data)
    except ValueError as error:
        raise ModelInvalidError(f"{CONFIG} is not JSON: {error}.") from error
    if not isinstance(config, dict):
        raise ModelInvalidError(f"{CONFIG} is not a JSON object.")
    return config


def _parse_config(folder: Path, config: dict[str, Any], digest: str) -> TimmConfig:
    pretrained = config.get("pretrained_cfg") or {}
    if not isinstance(pretrained, dict):
        raise ModelInvalidError(f"pretrained_cfg in {CONFIG} is not an object.")
    side = _square_side(pretrained.get("input_size", [3, 224, 224]))
    crop_mode = pretrained.get("crop_mode", "center")
    if crop_mode not in _CROP_MODES:
        raise ModelInvalidError(f"crop_mode {crop_mode!r} is not known; there are {', '.join(_CROP_MODES)}.")
    preprocessing = Preprocessing(
        resize=_CROP_MODES[crop_mode],
        resized=math.floor(side / float(pretrained.get("crop_pct") or 0.875)),
        crop=side,
        interpolation=pretrained.get("interpolation") or "bicubic",
    )
    return TimmConfig(
        folder=folder,
        architecture=str(config["architecture"]),
        labels=_parse_labels(config, pretrained),
        side=side,
        preprocessing=preprocessing,
        mean=_to_triple(pretrained.get("mean", _IMAGENET_MEAN)),
        std=_to_triple(pretrained.get("std", _IMAGENET_STD)),
        digest=digest,
    )


def _parse_labels(config: dict[str, Any], pretrained: dict[str, Any]) -> tuple[str, ...]:
    """Return the label names after checking them against the number of classes.

    Only the outer ``num_classes`` is used: the inner one is often still that of the backbone's pretraining.
    """
    names = config.get("label_names") or pretrained.get("label_names")
    if not names:
        raise ModelInvalidError(
            f"{CONFIG} has no label_names, and outputs without names cannot be judged by."
        )
    if not isinstance(names, list):
        raise ModelInvalidError(f"label_names in {CONFIG} is not a list.")
    labels = tuple(map(str, names))
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise ModelInvalidError(f"label_names must be two or more different names, not {list(labels)}.")
    if int(config.get("num_classes", len(labels))) != len(labels):
        raise ModelInvalidError(f"{len(labels)} label_names for num_classes = {config['num_classes']}.")
    return labels


def _square_side(input_size: Any) -> int:
    channels, height, width = map(int, input_size)
    if channels != 3 or height != width or height < 1:
        raise ModelInvalidError(f"The input must be square RGB, not {list(input_size)}.")
    return height


def _to_triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise ModelInvalidError(f"{path.name} cannot be read: {error.strerror or error}.") from error


def _combine_digests(digests: dict[str, str]) -> str:
    """Combine the digests of the configuration and the weights into one."""
    return hashlib.sha256(bytes.fromhex(digests[CONFIG] + digests[WEIGHTS])).hexdigest()
