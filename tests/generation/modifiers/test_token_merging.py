from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.generation.conftest import GenerateImages, to_array
from torch import Tensor

from safelight.errors import UnsupportedError
from safelight.generation.modifiers.token_merging import MergedTokens, match_tokens
from safelight.models.checkpoints.loading import LoadedCheckpoint


def tokens(rows: int, columns: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, rows * columns, 16, generator=torch.Generator().manual_seed(3))


def test_merging_equal_tokens_changes_nothing() -> None:
    """In squares of two by two equal tokens: all that may be merged is merged into its like."""
    squares = tokens(4, 3).reshape(2, 4, 3, 16)
    values = squares.repeat_interleave(2, 1).repeat_interleave(2, 2).reshape(2, 48, 16)
    matching = match_tokens(values, 8, 6, 0.75)
    assert matching.count == 12
    assert torch.allclose(matching.merge(values), squares.reshape(2, 12, 16), atol=1e-6)
    assert torch.allclose(matching.unmerge(matching.merge(values)), values, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (2, 2), (3, 2)])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.75])
def test_as_many_tokens_stay_as_were_asked_for(size: tuple[int, int], fraction: float) -> None:
    values = tokens(*size)
    matching = match_tokens(values, *size, fraction)
    count = size[0] * size[1]
    assert matching.count == count - min(int(fraction * count), count - (size[0] // 2) * (size[1] // 2))
    assert matching.merge(values).shape == (2, matching.count, 16)
    for row in matching.target:
        assert sorted(set(row.tolist())) == list(range(matching.count))
    if fraction == 0:
        assert torch.equal(matching.unmerge(matching.merge(values)), values)


def test_a_row_does_not_depend_on_the_others() -> None:
    values = tokens(8, 8, batch=3)
    together, alone = match_tokens(values, 8, 8, 0.5), match_tokens(values[1:2], 8, 8, 0.5)
    assert torch.equal(together.target[1:2], alone.target)


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_the_largest_self_attention_works_on_fewer_tokens(
    name: str, draw: GenerateImages, in_memory: Callable[[str], LoadedCheckpoint]
) -> None:
    unet = in_memory(name).components["unet"]
    lengths: list[int] = []
    hooks = [
        module.register_forward_hook(lambda _, args, __: lengths.append(args[0].shape[1]))
        for key, module in unet.named_modules()  # type: ignore[union-attr]
        if key.endswith("attn1.to_q")
    ]
    plain = draw(name, width=64, height=96)
    whole = set(lengths)
    lengths.clear()
    merged = draw(name, width=64, height=96, token_merging=0.5)
    for hook in hooks:
        hook.remove()
    assert set(lengths) == {max(whole) // 2} | (whole - {max(whole)})
    assert not np.array_equal(to_array(*merged), to_array(*plain))
    assert np.array_equal(to_array(*draw(name, width=64, height=96)), to_array(*plain))
    assert merged[0].record.token_merging == 0.5


def test_equal_fractions_have_equal_identities() -> None:
    assert MergedTokens(0.5).identity == MergedTokens(0.5).identity != MergedTokens(0.25).identity


def test_it_is_for_u_nets(draw: GenerateImages) -> None:
    with pytest.raises(UnsupportedError, match="Flux has no token merging"):
        draw("flux", token_merging=0.5)
