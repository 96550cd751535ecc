"""Convert a timm classifier to ONNX; apart from exports, only this part of moderation needs torch.

The conversion runs in its own process (``python -m safelight.moderation.classifiers.timm_convert FOLDER
OUT.onnx``), once for each
checkpoint, so that processes that classify images need neither torch's memory nor its start-up time.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safelight.atomic_write import atomic_write
from safelight.errors import InternalError, ModelInvalidError, SafelightError
from safelight.moderation.classifiers.timm_config import TimmConfig, read_timm_config
from safelight.runtime.graph import EMBEDDING, PIXELS, PROBABILITIES
from safelight.runtime.machine import package_version

if TYPE_CHECKING:
    import torch

_MAX_DIFFERENCE = 1e-4
_EXIT_INVALID_MODEL = 4
"""Exit status of the conversion process if the checkpoint is invalid."""


def load_converted(config: TimmConfig, cache: Path) -> bytes:
    """Return the checkpoint as an ONNX model, converted now or from the cache.

    Args:
        config: The checkpoint.
        cache: Folder of the conversion cache.

    Raises:
        ModelInvalidError: The weights do not match the architecture in config.json.
        OutputError: The cache cannot be written.
    """
    path = cache_path(config, cache)
    if not path.is_file():
        with atomic_write(path) as temporary:
            _convert_in_child(config.folder, temporary)
    return path.read_bytes()


def is_converted(config: TimmConfig, cache: Path) -> bool:
    """Whether the conversion is in the cache."""
    return cache_path(config, cache).is_file()


def cache_path(config: TimmConfig, cache: Path) -> Path:
    """Return the file of the conversion in the cache, whether it exists or not."""
    versions = "-".join(f"{package_version(name)}" for name in ("timm", "torch", "onnx"))
    return cache / "graphs" / f"{config.digest[:32]}-{versions}.onnx"


def _convert_in_child(folder: Path, path: Path) -> None:
    # -P: the working directory may contain uploads, and a file there named timm.py must not be imported.
    command = [sys.executable, "-P", "-m", __name__, str(folder.absolute()), str(path.absolute())]
    child = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own module
    if child.returncode == _EXIT_INVALID_MODEL:
        raise ModelInvalidError(child.stderr.strip().splitlines()[-1])
    if child.returncode != 0:
        raise InternalError(f"Converting {folder.name} failed: {child.stderr.strip()[-2000:]}")


def build_module(config: TimmConfig) -> torch.nn.Module:
    """Build the checkpoint as a torch module: uint8 [n, side, side, 3] to (probabilities, embedding).

    Raises:
        ModelInvalidError: timm does not know the architecture, or the weights do not match it.
    """
    import timm
    import torch
    from safetensors.torch import load_file

    try:
        # timm reads config.json itself, so that sizes and arguments have timm's meaning.
        network = timm.create_model(
            f"local-dir:{config.folder.absolute()}", pretrained=False, num_classes=len(config.labels)
        )
        network.load_state_dict(load_file(config.weights))
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        message = " ".join(str(error).split())[:400]
        raise ModelInvalidError(
            f"The weights do not fit timm's {config.architecture!r} with {len(config.labels)} labels: {message}"
        ) from error

    class PixelsToVerdict(torch.nn.Module):
        """Normalization, the network split before its head, and softmax."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("mean", torch.tensor(config.mean) * 255)
            self.register_buffer("std", torch.tensor(config.std) * 255)

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = ((pixels.float() - self.mean) / self.std).permute(0, 3, 1, 2)
            embedding = self.network.forward_head(self.network.forward_features(x), pre_logits=True)
            return torch.softmax(self.network.get_classifier()(embedding), dim=-1), embedding

    module = PixelsToVerdict().eval()
    if not _outputs_match(module, network, config):
        raise ModelInvalidError(f"{config.architecture!r} has another kind of head than one linear layer.")
    return module


def _outputs_match(module: torch.nn.Module, network: Any, config: TimmConfig) -> bool:
    """Whether the split module gives the network's own probabilities; networks with several heads do not."""
    import torch

    pixels = torch.randint(0, 256, (1, config.side, config.side, 3), dtype=torch.uint8)
    x = (pixels.float() / 255 - torch.tensor(config.mean)) / torch.tensor(config.std)
    with torch.inference_mode():
        expected = network.eval()(x.permute(0, 3, 1, 2)).softmax(dim=-1)
        try:
            answer = module(pixels)[0]
        except (AttributeError, RuntimeError, TypeError):
            return False
    return bool((answer - expected).abs().max() < _MAX_DIFFERENCE)


def convert_to_onnx(folder: Path, path: Path) -> None:
    """Convert the classifier in a folder and write the ONNX model."""
    import torch

    config = read_timm_config(folder)
    module = build_module(config)
    pixels = torch.zeros((2, config.side, config.side, 3), dtype=torch.uint8)
    program = torch.onnx.export(
        module,
        (pixels,),
        dynamo=True,
        verbose=False,
        input_names=[PIXELS],
        output_names=[PROBABILITIES, EMBEDDING],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
    )
    program.save(str(path), external_data=False)


def main() -> int:
    """Run the conversion process; returns its exit status."""
    warnings.simplefilter("ignore")  # torch's exporter emits warnings about its own code
    logging.disable(logging.WARNING)
    try:
        convert_to_onnx(Path(sys.argv[1]), Path(sys.argv[2]))
    except SafelightError as error:
        sys.stderr.write(f"{error.message}\n")
        return _EXIT_INVALID_MODEL
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
