from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.generation.conftest import GenerateImages, to_array
from tests.generation.diffusers_reference import generate_with_diffusers, nearly_equal
from tests.tiny.distinct import DISTINCT
from tests.tiny.generation import INIT_IMAGE, MASK
from torch import nn

from safelight.errors import RunStoppedError, UnsupportedError
from safelight.generation.modifiers.perturbed_attention import PerturbedProcessors
from safelight.generation.progress import Watcher
from safelight.models.checkpoints.loading import LoadedCheckpoint
from safelight.models.families import FAMILIES, IMAGE, INPAINT, TEXT
from safelight.runtime.patching import patched

Tiny = Callable[[str], Path]
SIZE = {"width": 64, "height": 64}


@pytest.mark.parametrize(
    ("name", "pipeline", "sampler"),
    [("sd1", "StableDiffusionPAGPipeline", "Euler a"), ("sd3", "StableDiffusion3PAGPipeline", "Euler")],
)
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_perturbed_attention_equals_diffusers(
    name: str, pipeline: str, sampler: str, scale: float, draw: GenerateImages, tiny: Tiny
) -> None:
    more = {"guidance_scale": scale, "sampler": sampler}
    (drawn,) = draw(name, pag_scale=3, **more)
    expected = generate_with_diffusers(
        tiny(name), pipeline, sampler, pag_scale=3.0, guidance_scale=scale, **SIZE
    )
    assert nearly_equal(to_array(drawn), expected)
    assert not np.array_equal(expected, to_array(*draw(name, **more)))


@pytest.mark.parametrize(
    ("name", "pipeline", "sampler"),
    [("sd1", "StableDiffusionPAGPipeline", "Euler a"), ("sd3", "StableDiffusion3PAGPipeline", "Euler")],
)
@pytest.mark.parametrize("adaptive", [0.004, 0.5])
def test_adaptive_perturbed_attention_equals_diffusers(
    name: str, pipeline: str, sampler: str, adaptive: float, draw: GenerateImages, tiny: Tiny
) -> None:
    more: dict[str, Any] = {"guidance_scale": 5.0, "pag_scale": 3.0}
    (drawn,) = draw(name, pag_adaptive=adaptive, sampler=sampler, **more)
    expected = generate_with_diffusers(
        tiny(name), pipeline, sampler, pag_adaptive_scale=adaptive, **more, **SIZE
    )
    assert nearly_equal(to_array(drawn), expected)
    assert not np.array_equal(to_array(drawn), to_array(*draw(name, sampler=sampler, **more)))
    assert drawn.record.pag_adaptive == adaptive


def test_perturbed_attention_with_prompt_changes_and_stops(draw: GenerateImages, in_memory: Any) -> None:
    assert not np.array_equal(
        to_array(*draw(prompt="[red:blue:2] cat", pag_scale=3)),
        to_array(*draw(prompt="red cat", pag_scale=3)),
    )
    with pytest.raises(UnsupportedError, match="Flux has no perturbed-attention guidance for text-to-image"):
        draw("flux", pag_scale=3)


FIELDS: dict[str, dict[str, Any]] = {
    TEXT: {},
    IMAGE: {"init_image": INIT_IMAGE, "strength": 0.9},
    INPAINT: {"init_image": INIT_IMAGE, "strength": 0.9, "mask": MASK},
}


@pytest.mark.parametrize("name", [name for name in DISTINCT if name in FAMILIES and FAMILIES[name].pag])
def test_every_mode_of_a_family_has_it(name: str, draw: GenerateImages) -> None:
    """For some of them diffusers has no pipeline, such as Kolors' image-to-image."""
    for mode in FAMILIES[name].modes:
        perturbed, plain = (
            to_array(*draw(name, pag_scale=scale, steps=2, **FIELDS[mode])) for scale in (3, 0)
        )
        assert not np.array_equal(perturbed, plain)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.pag])
def test_a_patch_is_undone(name: str, in_memory: Callable[[str], LoadedCheckpoint]) -> None:
    loaded = in_memory("sd1" if name == "sd1-starter" else name)
    denoiser: Any = loaded.components[loaded.family.denoiser]
    assert loaded.family.pag is not None
    before = dict(denoiser.attn_processors)
    patch = PerturbedProcessors(loaded.family.pag.layers, loaded.family.pag.guided)
    with patched(denoiser, [patch]):
        changed = [key for key, each in denoiser.attn_processors.items() if each is not before[key]]
    assert 0 < len(changed) < len(before)
    with pytest.raises(ZeroDivisionError), patched(denoiser, [patch]):
        _ = 1 / 0
    assert denoiser.attn_processors == before


def test_a_network_without_the_layers_is_an_error(in_memory: Callable[[str], LoadedCheckpoint]) -> None:
    patch = PerturbedProcessors("nowhere", "PAGIdentitySelfAttnProcessor2_0")
    with (
        pytest.raises(UnsupportedError, match="no layer"),
        patched(in_memory("sd1").components["unet"], [patch]),
    ):
        pass


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3", "qwen-image", "z-image"])
def test_no_run_leaves_state_in_the_shared_denoiser(
    name: str, draw: GenerateImages, in_memory: Callable[[str], LoadedCheckpoint]
) -> None:
    loaded = in_memory(name)
    denoiser: Any = loaded.components[loaded.family.denoiser]
    (alone,) = draw(name)
    if loaded.family.pag:
        draw(name, pag_scale=3)
        with pytest.raises(RunStoppedError):
            draw(name, Watcher(should_stop=iter([False] * 3 + [True] * 9).__next__), pag_scale=3)
        assert np.array_equal(to_array(*draw(name)), to_array(alone))
    with pytest.raises(ZeroDivisionError), broken(denoiser):
        draw(name)
    assert hooks(denoiser) == 0
    assert "forward" not in vars(denoiser)


@contextmanager
def broken(denoiser: nn.Module) -> Iterator[None]:
    def fail(*_: Any) -> None:
        _ = 1 / 0

    inner = next(part for part in denoiser.modules() if isinstance(part, nn.Linear))
    handle = inner.register_forward_pre_hook(fail)
    try:
        yield
    finally:
        handle.remove()


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())
