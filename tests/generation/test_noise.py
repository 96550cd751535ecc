from __future__ import annotations

from math import prod
from threading import Thread

import pytest
import torch

from safelight.generation.noise import CudaNoise, make_generator, slerp, varied_noise
from safelight.generation.philox import cuda_normals
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


def cuda(seed: int, draw: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.from_numpy(cuda_normals(seed, draw, prod(shape))).reshape(shape)


def test_what_is_drawn_from_the_handle_is_what_a_cuda_device_draws() -> None:
    noise = CudaNoise(42)
    with noise:
        first = torch.randn(SHAPE, generator=noise.generator)
        second = torch.randn(2, 3, generator=noise.generator, dtype=torch.float16)
        others = torch.randn(4, generator=make_generator(42))
    after = torch.randn(4, generator=noise.generator)
    with noise:
        third = torch.randn(4, generator=noise.generator)
    assert torch.equal(first, cuda(42, 0))
    assert torch.equal(second, cuda(42, 1, (2, 3)).half())
    assert torch.equal(third, cuda(42, 2, (4,)))
    assert torch.equal(others, torch.randn(4, generator=make_generator(42)))
    assert torch.equal(after, others)


def test_a_thread_of_its_own_draws_as_ever() -> None:
    noise, found = CudaNoise(1), []
    thread = Thread(target=lambda: found.append(torch.randn(4, generator=noise.generator)))
    with noise:
        thread.start()
        thread.join()
    assert torch.equal(found[0], torch.randn(4, generator=make_generator(1)))


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_variation_is_mixed_column_by_column(share: float) -> None:
    noise = CudaNoise(1, Variation(seed=5, strength=share))
    with noise:
        mixed, plain = (torch.randn(SHAPE, generator=noise.generator) for _ in range(2))
    own, other = cuda(1, 0), cuda(5, 0)
    column = (0, 2, slice(None), 7)
    expected = slerp(own[column], other[column], share)
    assert torch.allclose(mixed[column], expected, atol=1e-5)
    assert torch.equal(plain, cuda(1, 1)), "only the first is mixed"
