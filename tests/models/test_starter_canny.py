"""The packaged ControlNet of the starter: small, found by its kind, readable by diffusers, and steering."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import ControlNetModel
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt
from tests.tiny import controls

from safelight.errors import ControlFamilyError
from safelight.generation.control.preprocessors import PreprocessContext, find_preprocessor
from safelight.generation.engine import Engine
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.controls.discovery import find_control
from safelight.models.controls.packaged import STARTER_CANNY, control_folders
from safelight.models.families import FAMILIES
from safelight.settings import Settings

STARTER, SD1 = FAMILIES["sd1-starter"], FAMILIES["sd1"]
PROMPTS = ("a red apple, 3d style", "a guitar, flat style", "a cat face, cartoon style")
STEPS = 8


def test_it_says_what_it_is_and_diffusers_reads_it(tmp_path: Path) -> None:
    found = find_control(None, "canny", STARTER, control_folders(tmp_path, ()))
    assert (found.name, found.architecture.name) == (STARTER_CANNY, "controlnet")
    (weights,) = found.path.glob("*.safetensors")
    assert weights.stat().st_size < 9e6
    assert read_header(weights).metadata["modelspec.license"] == "Apache-2.0"
    network = ControlNetModel.from_pretrained(found.path, local_files_only=True)
    assert sum(each.numel() for each in network.parameters()) == found.weights()


def test_it_is_for_the_starter_alone(tmp_path: Path, tiny: Callable[[str], Path]) -> None:
    folders = control_folders(tmp_path, ())
    for name, kind in ((STARTER_CANNY, None), (None, "canny")):
        with pytest.raises(ControlFamilyError, match="Safelight's starter"):
            find_control(name, kind, SD1, folders)  # type: ignore[arg-type]
    own = controls.controlnet(tiny("sd1"), tmp_path / "controlnet" / "a_canny")
    assert find_control(None, "canny", SD1, folders).path == own
    assert find_control(None, "canny", STARTER, folders).name == STARTER_CANNY


def edges(picture: Image.Image) -> NDArray[np.bool_]:
    found = find_preprocessor("canny").run(picture, context=PreprocessContext(Settings()))
    return np.asarray(found)[..., 0] > 0


def agreement(drawn: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    """F1 of edges within two pixels."""
    precision = (distance_transform_edt(~wanted)[drawn] <= 2).mean()
    recall = (distance_transform_edt(~drawn)[wanted] <= 2).mean()
    return float(2 * precision * recall / (precision + recall))


def test_edges_are_where_they_were_asked_for(tmp_path: Path) -> None:
    """Pictures that the starter drew, turned and moved, are drawn again by their edges, from other noise."""
    engine = Engine(Settings(home=tmp_path, device="cpu", checkpoint="starter", generation_backend="eager"))

    def draw(prompt: str, **fields: Any) -> Image.Image:
        (drawn,) = engine.generate(GenerationRequest.parse(prompt=prompt, steps=STEPS, **fields))
        return drawn.image

    found: dict[str, list[float]] = {"with": [], "without": []}
    for seed, prompt in enumerate(PROMPTS):
        shown = draw(prompt, seed=seed).rotate(25, Image.Resampling.BICUBIC, 0, None, (12, -8), "white")
        control = [{"kind": "canny", "image": shown, "preprocessor": {"name": "canny"}}]
        for name, used in (("with", control), ("without", [])):
            drawn = draw(prompt, seed=seed + 10, control=used)
            found[name].append(agreement(edges(drawn), edges(shown)))
    assert np.mean(found["with"]) > 0.6
    assert np.mean(found["with"]) > 1.5 * np.mean(found["without"])
