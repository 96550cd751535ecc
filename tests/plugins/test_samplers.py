"""A sampler of a plug-in, from its name to a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safelight.errors import DuplicateNameError, SamplerUnknownError
from safelight.generation.solvers.diffusion import Euler
from safelight.generation.solvers.registry import SAMPLERS, Sampler
from safelight.generation.solvers.samplers import compatible_names, resolve_sampler
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.settings import Settings
from safelight.studio import Studio

STEPS: list[int] = []
"""Timesteps that the toy solver was asked for."""


class ToyEuler(Euler):  # type: ignore[misc]  # diffusers has no types
    """Euler, which notes its steps."""

    def step(self, model_output: Any, timestep: Any, *rest: Any, **options: Any) -> Any:
        STEPS.append(int(timestep))
        return super().step(model_output, timestep, *rest, **options)


class Toy:
    """A plug-in with one sampler."""

    def __init__(self, name: str = "Toy sampler") -> None:
        self.name = name

    @hookimpl
    def register_samplers(self, registry: Registry[Sampler]) -> None:
        sampler = Sampler(self.name, f"{__name__}:ToyEuler", ("Playing",))
        registry.register(sampler.name, sampler)


@pytest.fixture
def toy() -> Iterator[None]:
    with PLUGINS.registered(Toy(), "toy"):
        yield


def test_it_is_listed_and_resolved_by_its_alias(toy: None) -> None:
    assert list(SAMPLERS)[-1] == "Toy sampler"
    assert "Toy sampler" in compatible_names("diffusion")
    choice = resolve_sampler("playing karras")
    assert (choice.sampler.name, choice.schedule) == ("Toy sampler", "karras")


def test_the_starter_generates_with_it(toy: None, tmp_path: Path) -> None:
    studio = Studio(Settings(home=tmp_path, backend="onnxruntime", precision="fp32", device="cpu"))
    STEPS.clear()
    (made,) = studio.generate("a red apple", sampler="toy sampler", steps=4, seed=1)
    (euler,) = studio.generate("a red apple", sampler="Euler", steps=4, seed=1)
    assert len(STEPS) == 4
    assert "Sampler: Toy sampler" in made.infotext
    np.testing.assert_array_equal(np.asarray(made.image), np.asarray(euler.image))


def test_it_is_gone_with_its_plugin() -> None:
    with PLUGINS.registered(Toy(), "toy"):
        resolve_sampler("Toy sampler")
    with pytest.raises(SamplerUnknownError, match="There is no sampler 'Toy sampler'"):
        resolve_sampler("Toy sampler")


def test_a_built_in_name_is_taken() -> None:
    with PLUGINS.registered(Toy("Heun"), "toy"), pytest.raises(DuplicateNameError, match="'Heun' of toy"):
        resolve_sampler("DDIM")
