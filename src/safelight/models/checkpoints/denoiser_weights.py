"""The weights of a checkpoint's denoiser as they lie in its files, for networks that are made of it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from safelight.models.checkpoints.diffusers_layout import read_folder
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.single_file_loader import PartLoader
from safelight.models.checkpoints.weights_reader import read_tensors


def read_denoiser(checkpoint: Checkpoint) -> Mapping[str, Tensor]:
    """The tensors of a checkpoint's denoiser, by diffusers' names.

    Plain ones are views of its files, quantized ones are packed; see ``weights_reader.read_tensors``. Called by one
    thread at a time.

    Raises:
        CheckpointInvalidError, PickleRefusedError, FileMissingError: They cannot be read.
    """
    name = checkpoint.family.denoiser
    for part in checkpoint.parts:
        if part.component == name:
            return PartLoader(part).tensors()
    files = read_folder(checkpoint.path).components[name]
    return {key: tensor for path in files.weights for key, tensor in read_tensors(path).items()}
