"""Upscalers with a network, which is applied tile by tile, repeatedly if needed; the result is resized to fit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from safelight.errors import (
    BackendError,
    MemoryBudgetError,
    ModelInvalidError,
    NonFiniteError,
    RequestError,
)
from safelight.generation.upscaling.tiles import Pixels, Tiling, upscale_in_tiles
from safelight.generation.upscaling.upscaler import (
    MAX_PIXELS,
    ProgressCallback,
    StopCallback,
    check_not_stopped,
    target_size,
)
from safelight.generation.upscaling.weights import read_network
from safelight.runtime.devices import device_of

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

MAX_INTERMEDIATE_RATIO = 4
"""Limit of intermediate images, as a multiple of max_pixels: a 4x network makes a 4x image to reach a factor of 2."""


class UpscalerModule(torch.nn.Module):
    """What spandrel's description of a network computes, as a module: float pictures [1, channels, height, width].

    Args:
        described: The network with its description.
    """

    def __init__(self, described: ImageModelDescriptor[torch.nn.Module]) -> None:
        super().__init__()
        self.network = described.model
        self._described = described

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The enlarged picture, 0 to 1."""
        return self._described(image)


@dataclass
class TileProgress:
    """Checks for cancellation before each tile and reports progress after it."""

    total: int
    on_progress: ProgressCallback | None
    should_stop: StopCallback | None
    completed: int = 0

    @contextmanager
    def tile(self) -> Iterator[None]:
        """Wrap the work on one tile."""
        check_not_stopped(self.should_stop)
        yield
        self.completed += 1
        if self.on_progress is not None:
            self.on_progress(self.completed / self.total)


