"""Networks of transformers that users have pulled: found in folders, read from safetensors, never downloaded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight.errors import ControlModelMissingError, ModelInvalidError, NonFiniteError
from safelight.generation.control.preprocessors.preprocessor import Pixels, PreprocessContext
from safelight.models.digests import file_digest
from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.runtime.devices import find_device
from safelight.settings import Settings

if TYPE_CHECKING:
    import torch

FOLDER = "preprocessors"
"""The folder of the data directory that has them, as NAME or OWNER/NAME."""
NAME_PATTERN = r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$"
"""A folder's name, or owner and name as on the hub; never a path."""


@dataclass(frozen=True)
class DenseNetwork:
    """A network that predicts something for each pixel.

    Args:
        processor: What prepares pictures for it.
        network: The torch module, in evaluation mode on its device.
    """

    processor: Any
    network: Any

    @property
    def config(self) -> Any:
        """The network's configuration."""
        return self.network.config

    def predict(self, pixels: Pixels, output: str) -> torch.Tensor:
        """An output for one picture, as large as the picture: float32 [channels, height, width], on the CPU.

        Args:
            pixels: The picture.
            output: The output's name; without a channel axis it counts as one channel.

        Raises:
            NonFiniteError: It has numbers that are not finite.
        """
        import torch

        inputs = self.processor(images=Image.fromarray(pixels), return_tensors="pt")
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            found = getattr(self.network(pixel_values=inputs["pixel_values"].to(device)), output)
            planes = found.float().cpu().reshape(1, -1, *found.shape[-2:])
            full = torch.nn.functional.interpolate(
                planes, size=pixels.shape[:2], mode="bilinear", align_corners=False
            )
        if not torch.isfinite(full).all():
            raise NonFiniteError("The network of the preprocessor gave numbers that are not finite.")
        return full[0]


@dataclass(frozen=True)
class ModelKind:
    """A kind of such networks.

    Args:
        task: What they do, for messages.
        auto_class: The class of transformers that loads them.
        example: A model that can be pulled.
        processor_class: The class of transformers that loads what prepares pictures.
    """

    task: str
    auto_class: str
    example: str
    processor_class: str = "AutoImageProcessor"

    def find(self, name: str, settings: Settings) -> Path | None:
        """The folder of a model; None if there is none.

        Args:
            name: A name that matches ``NAME_PATTERN``.
            settings: The folders.
        """
        folders = (settings.home / FOLDER, *settings.current_model_folders)
        found = next((path for each in folders if (path := each / name / "config.json").is_file()), None)
        return found.parent if found else _cached(name)

    def is_installed(self, settings: Settings) -> bool:
        """Whether the model that is taken where none is named is on this machine."""
        return self.find(self.example, settings) is not None

    @contextmanager
    def lease(self, name: str, context: PreprocessContext) -> Iterator[DenseNetwork]:
        """A network, for use within the block; it stays in the pool as long as the memory budget allows.

        Raises:
            ControlModelMissingError: It is not on this machine.
            ModelInvalidError: It cannot be used for this.
            MemoryBudgetError: It does not fit the pool.
        """
        folder = self.find(name, context.settings)
        weights = sorted(folder.glob("*.safetensors")) if folder else []
        if folder is None or not weights:
            raise ControlModelMissingError(
                f"There is no model {name} for {self.task} on this machine.",
                hint=f"Get it with: hf download {name}, or put its folder into {FOLDER}/ in the data directory.",
            )
        device = find_device(context.settings.device).torch_device
        if context.pool is None:
            yield self._load(folder, device)
            return
        digest = sha256(self.auto_class.encode() + (folder / "config.json").read_bytes())
        for file in weights:
            digest.update(file_digest(file, context.settings.cache_folder).encode())
        key, size = ComponentKey(digest.hexdigest(), "fp32"), sum(file.stat().st_size for file in weights)

        def load() -> Component:
            network = self._load(folder, device)
            nbytes = sum(each.nbytes for each in network.network.parameters())
            return Component(key, network, nbytes, patchable=False)

        with context.pool.lease([ComponentSource(key, size, load)]) as (component,):
            yield component.network

    def _load(self, folder: Path, device: torch.device) -> DenseNetwork:
        import torch
        import transformers

        transformers.utils.logging.set_verbosity(logging.ERROR)  # what is wrong arrives as an exception
        transformers.utils.logging.disable_progress_bar()
        try:
            processor = getattr(transformers, self.processor_class).from_pretrained(
                folder, local_files_only=True
            )
            network = getattr(transformers, self.auto_class).from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelInvalidError(
                f"{folder.name} cannot be used for {self.task}: {str(error).splitlines()[0]}",
                hint=f"One that can is {self.example}.",
            ) from error
        return DenseNetwork(processor, network.to(device).eval())


def to_unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Numbers scaled so that the smallest is 0 and the largest 1; all 0 where they are equal."""
    spread = float(np.ptp(values)) or 1.0
    found: NDArray[np.float32] = ((values - values.min()) / spread).astype(np.float32)
    return found


def _cached(name: str) -> Path | None:
    """The folder of a model in the cache of the hub's own libraries; the network is not asked."""
    from huggingface_hub import try_to_load_from_cache

    if "/" not in name:
        return None
    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent if isinstance(found, str) else None
