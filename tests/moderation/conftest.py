"""Checkpoints in timm's layout with random weights, and a classifier that is easy to predict."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from safelight.atomic_write import atomic_write
from safelight.bench.peers import write_random_checkpoint
from safelight.moderation import ClassifierInfo, Policy, Prediction, load_classifier
from safelight.moderation.classifiers import timm_convert
from safelight.moderation.classifiers.classifier import NetworkClassifier
from safelight.moderation.classifiers.preprocess import Preprocessing
from safelight.moderation.classifiers.timm_config import read_timm_config
from safelight.settings import Settings

ANY_SIZE = {"fixed_input_size": None}
"""For networks that accept images of any size; timm sets the size of the others when it builds them."""


def edit_config(folder: Path, **changes: Any) -> Path:
    """Edit a checkpoint's config.json: a value replaces a field, None removes it; pretrained_cfg is merged."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    inner = changes.pop("pretrained_cfg", {})
    if isinstance(inner, dict):
        config["pretrained_cfg"] = _merged(config.get("pretrained_cfg", {}), inner)
    else:
        config["pretrained_cfg"] = inner
    path.write_text(json.dumps(_merged(config, changes)))
    return folder


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (old | new).items() if value is not None}


@dataclass(frozen=True)
class Checkpoints:
    """One folder for each kind of checkpoint that the tests need; their weights are random."""

    marqo: Path
    """vit_tiny_patch16_384 as on the hub, with 4 of its 12 layers: NSFW first, the inner num_classes says 1000."""
    nsfw_first: Path
    """test_vit, centre crop at 0.95."""
    sfw_first: Path
    """The same network with the head's rows and the labels swapped; the labels are in pretrained_cfg only."""
    five: Path
    """test_convnext with five labels, squashed."""


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    root = tmp_path_factory.mktemp("checkpoints")
    marqo = write_random_checkpoint(root / "marqo", labels=("NSFW", "SFW"), depth=4)
    first = write_random_checkpoint(root / "nsfw-first", "test_vit", labels=("NSFW", "SFW"))
    edit_config(first, pretrained_cfg={"crop_pct": 0.95})
    five = write_random_checkpoint(
        root / "five", "test_convnext", labels=("drawings", "hentai", "neutral", "porn", "sexy")
    )
    edit_config(
        five, pretrained_cfg={"crop_mode": "squash", "interpolation": "bilinear", "crop_pct": 0.9} | ANY_SIZE
    )
    return Checkpoints(marqo, first, _swapped(first, root / "sfw-first"), five)


def _swapped(folder: Path, target: Path) -> Path:
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    weights = load_file(target / "model.safetensors")
    for name in ("head.weight", "head.bias"):
        weights[name] = weights[name].flip(0).contiguous()
    save_file(weights, target / "model.safetensors")
    return edit_config(target, label_names=None, pretrained_cfg={"label_names": ["SFW", "NSFW"]})


@pytest.fixture
def copied(checkpoints: Checkpoints, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the smallest checkpoint with its config.json changed; see ``edit_config``."""

    def copy(**changes: Any) -> Path:
        target = tmp_path / "changed"
        shutil.copytree(checkpoints.nsfw_first, target)
        return edit_config(target, **changes)

    return copy


@pytest.fixture(scope="session")
def convert(settings: Settings) -> Callable[[Path], None]:
    """Convert a checkpoint within this process, which saves the seconds in which another one imports torch."""

    def convert(folder: Path) -> None:
        config = read_timm_config(folder)
        if not timm_convert.is_converted(config, settings.cache_folder):
            path = timm_convert.cache_path(config, settings.cache_folder)
            with warnings.catch_warnings(), atomic_write(path) as temporary:
                warnings.simplefilter("ignore")  # as in the process for conversions
                timm_convert.convert_to_onnx(folder, temporary)

    return convert


@pytest.fixture(scope="session")
def load(
    settings: Settings, checkpoints: Checkpoints, convert: Callable[[Path], None]
) -> Callable[..., NetworkClassifier]:
    """Load a checkpoint, at most once for each backend and way of preprocessing.

    That with NSFW first is converted in a process of its own, as a user's are; the others in this one.
    """

    @cache
    def load(folder: Path, *, exact: bool = False, backend: str = "onnxruntime") -> NetworkClassifier:
        if folder != checkpoints.nsfw_first:
            convert(folder)
        chosen = settings.model_copy(update={"exact": exact, "backend": backend})
        return load_classifier(chosen, str(folder))

    return load


@dataclass
class Brightness:
    """A classifier whose unsafe score is the brightness: the mean of its input square, divided by 255.

    Args:
        safe: The label of darkness.
        unsafe: The label of brightness.
        batches: The number of squares in each call of ``predict``.
    """

    safe: str = "sfw"
    unsafe: str = "nsfw"
    batches: list[int] = field(default_factory=list)

    @property
    def info(self) -> ClassifierInfo:
        return ClassifierInfo("brightness", "b" * 64, (self.safe, self.unsafe), 3, "exact, numpy")

    @property
    def shrink_to(self) -> int | None:
        return None

    def prepare(self, picture: Image.Image) -> np.ndarray:
        return Preprocessing("short_side", 8, 8, "box").apply(picture)

    def predict(self, squares: np.ndarray) -> list[Prediction]:
        self.batches.append(len(squares))
        return [self._predict(square) for square in squares]

    def _predict(self, square: np.ndarray) -> Prediction:
        embedding = (square.mean(axis=(0, 1)) / 255).astype(np.float32)
        bright = float(embedding.mean())
        return Prediction({self.safe: 1 - bright, self.unsafe: bright}, embedding)


@pytest.fixture
def brightness() -> Brightness:
    return Brightness()


@pytest.fixture
def policy() -> Policy:
    """A policy that reviews from 0.5 on and blocks from 0.9 on."""
    return Policy.parse(
        'name = "half"\nversion = "1"\nsafe = ["sfw"]\n[unsafe]\nnsfw = { review = 0.5, block = 0.9 }\n'
    )


@pytest.fixture
def grey() -> Callable[..., np.ndarray]:
    """An image of one grey."""

    def grey(level: float, width: int = 16, height: int = 16) -> np.ndarray:
        return np.full((height, width, 3), round(level * 255), np.uint8)

    return grey


@pytest.fixture(scope="session")
def small_pngs(photographs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The photographs as small PNGs, which the fast path decodes in full like any other."""
    folder = tmp_path_factory.mktemp("pngs")
    found = []
    for number, path in enumerate(photographs):
        picture = Image.open(path)
        picture.thumbnail((150 + 37 * number, 150 + 37 * number))
        picture.save(folder / f"{path.stem}.png")
        found.append(folder / f"{path.stem}.png")
    return found
