"""Denoiser calls that are joined, and their results split again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.components import component_of
from torch import Tensor, nn

from safelight.runtime.calls import Call, compute_calls, join_calls


class EchoDenoiser(nn.Module):
    """A denoiser whose result for a row depends on all of the row's inputs, and which records its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def forward(
        self, sample: Tensor, timestep: Any, encoder_hidden_states: Tensor | None = None, **named: Any
    ) -> tuple[Tensor, str]:
        self.seen.append(
            {"sample": sample, "timestep": timestep, "encoder_hidden_states": encoder_hidden_states, **named}
        )
        times = torch.as_tensor(timestep).float().expand(len(sample))
        answer = sample + times[:, None]
        if encoder_hidden_states is not None:
            answer = answer * encoder_hidden_states.mean(dim=(1, 2))[:, None]
        return (answer,)  # type: ignore[return-value]


def make_call(
    net: nn.Module, rows: int = 2, width: int = 4, *, time: Any = 5, seed: int = 0, **named: Any
) -> Call:
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn(rows, width, generator=generator)
    words = torch.randn(rows, 3, 2, generator=generator)
    time = torch.tensor(time) if isinstance(time, int | float) else time
    return Call(component_of(net), (sample, time), {"encoder_hidden_states": words, **named})


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 999)), min_size=1, max_size=6))
def test_joined_calls_give_the_results_of_single_ones(asked: list[tuple[int, int]]) -> None:
    net = EchoDenoiser()
    calls = [make_call(net, rows, time=time, seed=seed) for seed, (rows, time) in enumerate(asked)]
    expected = [each.compute() for each in calls]
    net.seen.clear()
    answers: list[Any] = compute_calls(calls)
    assert len(net.seen) == 1
    for (one,), (other,) in zip(answers, expected, strict=True):
        assert torch.equal(one, other)


def test_a_single_call_is_passed_unchanged() -> None:
    net = EchoDenoiser()
    one = make_call(net, mask=None)
    compute_calls([one])
    assert net.seen[0]["sample"] is one.args[0]
    assert net.seen[0]["timestep"] is one.args[1]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (torch.tensor(981), torch.tensor(7.25)),
        (torch.tensor([981]), torch.tensor(7.25, dtype=torch.float64)),
        (torch.tensor([981, 981]), torch.tensor([3, 3])),
        (torch.tensor(3, dtype=torch.int32), torch.tensor([981.0, 981.0])),
    ],
)
def test_samplers_may_use_different_timestep_types(first: Tensor, second: Tensor) -> None:
    net = EchoDenoiser()
    calls = [make_call(net, time=first), make_call(net, time=second)]
    assert calls[0].can_join(calls[1])
    compute_calls(calls)
    times = [float(first.flatten()[0])] * 2 + [float(second.flatten()[0])] * 2
    assert net.seen[0]["timestep"].tolist() == times


def test_integer_timesteps_are_not_rounded_to_half_precision() -> None:
    net = EchoDenoiser()
    half = make_call(net, time=torch.tensor(981.0).bfloat16())
    assert not half.can_join(make_call(net, time=981))
    assert half.can_join(make_call(net, time=torch.tensor([7.0, 7.0]).bfloat16()))


IDS = torch.arange(6).reshape(2, 3)
DIFFERENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"width": 4}, {"width": 5}),
    ({"mask": torch.ones(2, 3)}, {"mask": torch.ones(2, 4)}),
    ({"mask": torch.ones(2, 3)}, {"mask": torch.ones(2, 3).half()}),
    ({"mask": torch.ones(2, 3)}, {"mask": None}),
    ({"mask": torch.ones(2, 3)}, {}),
    ({"added": {"ids": torch.ones(2, 3)}}, {"added": {"ids": torch.ones(2, 2)}}),
    ({"added": {"ids": torch.ones(2, 3)}}, {"added": {}}),
    ({"flag": True}, {"flag": False}),
    ({"flag": 1}, {"flag": True}),
    ({"scale": 0.5}, {"scale": 0.7}),
    ({"img_ids": IDS}, {"img_ids": IDS + 1}),
    ({"rope": (torch.ones(7, 2), torch.ones(7, 2))}, {"rope": (torch.ones(7, 2), torch.zeros(7, 2))}),
    ({"rope": (torch.ones(7, 2),)}, {"rope": (torch.ones(7, 2).double(),)}),
    ({"shapes": [(1, 4, 4)] * 2}, {"shapes": [(1, 4, 5)] * 2}),
    ({"words": [torch.ones(5, 3)] * 2}, {"words": [torch.ones(5, 4)] * 2}),
    ({"nested": [[torch.ones(5, 3), None]] * 2}, {"nested": [[torch.ones(5, 4), None]] * 2}),
    ({"nested": [[torch.ones(5, 3), None]] * 2}, {"nested": [None] * 2}),
    ({"nested": [[torch.ones(5, 3)]] * 2}, {"nested": [[torch.ones(5, 3)] * 2] * 2}),
    ({"masks": [[0, 1]] * 2}, {"masks": [[0, 0, 1]] * 2}),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_incompatible_calls(one: dict[str, Any], other: dict[str, Any]) -> None:
    net = EchoDenoiser()
    assert make_call(net, **one).can_join(make_call(net, seed=1, **one))
    assert not make_call(net, **one).can_join(make_call(net, **other))
    assert not make_call(net, **other).can_join(make_call(net, **one))


