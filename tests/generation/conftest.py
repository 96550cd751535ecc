"""One engine for all tests, and a short way to generate images with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from safelight.generation.artifact import Artifact
from safelight.generation.engine import Engine
from safelight.generation.progress import Watcher
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.loading import LoadedCheckpoint
from safelight.settings import Settings

SIDE = 64
COLOURS = ("red", "green", "blue", "yellow", "black", "white")
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class GenerateImages(Protocol):
    def __call__(
        self, name: str = "sd1", watcher: Watcher | None = None, *, alone: bool = False, **fields: Any
    ) -> list[Artifact]: ...


@pytest.fixture(scope="session")
def drawing_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("drawing-home")
    (home / "wildcards").mkdir()
    (home / "wildcards" / "colours.txt").write_text("\n".join(COLOURS))
    return home


@pytest.fixture(scope="session")
def engine(drawing_home: Path) -> Engine:
    return Engine(Settings(home=drawing_home, device="cpu", memory_budget=4 * 10**9))


@pytest.fixture(scope="session")
def draw(engine: Engine, tiny: Callable[[str], Path]) -> GenerateImages:
    """Generate images with a tiny checkpoint: 64 pixels, 3 steps, seed 7 by default."""

    def run(
        name: str = "sd1", watcher: Watcher | None = None, *, alone: bool = False, **fields: Any
    ) -> list[Artifact]:
        usual = {"prompt": "a red cat", "seed": 7, "steps": 3, "checkpoint": str(tiny(name))}
        if "init_image" not in fields:
            usual |= {"width": SIDE, "height": SIDE}
        return list(engine.generate(GenerationRequest.parse(**(usual | fields)), watcher, unbatched=alone))

    return run


@pytest.fixture(scope="session")
def in_memory(engine: Engine, tiny: Callable[[str], Path]) -> Callable[[str], LoadedCheckpoint]:
    """A tiny checkpoint as the engine has loaded it."""

    def get(name: str) -> LoadedCheckpoint:
        return loaded_checkpoint(engine, tiny(name))

    return get


def loaded_checkpoint(engine: Engine, path: Path | str | None) -> LoadedCheckpoint:
    """A checkpoint as an engine has it in memory, loaded if need be."""
    parts = engine._describe(engine.checkpoint(str(path)))
    return parts.assemble(engine._pool.load(*parts.sources.values()))


def to_array(drawn: Artifact) -> Pixels:
    return np.asarray(drawn.image)


def same_pixels(first: Artifact, second: Artifact) -> bool:
    """Whether two images are the same, bit for bit."""
    return np.array_equal(to_array(first), to_array(second))
