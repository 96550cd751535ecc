"""A family of a plug-in: its checkpoints are recognized, described and generated with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from safelight.errors import CheckpointFamilyError, DuplicateNameError
from safelight.models.checkpoints.discovery import describe_checkpoint
from safelight.models.families import FAMILIES, Family
from safelight.models.families.family import pipeline_classes
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.settings import Settings
from safelight.studio import Studio


class Toy:
    """A plug-in with one family: Stable Diffusion's parts in a pipeline that no built-in family uses."""

    def __init__(self, key: str = "toy") -> None:
        self.key = key

    @hookimpl
    def register_families(self, registry: Registry[Family]) -> None:
        family = replace(
            registry["sd1"],
            key=self.key,
            title="Toy",
            pipelines=pipeline_classes("StableDiffusionPanoramaPipeline"),
            pag=None,
        )
        registry.register(family.name, family)


@pytest.fixture
def checkpoint(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """A checkpoint whose pipeline is the toy family's."""
    folder = tmp_path / "toy-checkpoint"
    shutil.copytree(tiny("sd1"), folder)
    index = folder / "model_index.json"
    index.write_text(
        json.dumps(json.loads(index.read_text()) | {"_class_name": "StableDiffusionPanoramaPipeline"})
    )
    return folder


@pytest.fixture
def toy() -> Iterator[None]:
    with PLUGINS.registered(Toy(), "toy"):
        yield


def test_its_checkpoints_generate(toy: None, checkpoint: Path, tmp_path: Path) -> None:
    assert describe_checkpoint(checkpoint, "toy").family is FAMILIES["toy"]
    studio = Studio(Settings(home=tmp_path / "home", backend="onnxruntime", precision="fp32", device="cpu"))
    (made,) = studio.generate("a red apple", checkpoint=str(checkpoint), steps=2, seed=1, width=64, height=64)
    assert made.image is not None
    assert np.asarray(made.image).shape == (64, 64, 3)


def test_without_the_plugin_they_are_of_no_family(checkpoint: Path) -> None:
    with pytest.raises(CheckpointFamilyError, match="StableDiffusionPanoramaPipeline"):
        describe_checkpoint(checkpoint, "toy")


def test_a_built_in_name_is_taken() -> None:
    with PLUGINS.registered(Toy("flux"), "toy"), pytest.raises(DuplicateNameError, match="'flux' of toy"):
        FAMILIES["sd1"]
