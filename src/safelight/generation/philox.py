"""The normal numbers that torch draws on a CUDA device for a seed, computed with NumPy on any machine.

CUDA's generator is Philox 4x32 with ten rounds (Salmon et al., 2011): each number comes from a counter and the seed.
torch gives each number of a tensor a thread, whose number is one half of the counter; the other half counts the draws.
Normal numbers are made by Box and Muller's transform, of which torch uses the sine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)
_INTERVAL = 2.0**-32

Words = NDArray[np.uint64]
"""Numbers of 32 bits, kept in 64 so that products do not overflow."""


def cuda_normals(seed: int, draw: int, count: int) -> NDArray[np.float32]:
    """Standard normal numbers as ``torch.randn(count, device="cuda")`` returns them, (count,).

    They differ from a device's by about 1e-6, since its sine and logarithm are approximations. A device with fewer
    threads than ``count`` (40,960 on a T4, 196,608 on a GeForce RTX 4090) gives its threads several numbers, so that
    from there on devices differ from each other; here each number has a thread of its own.

    Args:
        seed: The generator's seed, 0 to 2**64 - 1.
        draw: How many tensors were drawn before this one.
        count: How many numbers.
    """
    threads = np.arange(count, dtype=np.uint64)
    first, second = _philox(
        [np.full(count, draw, np.uint64), np.zeros(count, np.uint64), threads, threads >> _SHIFT], seed
    )
    radius = np.sqrt(-2 * np.log((first + 0.5) * _INTERVAL))
    normals: NDArray[np.float32] = (radius * np.sin((second + 0.5) * (_INTERVAL * 2 * np.pi))).astype(
        np.float32
    )
    return normals


def _philox(counter: list[Words], seed: int) -> tuple[Words, Words]:
    """The first two of four words for each counter."""
    a, b, c, d = (words & _LOW for words in counter)
    for round_ in range(_ROUNDS):
        key, other_key = (
            np.uint64((part + round_ * step) & 0xFFFFFFFF)
            for part, step in zip((seed, seed >> 32), _KEY_STEPS, strict=True)
        )
        left, right = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = (right >> _SHIFT) ^ b ^ key, right & _LOW, (left >> _SHIFT) ^ d ^ other_key, left & _LOW
    return a, b
