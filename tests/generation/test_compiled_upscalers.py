"""Upscalers whose networks are computed by compiled forms: within a long picture already, and reproducible in a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.generation.test_compiled_forms import (
    PATIENCE,
    EngineOf,
    InProcess,
    RequestOf,
    compiler,
    engine_of,
    generate,
    request_of,
    same_pixels,
)
from tests.generation.test_upscaling import compact, save

from safelight.generation.engine import Engine
from safelight.generation.upscaling.registry import upscaler_folder

__all__ = ["compiler", "engine_of", "request_of"]
NAME = "small-x2"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an upscaler."""
    folder = tmp_path_factory.mktemp("upscalers-home")
    save(compact(), upscaler_folder(folder) / f"{NAME}.safetensors")
    return folder


@pytest.fixture(scope="module")
def wide() -> Image.Image:
    """A picture that is upscaled in three tiles."""
    levels = np.random.default_rng(0).integers(0, 256, (10, 275, 3), np.uint8)
    return Image.fromarray(levels).resize((700, 40), Image.Resampling.BICUBIC)


def upscale(
    engine: Engine, picture: Image.Image, on_progress: Callable[[float], None] | None = None
) -> tuple[np.ndarray, Counter[str]]:
    tiles = Counter[str]()
    with engine.lease_upscaler(NAME, tiles) as upscaler:
        return np.asarray(upscaler.upscale(picture, 2, on_progress=on_progress)), tiles


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = np.mean((first.astype(float) - second) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def test_tiles_are_computed_by_a_form_as_soon_as_one_is_made(
    engine_of: EngineOf, compiler: InProcess, wide: Image.Image
) -> None:
    engine = engine_of()

    def after_tile(share: float) -> None:
        if share > 0.6:  # the second tile has asked for the form
            compiler.may_begin.set()
            assert engine.forms.wait(PATIENCE)

    found, tiles = upscale(engine, wide, after_tile)
    assert tiles == {"eager": 2, "openvino": 1}
    assert compiler.converted == ["upscaler"]
    eager, by_eager = upscale(engine_of("eager"), wide)
    assert by_eager == {"eager": 3}
    assert psnr(found, eager) >= 50
    again, tiles = upscale(engine, wide)
    assert tiles == {"openvino": 3}
    assert psnr(again, eager) >= 50


def test_a_picture_of_one_tile_asks_for_a_form_when_it_is_finished(
    engine_of: EngineOf, compiler: InProcess, wide: Image.Image
) -> None:
    engine, small = engine_of(), wide.resize((90, 40))
    _, tiles = upscale(engine, small, lambda _: engine.forms.pending == [] or pytest.fail("too early"))
    assert tiles == {"eager": 1}
    assert engine.forms.pending == ["upscaler 1x3x40x90 (openvino fp32)"]
    compiler.may_begin.set()
    assert engine.forms.wait(PATIENCE)
    assert upscale(engine, small)[1] == {"openvino": 1}


def test_between_two_passes_the_record_says_what_ran_and_it_is_reproduced(
    engine_of: EngineOf, request_of: RequestOf, compiler: InProcess
) -> None:
    engine = engine_of("openvino")
    request = request_of(hires={"scale": 2, "upscaler": NAME, "steps": 2})
    first = generate(engine, request)
    assert first.record.machine.all_backends == {"eager"}
    compiler.may_begin.set()
    assert engine.forms.wait(PATIENCE)
    second = generate(engine, request)
    assert second.record.machine.all_backends == {"openvino"}
    half = engine_of("eager", generation_precision="bf16")
    third = generate(half, request)
    assert third.record.machine.other_precisions["upscaler"] == "fp32"
    for picture in (first, second):
        again = generate(engine, request, recorded=picture.record.machine, unbatched=True)
        assert again.record == picture.record
        assert same_pixels(again, picture)