def test_calls_of_two_networks_are_incompatible() -> None:
    assert not make_call(EchoDenoiser()).can_join(make_call(EchoDenoiser()))


@dataclass(frozen=True)
class Louder:
    """A patch that adds to the network's results."""

    identity: str
    more: float = 1.0

    @contextmanager
    def apply(self, network: nn.Module) -> Iterator[None]:
        handle = network.register_forward_hook(lambda _net, _args, result: (result[0] + self.more,))
        try:
            yield
        finally:
            handle.remove()


def test_a_patch_is_in_effect_for_its_calls_only() -> None:
    net = EchoDenoiser()
    plain, patched = (replace(make_call(net, width=4), patches=patches) for patches in ((), (Louder("a"),)))
    (before,) = compute_calls([plain])
    (louder,) = compute_calls([patched])
    (after,) = compute_calls([plain])
    assert isinstance(before, tuple)
    assert isinstance(louder, tuple)
    assert isinstance(after, tuple)
    assert torch.equal(louder[0], before[0] + 1)
    assert torch.equal(after[0], before[0])


def test_only_calls_with_equal_patches_are_joined() -> None:
    net = EchoDenoiser()
    one, equal, other, reverse, none = (
        replace(make_call(net, seed=seed), patches=tuple(map(Louder, names)))
        for seed, names in enumerate(("ab", "ab", "a", "ba", ""))
    )
    assert one.can_join(equal)
    assert not any(one.can_join(each) for each in (other, reverse, none))
    joined, first = compute_calls([one, equal]), compute_calls([one])[0]
    assert isinstance(joined[0], tuple)
    assert isinstance(first, tuple)
    assert torch.equal(joined[0][0], first[0])


def test_batch_arguments_are_joined_and_others_kept() -> None:
    net = EchoDenoiser()
    masks = torch.zeros(2, 3), torch.ones(1, 3)
    ids, rope = torch.arange(2), (torch.ones(7, 2), torch.zeros(7, 2))

    def one(rows: int, mask: Tensor, words: list[Tensor]) -> Call:
        return make_call(
            net,
            rows,
            added={"mask": mask, "none": None},
            img_ids=ids,
            rope=rope,
            shapes=[(1, 4, 4)] * rows,
            words=words,
            residuals=[torch.zeros(rows, 2, 5), torch.zeros(rows, 3, 5)],
        )

    calls = [one(2, masks[0], [torch.zeros(5, 3), torch.zeros(6, 3)]), one(1, masks[1], [torch.ones(4, 3)])]
    assert calls[0].can_join(calls[1])
    both = join_calls(calls).arguments
    assert list(both["sample"].shape) == [3, 4]  # type: ignore[attr-defined]
    assert torch.equal(both["added"]["mask"], torch.cat(masks))  # type: ignore[index]
    assert both["added"]["none"] is None  # type: ignore[index]
    assert both["img_ids"] is ids  # two positions, not two rows
    assert both["rope"] == rope
    assert both["shapes"] == [(1, 4, 4)] * 3
    assert [len(each) for each in both["words"]] == [5, 6, 4]  # type: ignore[attr-defined]
    assert [list(each.shape) for each in both["residuals"]] == [[3, 2, 5], [3, 3, 5]]  # type: ignore[attr-defined]


def test_positional_and_keyword_arguments_are_equal() -> None:
    net = EchoDenoiser()
    by_position = make_call(net)
    sample, time = by_position.args
    by_name = Call(component_of(net), (), {"sample": sample, "timestep": time, **by_position.kwargs})
    assert by_position.can_join(by_name)
    (one,), (other,) = compute_calls([by_position, by_name])  # type: ignore[misc]
    assert torch.equal(one, other)


def test_a_diffusers_output_is_split_into_such_outputs() -> None:
    class Named(EchoDenoiser):
        def forward(self, sample: Tensor, timestep: Any, encoder_hidden_states: Any = None) -> Any:
            return UNet2DConditionOutput(sample=super().forward(sample, timestep)[0])

    net = Named()
    answers: Any = compute_calls([make_call(net, 2), make_call(net, 1, seed=1)])
    assert [type(answer) for answer in answers] == [UNet2DConditionOutput] * 2
    assert torch.equal(answers[1].sample, make_call(net, 1, seed=1).args[0] + 5)


class Lists(nn.Module):
    """A network that takes and returns a list with an item for each image."""

    def forward(self, x: list[Tensor], t: Tensor) -> tuple[list[Tensor]]:
        assert len(x) == len(t)
        return ([item * time for item, time in zip(x, t, strict=True)],)


def test_lists_are_split_into_lists() -> None:
    net = Lists()
    first = Call(component_of(net), ([torch.ones(1, 2), torch.ones(3, 2)], torch.tensor([1.0, 2.0])), {})
    second = Call(component_of(net), ([torch.ones(4, 2)], torch.tensor([3.0])), {})
    assert first.can_join(second)
    (one,), (other,) = compute_calls([first, second])  # type: ignore[misc]
    assert [float(item.sum()) for item in one] == [2, 12]
    assert [float(item.sum()) for item in other] == [24]
