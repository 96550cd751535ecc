from __future__ import annotations

import pytest
import torch

from safelight.generation.noise import make_generator, slerp, varied_noise
from safelight.generation.request import Variation

SHAPE = (1, 4, 32, 32)


def noise_of(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=make_generator(seed))


def test_a_seed_gives_the_same_noise_everywhere() -> None:
    assert torch.equal(noise_of(7), noise_of(7))
    assert not torch.equal(noise_of(7), noise_of(8))
    # Fixed numbers: a seed gives the same image on every machine and with every version.
    assert noise_of(7)[0, 0, 0, :3].tolist() == pytest.approx([-0.8201, 0.3956, 0.8989], abs=1e-4)


def test_strengths_of_zero_and_one_are_the_seeds_themselves() -> None:
    for seed in range(40):
        own, other = noise_of(seed), noise_of(seed + 1)
        assert torch.equal(slerp(own, other, 0.0), own)
        assert torch.equal(slerp(own, other, 1.0), other)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_mix_keeps_the_norm_and_has_the_expected_angle(share: float) -> None:
    own, other = noise_of(1), noise_of(2)
    mixed = slerp(own, other, share)
    assert float(mixed.norm()) == pytest.approx(float(own.norm()), rel=0.03)
    angle = torch.acos(torch.dot(own.flatten() / own.norm(), other.flatten() / other.norm()))
    walked = torch.acos(torch.dot(own.flatten() / own.norm(), mixed.flatten() / mixed.norm()))
    assert float(walked / angle) == pytest.approx(share, abs=0.02)


def test_equal_and_opposite_noises() -> None:
    own = noise_of(1)
    assert torch.allclose(slerp(own, own, 0.5), own)
    assert torch.isfinite(slerp(own, -own, 0.5)).all()


def test_image_i_uses_variation_seed_plus_i_and_the_generator_continues() -> None:
    generator = make_generator(1)
    mixed = varied_noise(SHAPE, generator, Variation(seed=20, strength=0.3), 3)
    assert torch.equal(mixed, slerp(noise_of(1), noise_of(23), 0.3))
    plain = make_generator(1)
    torch.randn(SHAPE, generator=plain)
    assert torch.equal(torch.randn(4, generator=generator), torch.randn(4, generator=plain))
