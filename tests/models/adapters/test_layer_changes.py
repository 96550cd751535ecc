from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.models.adapters.naive import (
    CONVOLUTIONS_ONLY,
    KINDS,
    LINEAR_ONLY,
    factors,
    largest_difference,
    merged,
)

from safelight.models.adapters.changes import WeightChange, take_rows
from safelight.models.adapters.layer_changes import LayerShape, make_changes
from safelight.models.adapters.layer_keys import group_keys
from safelight.models.adapters.peft_options import PeftOptions

TOLERANCE = 1e-6
"""The largest difference from the arithmetic by hand, relative to the largest weight."""
LINEAR, CONVOLUTION = (16, 8), (16, 8, 1, 3)


def change_of(
    parts: dict[str, torch.Tensor], shape: tuple[int, ...], options: PeftOptions | None = None
) -> WeightChange:
    layers, loose = group_keys(f"layer.{name}" for name in parts)
    assert not loose
    keys = layers["layer"]
    assert keys.kind is not None
    tensors = {part: parts[key.removeprefix("layer.")] for part, key in keys.parts.items()}
    changes = make_changes(keys.kind, tensors, LayerShape(shape, True), options or PeftOptions(), "layer")
    changes["weight"].check(shape)
    return changes["weight"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("alpha", [None, 0.7])
@pytest.mark.parametrize("shape", [LINEAR, CONVOLUTION])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_gives_what_merging_by_hand_gives(
    kind: str, shape: tuple[int, ...], alpha: float | None
) -> None:
    if kind in (CONVOLUTIONS_ONLY if shape == LINEAR else LINEAR_ONLY):
        pytest.skip("not a kind of such layers")
    if kind == "OFT constrained" and alpha:
        alpha = 0.05
    if kind == "BOFT":
        alpha = None
    parts, weight = factors(kind, shape), torch.randn(shape)
    given_parts = parts | ({} if alpha is None else {"alpha": torch.tensor(alpha)})
    change = change_of(given_parts, shape)
    expected = merged(kind, weight, parts, alpha)
    assert largest_difference(weight + change.delta(weight, 1.0), expected) < TOLERANCE
    assert torch.equal(change.delta(weight, 0.0), torch.zeros(shape))
    assert change.nbytes > 0
    if not change.reads_weight:
        half = torch.from_numpy((expected - weight.double().numpy()) / 2).float()
        assert torch.allclose(change.delta(torch.zeros(shape, dtype=torch.bfloat16), 0.5), half, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "BOFT"])
def test_the_strength_is_linear(kind: str) -> None:
    shape = CONVOLUTION if kind in CONVOLUTIONS_ONLY else LINEAR
    change, weight = change_of(factors(kind, shape), shape), torch.randn(shape)
    assert torch.allclose(change.delta(weight, -0.5), change.delta(weight, 1.0) * -0.5, atol=1e-6)


@pytest.mark.parametrize("kind", ["LoRA", "LoCon"])
def test_a_plain_product_says_so(kind: str) -> None:
    shape = CONVOLUTION if kind == "LoCon" else LINEAR
    parts = factors(kind, shape) | {"alpha": torch.tensor(1.0)}
    found = change_of(parts, shape).low_rank
    assert found is not None
    assert found.scale == 0.5
    weight = torch.randn(shape)
    if kind == "LoRA":
        inputs = torch.randn(5, 8)
        beside = torch.nn.functional.linear(torch.nn.functional.linear(inputs, found.down), found.up)
        whole = inputs @ change_of(parts, shape).delta(weight, 0.8).T
    else:
        inputs = torch.randn(1, 8, 4, 6)
        beside = torch.nn.functional.conv2d(torch.nn.functional.conv2d(inputs, found.down), found.up)
        whole = torch.nn.functional.conv2d(inputs, change_of(parts, shape).delta(weight, 0.8))
    assert torch.allclose(beside * 0.8 * found.scale, whole, atol=1e-5)
    for other in ("DoRA", "LoHa"):
        assert change_of(factors(other, LINEAR), LINEAR).low_rank is None


ROW_KINDS = [kind for kind in KINDS if kind not in (*CONVOLUTIONS_ONLY, "BOFT", "DoRA of columns")]


