from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.generation.conftest import GenerateImages, same_pixels, to_array
from torch import Tensor, nn

from safelight.errors import UnsupportedError
from safelight.generation.engine import Engine
from safelight.generation.modifiers.seamless import CircularConvolutions, without_tiles
from safelight.generation.request import GenerationRequest, Seamless
from safelight.models.checkpoints.loading import LoadedCheckpoint
from safelight.runtime.patching import describe_patch, make_patch
from safelight.settings import Settings

EDGES: list[tuple[Seamless, bool, bool]] = [
    ("both", True, True),
    ("horizontal", True, False),
    ("vertical", False, True),
]


def patch_of(seamless: Seamless) -> CircularConvolutions:
    (patch,) = CircularConvolutions.of(seamless)
    return patch


def shifted(data: Tensor, rows: int, columns: int) -> Tensor:
    return torch.roll(data, (rows, columns), (-2, -1))


@pytest.mark.parametrize(("seamless", "across", "down"), EDGES)
@pytest.mark.parametrize("name", ["unet", "vae"])
def test_a_network_moves_with_its_input_over_edges_that_meet(
    name: str, seamless: Seamless, across: bool, down: bool, in_memory: Callable[[str], LoadedCheckpoint]
) -> None:
    """Which is what makes an edge like any other place; in whole latents of the network's coarsest layer."""
    network: Any = in_memory("sd1").components[name]
    data = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    words = torch.zeros(1, 77, network.config.get("cross_attention_dim", 1))

    def compute(given: Tensor) -> Tensor:
        return network.decode(given)[0] if name == "vae" else network(given, 500, words)[0]

    def moves(rows: int, columns: int) -> bool:
        result = compute(data)
        unit = result.shape[-1] // data.shape[-1]
        moved = compute(shifted(data, rows, columns))
        return torch.allclose(moved, shifted(result, rows * unit, columns * unit), atol=1e-4)

    with torch.no_grad():
        before = compute(data)
        with patch_of(seamless).apply(network):
            assert (moves(0, 8), moves(8, 0)) == (across, down)
        assert torch.equal(compute(data), before), "undone"
    assert not any("_conv_forward" in layer.__dict__ for layer in network.modules())


def test_an_encoder_moves_with_its_picture(in_memory: Callable[[str], LoadedCheckpoint]) -> None:
    """Its layers that halve the size add a row and a column of zeros themselves."""
    vae: Any = in_memory("sd1").components["vae"]
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), patch_of("both").apply(vae):
        plain, moved = (vae.encode(each).latent_dist.mean for each in (pixels, shifted(pixels, 16, 32)))
    assert torch.allclose(moved, shifted(plain, 2, 4), atol=1e-4)


def test_it_is_undone_after_an_error() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))
    with pytest.raises(ZeroDivisionError), patch_of("both").apply(network):
        raise ZeroDivisionError
    assert "_conv_forward" not in network[0].__dict__


def test_another_process_can_make_it() -> None:
    patch = patch_of("vertical")
    assert make_patch(describe_patch(patch)) == patch
    assert len({patch_of(name).identity for name, _, _ in EDGES}) == 3


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl", "kolors"])
def test_every_u_net_takes_it(name: str, draw: GenerateImages) -> None:
    plain, (seamless,) = draw(name), draw(name, seamless="both")
    assert not same_pixels(*plain, seamless)
    assert seamless.record.seamless == "both"
    assert same_pixels(*draw(name), *plain), "nothing of it is left"


@pytest.mark.parametrize("name", ["sd3", "flux", "pixart-sigma"])
def test_transformers_are_refused(name: str, draw: GenerateImages) -> None:
    with pytest.raises(UnsupportedError, match="no seamless pictures") as caught:
        draw(name, seamless="both")
    assert "Stable Diffusion XL" in caught.value.hint


def test_no_picture_is_decoded_in_tiles(tiny: Callable[[str], Path], engine: Engine) -> None:
    assert "tiling" not in without_tiles(Settings(), "both").memory_steps
    assert without_tiles(Settings(), "none") == Settings()
    run = engine.start(GenerationRequest(prompt="x", checkpoint=str(tiny("sd1")), seamless="both"))
    with run.lease() as components:
        assert not components.watch.may_tile


def seam(picture: np.ndarray[Any, Any], axis: int, near: int = 6) -> float:
    """How many times as large as the steps beside it the step over the edge is, in two copies side by side."""
    values = np.moveaxis(picture.astype(float), axis, 0)
    steps = np.abs(np.diff(np.concatenate([values[-near:], values[:near]]), axis=0)).mean(axis=(1, 2))
    return float(steps[near - 1] / np.delete(steps, near - 1).mean())


def test_copies_of_the_starters_picture_lie_side_by_side_without_a_seam(engine: Engine) -> None:
    def seams(seamless: Seamless) -> tuple[float, float]:
        fields = {"prompt": "blue circles on a yellow background", "seed": 3, "steps": 8, "count": 2}
        request = GenerationRequest.parse(**fields, checkpoint="starter", seamless=seamless)
        pictures = [to_array(each) for each in engine.generate(request)]
        return tuple(float(np.mean([seam(each, axis) for each in pictures])) for axis in (1, 0))

    plain, both, across = seams("none"), seams("both"), seams("horizontal")
    assert max(both) < 1.5, both
    assert across[0] < 1.5 < 3 < across[1], across
    assert min(plain) > 4, plain
