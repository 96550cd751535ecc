"""Against numbers that others published: Random123's known answers, and what torch printed on CUDA devices."""

from __future__ import annotations

import numpy as np
import pytest

from safelight.generation.philox import _philox, cuda_normals

SEED_0 = """
-0.9247 -0.4253 -2.6438  0.1452 -0.1209 -0.5797 -0.6229 -0.3284 -1.0745 -0.3631 -1.6711  2.2655  0.3117 -0.1842  1.2866
 1.1820 -0.1271  1.2169  1.4353  1.0605 -0.4941 -1.4244 -0.7244 -1.2973  0.0697 -0.0074  1.8969  0.6878 -0.0779 -0.8373
 1.3506 -0.2879 -0.5965 -0.3283 -0.9086 -0.8059 -0.7407 -0.0504  0.5435  1.5150  0.0141  0.4532  1.6349  0.7124 -0.1806
 1.0252 -1.4622 -0.7554 -0.1836  0.3824  0.3918 -0.0830  0.8971 -1.1123  0.1116  0.4863 -0.5499 -0.3231 -0.5469  0.9049
 0.2837  0.1210  0.4730 -1.0823
"""
"""torch.manual_seed(0); torch.randn(8, 8, device="cuda"), torch 2.2."""
SEED_42 = """
0.1940 2.1614 -0.1721 0.8491 -1.9244 0.6530 -0.6494 -0.8175 0.5280 -1.2753 -1.6621 -0.3033 -0.0926 0.1992 -1.1204 1.8577
-0.7145 0.6881 0.7968
"""
DRAWS_42 = [
    (0.1940, 2.1614, -0.1721, 0.8491),
    (0.1391, -0.1082, -0.7174, 0.7566),
    (-0.5187, 1.2268, 0.6255, -0.9117),
    (-0.6974, -1.8688, -0.8832, -1.6627),
    (-1.2682, -0.0383, -0.1029, 1.4400),
    (1.4640, -0.3238, 0.7740, 1.5892),
]
"""torch.randn(4, device="cuda"), six times after torch.manual_seed(42)."""


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB),
        ),
    ],
)
def test_random123s_known_answers(
    counter: tuple[int, ...], key: tuple[int, int], words: tuple[int, int]
) -> None:
    found = _philox([np.array([word], np.uint64) for word in counter], key[0] | key[1] << 32)
    assert tuple(int(word[0]) for word in found) == words


@pytest.mark.parametrize(("seed", "printed"), [(0, SEED_0), (42, SEED_42)])
def test_what_torch_printed_on_a_cuda_device(seed: int, printed: str) -> None:
    numbers = [float(word) for word in printed.split()]
    assert cuda_normals(seed, 0, len(numbers)) == pytest.approx(numbers, abs=6e-5)


@pytest.mark.parametrize(("draw", "numbers"), list(enumerate(DRAWS_42)))
def test_tensors_that_are_drawn_one_after_the_other(draw: int, numbers: tuple[float, ...]) -> None:
    assert cuda_normals(42, draw, 4) == pytest.approx(numbers, abs=6e-5)


def test_numbers_do_not_depend_on_how_many_there_are() -> None:
    many = cuda_normals(2**63 - 1, 3, 100_000)
    assert np.array_equal(many[:1000], cuda_normals(2**63 - 1, 3, 1000))
    assert abs(float(many.mean())) < 0.01
    assert float(many.std()) == pytest.approx(1, abs=0.01)
    assert np.isfinite(many).all()
