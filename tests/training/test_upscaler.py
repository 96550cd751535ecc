from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import autoencoder
from loops import save
from safelight.generation.upscaling import load_upscaler
from upscaler import Pairs, build, compose, crops, enlarge_lanczos, pairs_of, psnr, ship, to_unit


def large_disc(colour: str) -> np.ndarray:
    """A disc of 240 pixels across on transparent ground, (256, 256, 4)."""
    picture = Image.new("RGBA", (256, 256), (255, 255, 255, 0))
    ImageDraw.Draw(picture).ellipse((8, 8, 248, 248), fill=colour)
    return np.asarray(picture)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Two cut-outs in two scenes each; the autoencoder is untrained."""
    work = tmp_path_factory.mktemp("work")
    torch.manual_seed(0)
    save(work / "autoencoder-both.pt", net=autoencoder.build().state_dict())
    return pairs_of(np.stack([large_disc("red"), large_disc("blue")]), 2, work)


def test_a_scene_is_the_cut_out_on_a_background() -> None:
    random = np.random.default_rng(0)
    for _ in range(8):
        scene = compose(large_disc("red"), 120, random)
        assert scene.shape == (256, 256, 3)
        changed = (scene != scene[0, 0]).any(-1) | (scene != scene[-1, -1]).any(-1)
        assert 0.1 < changed.mean() < 0.25  # a disc of 113 pixels across: 15 % of the image


def test_pairs_show_the_same_at_both_sizes(pairs: Pairs) -> None:
    assert len(pairs) == 4
    assert pairs.small.shape == pairs.decoded.shape == (4, 3, 128, 128)
    assert pairs.large.shape == (4, 3, 256, 256)
    assert psnr(enlarge_lanczos(pairs.small), to_unit(pairs.large)) > 25
    assert psnr(enlarge_lanczos(pairs.decoded), to_unit(pairs.large)) < 20  # untrained: another image


def test_crops_are_aligned(pairs: Pairs) -> None:
    generator, rows = torch.Generator().manual_seed(0), torch.arange(4)
    clean = Pairs(pairs.small, pairs.small, pairs.large)
    for _ in range(8):
        inputs, target = crops(clean, rows, generator)
        assert inputs.shape[2:] == (48, 48)
        assert target.shape[2:] == (96, 96)
        assert (torch.nn.functional.avg_pool2d(target, 2) - inputs).abs().mean() < 0.01


def test_psnr_of_a_known_error() -> None:
    target = torch.full((2, 3, 8, 8), 0.5)
    assert psnr(target + 0.1, target) == pytest.approx(20)


def test_the_shipped_network_can_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "upscalers/mine.safetensors"
    net = build()
    ship(net, path)
    upscaler = load_upscaler("mine", tmp_path)
    assert upscaler.factor == 2
    picture = Image.fromarray(large_disc("red")[..., :3]).resize((128, 128))
    with torch.no_grad():
        expected = net(to_unit(torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]))[0]
    enlarged = np.asarray(upscaler.upscale(picture, 2)) / 255
    assert enlarged.shape == (256, 256, 3)
    difference = np.abs(enlarged - expected.clamp(0, 1).permute(1, 2, 0).numpy())
    assert difference.max() < 0.02  # half precision, then bytes