@pytest.mark.parametrize("kind", ROW_KINDS)
def test_a_layer_in_parts(kind: str) -> None:
    """The parts of a fused layer change as the whole does."""
    change, weight = change_of(factors(kind, LINEAR), LINEAR), torch.randn(LINEAR)
    whole = change.delta(weight, 0.9)
    for rows in (range(4), range(4, 8), range(8, 16)):
        index = torch.tensor(rows)
        part = take_rows(change, index, 16)
        part.check((len(rows), 8))
        assert torch.allclose(part.delta(weight[index], 0.9), whole[index], atol=1e-6)
        assert 0 < part.nbytes <= change.nbytes


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_with_its_halves_swapped(kind: str) -> None:
    shape = CONVOLUTION if kind in CONVOLUTIONS_ONLY else LINEAR
    change, weight = change_of(factors(kind, shape), shape), torch.randn(shape)
    order = torch.arange(16).roll(8)
    swapped = take_rows(change, order, 16).delta(weight[order], 0.9)
    assert torch.allclose(swapped, change.delta(weight, 0.9)[order], atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "rows"), [("BOFT", range(8)), ("DoRA of columns", range(8)), ("OFT", range(6))]
)
def test_kinds_that_mix_rows_are_not_divided(kind: str, rows: range) -> None:
    change = change_of(factors(kind, LINEAR), LINEAR)
    with pytest.raises(ValueError, match="mixes the rows"):
        take_rows(change, torch.tensor(rows), 16)


def test_rotations_themselves() -> None:
    """LyCORIS' first OFT files have rotations in place of what they are computed from."""
    rotations = torch.linalg.qr(torch.randn(4, 4, 4))[0]
    weight = torch.randn(LINEAR)
    found = weight + change_of({"oft_diag": rotations}, LINEAR).delta(weight, 1.0)
    expected = torch.cat([each.T @ rows for each, rows in zip(rotations, weight.split(4), strict=True)])
    assert torch.allclose(found, expected, atol=1e-6)


def test_older_glora_files_have_each_pair_the_other_way_round() -> None:
    parts = factors("GLoRA", LINEAR)
    exchanged = {name: parts[f"{name[0]}{3 - int(name[1])}.weight"] for name in ("a1", "a2", "b1", "b2")}
    old = {f"{name}.weight": part for name, part in exchanged.items()}
    weight = torch.randn(LINEAR)
    one, other = (change_of(each, LINEAR).delta(weight, 1.0) for each in (parts, old))
    assert torch.equal(one, other)


def test_pefts_rotations_of_inputs() -> None:
    """Exact ones, and the series that peft computes by default."""
    skew = torch.randn(2, 6) * 0.05
    weight = torch.randn(LINEAR)
    rows, columns = torch.triu_indices(4, 4, 1)
    expected = torch.empty(LINEAR)
    for number in range(2):
        full = torch.zeros(4, 4)
        full[rows, columns] = skew[number]
        full = full - full.T
        rotation = (torch.eye(4) - full) @ torch.linalg.inv(torch.eye(4) + full)
        block = slice(number * 4, number * 4 + 4)
        expected[:, block] = weight[:, block] @ rotation.T
    exact = change_of({"oft_R.weight": skew}, LINEAR, PeftOptions({"use_cayley_neumann": False}))
    assert torch.allclose(weight + exact.delta(weight, 1.0), expected, atol=1e-6)
    series = change_of({"oft_R.weight": -skew}, LINEAR)  # its sign is the other one in peft
    assert torch.allclose(weight + series.delta(weight, 1.0), expected, atol=1e-2)
    shared = change_of({"oft_R.weight": skew[:1]}, LINEAR, PeftOptions({"use_cayley_neumann": False}))
    assert torch.allclose((weight + shared.delta(weight, 1.0))[:, :4], expected[:, :4], atol=1e-6)


