from __future__ import annotations

import numpy as np
import pytest
import torch

from control import build_control, control_optimisers, draw_shape, sample_timesteps, to_condition
from denoiser import build_unet
from measure_control import edge_agreement
from scenes import Pictures


def test_the_controlnet_is_the_u_nets_encoder_and_adds_nothing_at_first() -> None:
    torch.manual_seed(0)
    unet = build_unet()
    net = build_control(unet)
    own, copied = net.state_dict(), unet.state_dict()
    assert sum(torch.equal(own[name], copied[name]) for name in own.keys() & copied.keys()) > 40
    assert 4e6 < sum(value.numel() for value in own.values()) < 4.5e6
    with torch.no_grad():
        edges = to_condition(np.ones((2, 128, 128), bool))
        down, middle = net(
            torch.randn(2, 4, 16, 16),
            torch.tensor([900, 1]),
            torch.zeros(2, 1, 256),
            edges,
            return_dict=False,
        )
        assert not any(each.any() for each in (*down, middle))
        assert net.controlnet_cond_embedding(edges).std() > 0.1, "it reads the edges from the first step on"


def test_each_parameter_has_one_optimiser() -> None:
    net = build_control(build_unet())
    groups = [group["params"] for each in control_optimisers(net, 1e-3) for group in each.param_groups]
    trained = [id(parameter) for group in groups for parameter in group]
    assert sorted(trained) == sorted(id(parameter) for parameter in net.parameters())


def test_shapes_are_somewhere_on_their_background(pictures: Pictures) -> None:
    random = np.random.default_rng(0)
    shapes = [draw_shape(pictures, 0, random) for _ in range(20)]
    assert len({shape.pixels.tobytes() for shape in shapes}) == 20
    white = next(shape for shape in shapes if shape.scene.background == "white")
    coloured = next(shape for shape in shapes if shape.scene.background != "white")
    assert white.plain_caption(pictures) == "a red apple, 3d style"
    assert coloured.plain_caption(pictures).endswith(f" {coloured.scene.background} background")


def test_most_timesteps_are_at_high_noise() -> None:
    drawn = sample_timesteps(20_000, torch.Generator().manual_seed(0)).float()
    assert 0 <= drawn.min() <= drawn.max() <= 999
    assert drawn[:5_000].mean() == pytest.approx(500, abs=10)
    assert drawn[5_000:].mean() == pytest.approx(667, abs=10)


def test_edges_agree_within_two_pixels() -> None:
    wanted = np.zeros((32, 32), bool)
    wanted[10, 4:28] = True
    near, far = np.roll(wanted, 2, 0), np.roll(wanted, 3, 0)
    assert edge_agreement(wanted, wanted) == edge_agreement(near, wanted) == 1
    assert edge_agreement(far, wanted) == 0
    assert edge_agreement(wanted | far, wanted) == pytest.approx(2 / 3)
    assert edge_agreement(np.zeros_like(wanted), wanted) == 0
