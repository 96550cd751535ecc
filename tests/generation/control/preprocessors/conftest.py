"""Short ways to run preprocessors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from PIL import Image

from safelight.generation.control.preprocessors import PreprocessContext, find_preprocessor
from safelight.runtime.pool import ModelPool
from safelight.settings import Settings

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class Preprocess(Protocol):
    def __call__(
        self, picture: Image.Image | Pixels, name: str, resolution: int | None = None, **parameters: Any
    ) -> Pixels: ...


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> PreprocessContext:
    settings = Settings(home=tmp_path_factory.mktemp("preprocessing-home"), threads=1)
    return PreprocessContext(settings, ModelPool(4 * 10**9))


@pytest.fixture(scope="session")
def preprocess(context: PreprocessContext) -> Preprocess:
    """The result of a preprocessor, uint8 [height, width, 3]."""

    def run(
        picture: Image.Image | Pixels, name: str, resolution: int | None = None, **parameters: Any
    ) -> Pixels:
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        found = find_preprocessor(name).run(image, parameters, resolution=resolution, context=context)
        assert found.mode == "RGB"
        return np.asarray(found)

    return run


@pytest.fixture(scope="session")
def cat(photographs: list[Path]) -> Image.Image:
    return Image.open(photographs[1]).convert("RGB")


@pytest.fixture(scope="session")
def astronaut(photographs: list[Path]) -> Image.Image:
    return Image.open(photographs[0]).convert("RGB")