def test_pefts_ia3_scales_the_bias_of_outputs() -> None:
    factors_of_rows = torch.rand(16, 1) + 0.5
    changes = make_changes("IA3", {"factors": factors_of_rows}, LayerShape(LINEAR, True), PeftOptions(), "")
    bias, weight = torch.randn(16), torch.randn(LINEAR)
    assert torch.allclose(bias + changes["bias"].delta(bias, 1.0), bias * factors_of_rows.flatten())
    assert torch.allclose(weight + changes["weight"].delta(weight, 1.0), weight * factors_of_rows)
    inputs = make_changes("IA3", {"factors": torch.rand(1, 8)}, LayerShape(LINEAR, True), PeftOptions(), "")
    assert set(inputs) == {"weight"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"lora_alpha": 8}, 4.0),
        ({"lora_alpha": 8, "use_rslora": True}, 8 / 2**0.5),
        ({"lora_alpha": 8, "alpha_pattern": {"layer": 2}}, 1.0),
        ({"lora_alpha": 8, "alpha_pattern": {"other": 2}}, 4.0),
        ({"lora_alpha": "many"}, 1.0),
        ({}, 1.0),
    ],
)
def test_alpha_by_pefts_options(values: dict[str, object], expected: float) -> None:
    found = change_of(factors("LoRA", LINEAR), LINEAR, PeftOptions(values)).low_rank
    assert found is not None
    assert found.scale == pytest.approx(expected)


WRONG: list[dict[str, tuple[int, ...]]] = [
    {"lora_down.weight": (2, 8)},
    {"lora_down.weight": (2, 8), "lora_up.weight": (16, 3)},
    {"lora_down.weight": (2, 9), "lora_up.weight": (16, 2)},
    {"lora_down.weight": (2, 16), "lora_up.weight": (8, 2)},
    {"lora_down.weight": (0, 8), "lora_up.weight": (16, 0)},
    {"lora_down.weight": (2,), "lora_up.weight": (16, 2)},
    {"lora_down.weight": (2, 8), "lora_up.weight": (16, 2), "alpha": (2,)},
    {"lora_down.weight": (2, 8), "lora_up.weight": (16, 2), "dora_scale": (5, 1)},
    {"lora_down.weight": (2, 8), "lora_up.weight": (16, 2), "lora_mid.weight": (3, 2, 3, 3)},
    {"lora_down.weight": (2, 8), "lora_up.weight": (16, 2), "diff": (16, 8)},
    {"hada_w1_a": (16, 2), "hada_w1_b": (2, 8), "hada_w2_a": (16, 2)},
    {"hada_w1_a": (16, 2), "hada_w1_b": (2, 8), "hada_w2_a": (16, 2), "hada_w2_b": (2, 7)},
    {"lokr_w1": (2, 2), "lokr_w2": (8, 5)},
    {"lokr_w1": (2, 2), "lokr_w2_a": (8, 2)},
    {"oft_blocks": (3, 4, 4)},
    {"oft_blocks": (4, 4)},
    {"oft_blocks": (3, 2, 4, 4)},
    {"oft_blocks": (4, 4, 4), "rescale": (3, 1)},
    {"oft_diag": (4, 3, 3)},
    {"oft_R.weight": (2, 5)},
    {"boft_R": (1, 4, 4, 4)},
    {"weight": (5,), "on_input": ()},
    {"ia3_l": (5, 1)},
    {"a1.weight": (8, 2), "a2.weight": (2, 8), "b1.weight": (16, 2)},
    {"diff": (8, 16)},
    {"dora_scale": (16, 1), "diff_b": (16,)},
]


@pytest.mark.parametrize("shapes", WRONG, ids=lambda each: " ".join(each))
def test_what_does_not_fit_is_refused(shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        change_of({name: torch.ones(shape) for name, shape in shapes.items()}, LINEAR)


@given(
    kind=st.sampled_from(KINDS),
    rank=st.integers(1, 5),
    out=st.sampled_from([8, 16, 32]),
    inputs=st.sampled_from([2, 4, 6]),
)
def test_ranks_and_shapes(kind: str, rank: int, out: int, inputs: int) -> None:
    shape = (out, inputs, 1, 3) if kind in CONVOLUTIONS_ONLY else (out, inputs)
    if kind == "BOFT" and out < 16:  # three stages need four blocks
        return
    parts, weight = factors(kind, shape, rank), torch.randn(shape)
    found = weight + change_of(parts, shape).delta(weight, 1.0)
    assert largest_difference(found, merged(kind, weight, parts)) < 2e-6