@dataclass(frozen=True)
class NetworkUpscaler:
    """A super-resolution or restoration network; see `Upscaler`. Threads may share it: it computes one tile at a time.

    Args:
        name: Its name in requests.
        digest: SHA-256 of its file.
        network: The network on its device, with spandrel's description of it.
        tiling: How images are split into tiles for it.
        module: What computes a tile: the network, or a stand-in that has compiled forms of it.
    """

    name: str
    digest: str
    network: ImageModelDescriptor[torch.nn.Module]
    tiling: Tiling
    module: torch.nn.Module
    _computing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def load(
        cls, path: Path, digest: str, device: torch.device | str, dtype: torch.dtype | None, tiling: Tiling
    ) -> NetworkUpscaler:
        """The upscaler of a safetensors file with a digest.

        Raises:
            FileMissingError, PickleRefusedError, ModelInvalidError: As in ``read_network``.
            BackendError: The network cannot run in that precision.
        """
        network = read_network(path)
        wanted = torch.float32 if dtype is None else dtype
        able = {
            torch.float32: True,
            torch.float16: network.supports_half,
            torch.bfloat16: network.supports_bfloat16,
        }
        if not able.get(wanted, False):
            fit = ", ".join(str(each).removeprefix("torch.") for each, fits in able.items() if fits)
            raise BackendError(
                f"{path.name} ({network.architecture.name}) cannot run in {str(wanted).removeprefix('torch.')}.",
                hint=f"It can run in {fit}.",
            )
        network.to(device, wanted).eval()
        tiling = replace(tiling, multiple=network.size_requirements.multiple_of)
        return cls(path.stem, digest, network, tiling, UpscalerModule(network))

    @property
    def factor(self) -> int:
        """Scale factor of one pass of the network; 1 if it only restores."""
        return int(self.network.scale)

    @property
    def nbytes(self) -> int:
        """Bytes of all weights and buffers."""
        module = self.network.model
        return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))

    @property
    def architecture(self) -> str:
        """Name of the network's architecture, from its paper or project."""
        return str(self.network.architecture.name)

    def upscale(
        self,
        image: Image.Image,
        factor: float,
        *,
        max_pixels: int = MAX_PIXELS,
        on_progress: ProgressCallback | None = None,
        should_stop: StopCallback | None = None,
    ) -> Image.Image:
        """See ``Upscaler.upscale``. At factor 1 the network is applied once and its result is resized back."""
        size = target_size(image, factor, max_pixels)
        sizes = self._pass_sizes(image.size, size, max_pixels)
        watch = TileProgress(sum(self.tiling.count(*each) for each in sizes), on_progress, should_stop)
        pixels = np.asarray(image)
        for _ in sizes:
            pixels = self._upscale_pass(pixels, watch)
        result = Image.fromarray(pixels)
        return result if result.size == size else result.resize(size, Image.Resampling.LANCZOS)

    def _pass_sizes(
        self, start: tuple[int, int], target: tuple[int, int], max_pixels: int
    ) -> list[tuple[int, int]]:
        """Return width and height of each image that the network is applied to."""
        if self.factor == 1 and target != start:
            raise RequestError(
                f"{self.name} ({self.architecture}) restores a picture at its own size and does not enlarge it.",
                hint="Give factor 1, or another upscaler.",
            )
        sizes = [start]
        while True:
            width, height = (side * self.factor for side in sizes[-1])
            if width * height > MAX_INTERMEDIATE_RATIO * max_pixels:
                raise MemoryBudgetError(
                    f"{self.name} enlarges {self.factor} times at once, so on the way to {target[0]} x {target[1]} it "
                    f"would make {width} x {height}, more than "
                    f"{MAX_INTERMEDIATE_RATIO} times the {max_pixels} pixels allowed.",
                    hint="Give a smaller picture or another upscaler, or raise the setting max_pixels.",
                )
            if width >= target[0] and height >= target[1]:
                return sizes
            sizes.append((width, height))

    def _upscale_pass(self, pixels: Pixels, progress: TileProgress) -> Pixels:
        def enlarge(tile: Pixels) -> NDArray[np.float32]:
            with progress.tile():
                return self._run_tile(tile)

        return upscale_in_tiles(pixels, self.factor, self.tiling, enlarge)

    def _run_tile(self, tile: Pixels) -> NDArray[np.float32]:
        """Run the network on one tile; values are 0 to 255."""
        values = torch.from_numpy(tile.astype(np.float32) / 255).movedim(-1, 0)
        values = values.to(self.network.device, self.network.dtype)
        try:
            with self._computing, fixed_seed(self.network.device):
                enlarged = torch.cat([self._apply(planes) for planes in self._network_inputs(values)])[:3]
        except torch.OutOfMemoryError as error:
            raise MemoryBudgetError(
                f"{self.name} ran out of memory on a tile of {tile.shape[1]} x {tile.shape[0]} pixels.",
                hint=f"Give smaller tiles than {self.tiling.tile} pixels.",
            ) from error
        if not bool(enlarged.isfinite().all()):
            raise NonFiniteError(f"The result of {self.name} is not finite: there is no picture in it.")
        return np.asarray(enlarged.float().cpu().movedim(0, -1).numpy() * 255, dtype=np.float32)

    def _network_inputs(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Split (3, height, width) into the network's inputs: single channels, RGB, or RGB with an opaque alpha."""
        if self.network.input_channels == 1:
            return tuple(values.split(1))
        if self.network.input_channels == 4:
            return (torch.cat([values, torch.ones_like(values[:1])]),)
        return (values,)

    def _apply(self, planes: torch.Tensor) -> torch.Tensor:
        enlarged = self.module(planes[None].contiguous())[0]
        expected = tuple(side * self.factor for side in planes.shape[1:])
        if tuple(enlarged.shape[1:]) != expected:
            raise ModelInvalidError(
                f"{self.name} ({self.architecture}) made {tuple(enlarged.shape[1:])} pixels where its tensors "
                f"promise {expected}."
            )
        return enlarged


@contextmanager
def fixed_seed(device: torch.device) -> Iterator[None]:
    """Seed the random numbers equally for each tile (AuraSR uses some) and restore the generators afterwards."""
    with device_of(torch.device("cpu")).seeded(0), device_of(device).seeded(0):
        yield
